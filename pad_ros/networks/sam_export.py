"""SAM's image encoder, written from the published state dict as an ONNX graph of one level.

A vision transformer (Kirillov et al. 2023, section 3 and appendix A; blocks as in ViTDet, Li et al. 2022): patches of
16 px, attention with decomposed relative positions, in windows in all but a few blocks, and two convolutions at the
end. Depth, width, heads and windows follow from the shapes of the tensors.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .architectures import IMAGENET_DEVIATION, IMAGENET_MEAN, Published
from .export import OnnxGraph

Floats = NDArray[np.float32]

PREFIX = "image_encoder."
STRIDE = 16  # px
LAYER_NORM_EPSILON = 1e-6


def sam_vit_b(state: Mapping[str, Floats]) -> bytes:
    """The encoder of SAM (ViT-B) as ONNX, with the output "level3"; InputError where `state` is not SAM's."""
    net = Published("SAM ViT-B", {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)})
    places = net.state.get("pos_embed")
    if places is None or places.ndim != 4:
        raise InputError("these are not the weights of SAM ViT-B: image_encoder.pos_embed is missing or odd")
    return _Encoder(net).content("SAM ViT-B")


class _Encoder(OnnxGraph):
    """Values are [1, H, W, C] between the blocks."""

    def __init__(self, net: Published) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_DEVIATION)  # as SAM's own, but for the scale of 255
        self._net = net
        _, self._grid, _, self._width = net.state["pos_embed"].shape
        self.side = STRIDE * self._grid
        weight = net.entry("patch_embed.proj.weight", self._width, 3, STRIDE, STRIDE)
        patches = self._node(
            "Conv", self.image, self._constant(weight), self._constant(net.entry("patch_embed.proj.bias", self._width)),
            kernel_shape=[STRIDE, STRIDE], strides=[STRIDE, STRIDE],
        )  # fmt: skip
        places = net.entry("pos_embed", 1, self._grid, self._grid, self._width)
        x = self.add(self._node("Transpose", patches, perm=[0, 2, 3, 1]), self._constant(places))
        for at in itertools.takewhile(
            lambda at: f"{at}.norm1.weight" in net.state, map("blocks.{}".format, itertools.count())
        ):
            x = self._block(x, at)
        x = self._node("MatMul", x, self._constant(net.entry("neck.0.weight", *self._neck).reshape(self._neck[:2]).T))
        out = self._neck[0]
        x = self._node("Transpose", self._normed(x, "neck.1", out), perm=[0, 3, 1, 2])
        x = self.conv(x, net.entry("neck.2.weight", out, out, 3, 3), np.zeros(out, np.float32))
        x = self._normed(self._node("Transpose", x, perm=[0, 2, 3, 1]), "neck.3", out)
        self.output(self._node("Transpose", x, perm=[0, 3, 1, 2]), "level3", out)

    @property
    def _neck(self) -> tuple[int, int, int, int]:
        weight = self._net.state.get("neck.0.weight")
        return (256 if weight is None else weight.shape[0], self._width, 1, 1)

    def _block(self, x: str, at: str) -> str:
        """Attention and two layers, each added to what goes in."""
        net, grid = self._net, self._grid
        relative = np.shape(net.state.get(f"{at}.attn.rel_pos_h", np.zeros((2 * grid - 1, 0))))
        window = (relative[0] + 1) // 2
        y = self._normed(x, f"{at}.norm1", self._width)
        y = self._attention(y, f"{at}.attn", grid) if window == grid else self._windowed(y, f"{at}.attn", window)
        x = self.add(x, y)
        hidden = 4 * self._width
        y = self._linear(self._normed(x, f"{at}.norm2", self._width), f"{at}.mlp.lin1", self._width, hidden)
        error = self._node("Erf", self._node("Mul", y, self._constant(np.float32(math.sqrt(0.5)))))
        half = self._node("Mul", y, self._constant(np.float32(0.5)))
        y = self._node("Mul", half, self.add(error, self._constant(np.float32(1))))  # GELU
        return self.add(x, self._linear(y, f"{at}.mlp.lin2", hidden, self._width))

    def _windowed(self, x: str, at: str, window: int) -> str:
        """Attention in each window by itself; zeros fill up the last ones."""
        grid, width = self._grid, self._width
        count = -(-grid // window)
        full = count * window
        x = self._node("Pad", x, self._integers(0, 0, 0, 0, 0, full - grid, full - grid, 0))
        x = self._reshaped(x, 1, count, window, count, window, width)
        x = self._reshaped(self._node("Transpose", x, perm=[0, 1, 3, 2, 4, 5]), count**2, window, window, width)
        x = self._reshaped(self._attention(x, at, window), 1, count, count, window, window, width)
        x = self._reshaped(self._node("Transpose", x, perm=[0, 1, 3, 2, 4, 5]), 1, full, full, width)
        return self._node("Slice", x, self._integers(0, 0), self._integers(grid, grid), self._integers(1, 2))

    def _attention(self, x: str, at: str, size: int) -> str:
        """Of squares [N, size, size, C] among their own places."""
        width, places = self._width, size * size
        head = np.shape(self._net.state.get(f"{at}.rel_pos_h", np.zeros((1, width))))[-1]
        heads = width // head
        x = self._reshaped(self._linear(x, f"{at}.qkv", width, 3 * width), -1, places, 3, heads, head)
        x = self._node("Transpose", x, perm=[2, 0, 3, 1, 4])  # [3, N, heads, places, head]
        query, key, value = (self._node("Gather", x, self._integer(i), axis=0) for i in range(3))
        scaled = self._node("Mul", query, self._constant(np.float32(head**-0.5)))
        scores = self._node("MatMul", scaled, self._node("Transpose", key, perm=[0, 1, 3, 2]))
        square = self._reshaped(query, -1, heads, size, size, head)
        down = self._node("MatMul", square, self._constant(self._relative(f"{at}.rel_pos_h", size, head)))
        turned = self._node("Transpose", square, perm=[0, 1, 3, 2, 4])
        across = self._node("MatMul", turned, self._constant(self._relative(f"{at}.rel_pos_w", size, head)))
        across = self._node("Transpose", across, perm=[0, 1, 3, 2, 4])
        scores = self._reshaped(scores, -1, heads, size, size, size, size)
        scores = self.add(scores, self._node("Unsqueeze", down, self._integers(5)))
        scores = self.add(scores, self._node("Unsqueeze", across, self._integers(4)))
        weights = self._node("Softmax", self._reshaped(scores, -1, heads, places, places), axis=-1)
        x = self._node("Transpose", self._node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self._linear(self._reshaped(x, -1, size, size, width), f"{at}.proj", width, width)

    def _relative(self, name: str, size: int, head: int) -> Floats:
        """[size, head, size]: for each place of a query, and each of a key, the vector of their distance."""
        vectors = self._net.entry(name, 2 * size - 1, head)
        distance = np.arange(size)[:, None] - np.arange(size)[None] + size - 1
        return np.ascontiguousarray(vectors[distance].transpose(0, 2, 1))

    def _linear(self, x: str, at: str, inputs: int, outputs: int) -> str:
        weight = self._net.entry(f"{at}.weight", outputs, inputs)
        x = self._node("MatMul", x, self._constant(np.ascontiguousarray(weight.T)))
        return self.add(x, self._constant(self._net.entry(f"{at}.bias", outputs)))

    def _normed(self, x: str, at: str, channels: int) -> str:
        gain, shift = (self._constant(self._net.entry(f"{at}.{part}", channels)) for part in ("weight", "bias"))
        return self._node("LayerNormalization", x, gain, shift, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def _reshaped(self, x: str, *shape: int) -> str:
        return self._node("Reshape", x, self._integers(*shape))
