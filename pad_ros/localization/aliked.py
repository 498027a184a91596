"""ALIKED local features (Zhao et al., "ALIKED: A Lighter Keypoint and Descriptor Extraction Network via Deformable
Transformation", IEEE TIM 2023), for the published weights, arranged for a CPU.

Equal to the published network up to rounding. Batch normalisation is folded into the convolutions; the score head's
first layer runs on each level before that is enlarged; descriptors look features up where they need them, so that the
full map of all channels is never made.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ModelError
from ..imaging.geometry import keypoints_from_opencv
from ..imaging.images import Image
from ..networks.network import Network
from .detection import local_maxima, soft_argmax
from .features import Features, LocalFeatures, check_weights
from .sampling import deformable_conv3x3, sample_pyramid

PADDING_MULTIPLE = 32  # image sides are padded to multiples of it
SUPPRESSION_RADIUS = 2  # of non-maximum suppression and of the soft argmax, px
TEMPERATURE = 0.1  # of the soft argmax
BATCH_NORM_EPSILON = 1e-5


class AlikedFeatures(LocalFeatures):
    """ALIKED as local features: float32 [N, 128] (t16: 64). `limit` keeps the best keypoints above `threshold`."""

    similarity = 0.75

    def __init__(self, network: Network, device: str = "cpu", limit: int = 1500, threshold: float = 0.2) -> None:
        self.name = network.name
        self.limit, self.threshold = limit, threshold
        self._network = Aliked(network.tensors(device))

    @torch.inference_mode()
    def extract(self, image: Image) -> Features:
        height, width = image.shape[:2]
        x = torch.from_numpy(np.ascontiguousarray(image)).to(self._network.device).permute(2, 0, 1)[None] / 255
        more_x, more_y = -width % PADDING_MULTIPLE, -height % PADDING_MULTIPLE
        left, top = more_x // 2, more_y // 2
        levels = self._network.levels(F.pad(x, (left, more_x - left, top, more_y - top), mode="replicate"))
        scores = self._network.score_map(levels)[top : top + height, left : left + width].cpu().numpy()
        rows, columns = local_maxima(scores, SUPPRESSION_RADIUS, self.threshold, self.limit)
        keypoints = soft_argmax(scores, rows, columns, SUPPRESSION_RADIUS, TEMPERATURE)
        places = torch.from_numpy(keypoints).to(self._network.device)
        described = self._network.describe(levels, places, (left, top), (height, width))
        points = keypoints_from_opencv(keypoints.astype(np.float64))
        return Features(points, described.cpu().numpy(), scores[rows, columns])


class Aliked:
    """The network, on the device of its weights. `state` is named as the published checkpoints.

    ModelError where a name or shape is not right.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        check_weights("ALIKED", state, _shapes(state))
        self._state = {name: value.to(torch.float32) for name, value in state.items()}
        self._folded = {(block, part): self._fold(block, part) for block in range(1, 5) for part in (1, 2)}
        self.device = state["desc_head.agg_weights"].device
        self.channels, self.positions = state["desc_head.agg_weights"].shape[1], len(state["desc_head.agg_weights"])

    def levels(self, image: Tensor) -> list[Tensor]:
        """Features [1, C / 4, h, w] at full, 1/2, 1/8 and 1/32 size of image [1, 3, H, W], sides multiples of 32."""
        x = image.contiguous(memory_format=torch.channels_last)
        found = []
        for block, shrink in zip(range(1, 5), (1, 2, 4, 4), strict=True):
            x = self._block(block, F.avg_pool2d(x, shrink) if shrink > 1 else x)
            found.append(F.selu(F.conv2d(x, self._state[f"conv{block}.weight"]), inplace=True))
        return found

    def score_map(self, levels: list[Tensor]) -> Tensor:
        """Keypoint scores [H, W], 0..1."""
        s = self._state
        parts = s["score_head.0.weight"].split(self.channels // 4, dim=1)
        total = F.conv2d(levels[0], parts[0])
        for level, part in zip(levels[1:], parts[1:], strict=True):
            low = F.conv2d(level, part)
            total += F.interpolate(low, size=total.shape[2:], mode="bilinear", align_corners=True)
        for layer in (2, 4, 6):
            total = F.conv2d(F.selu(total, inplace=True), s[f"score_head.{layer}.weight"], padding=1)
        return torch.sigmoid(total)[0, 0]

    def describe(
        self, levels: list[Tensor], keypoints: Tensor, corner: tuple[int, int], size: tuple[int, int]
    ) -> Tensor:
        """Descriptors [N, C] of unit length at keypoints [N, 2], pixel indices (x, y) in the image of `size` (h, w).

        The sparse deformable descriptor head: M sampling positions per keypoint, estimated from the 3x3 features
        around it (section III-C). corner: (x, y) of the image in the padded one.
        """
        s = {name.removeprefix("desc_head."): value for name, value in self._state.items() if "desc_head" in name}
        count = len(keypoints)
        steps = torch.tensor([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)], device=keypoints.device)
        around = (keypoints.floor()[:, None] + steps).reshape(-1, 2)
        patches = sample_pyramid(levels, around, corner, size).reshape(count, 9 * self.channels)
        matrix = s["offset_conv.0.weight"].permute(2, 3, 1, 0).reshape(9 * self.channels, -1)
        offsets = F.selu(patches @ matrix + s["offset_conv.0.bias"])
        offsets = offsets @ s["offset_conv.2.weight"][:, :, 0, 0].T + s["offset_conv.2.bias"]
        limit = max(size) / 4
        places = keypoints[:, None] + offsets.clamp(-limit, limit).reshape(count, self.positions, 2)
        features = sample_pyramid(levels, places.reshape(-1, 2), corner, size)
        features = F.selu(features @ s["sf_conv.weight"][:, :, 0, 0].T, inplace=True)
        features = features.reshape(count, self.positions * self.channels)
        return F.normalize(features @ s["agg_weights"].reshape(-1, self.channels), dim=1)

    def _block(self, block: int, x: Tensor) -> Tensor:
        y = F.selu(self._convolve(block, 1, x), inplace=True)
        y = self._convolve(block, 2, y)
        if block > 1:
            name = f"block{block}.downsample"
            y += F.conv2d(x, self._state[f"{name}.weight"], self._state[f"{name}.bias"])
        return F.selu(y, inplace=True)

    def _convolve(self, block: int, part: int, x: Tensor) -> Tensor:
        weight, bias = self._folded[block, part]
        if block <= 2:
            return F.conv2d(x, weight, bias, padding=1)
        name = f"block{block}.conv{part}.offset_conv"
        limit = max(x.shape[2:]) / 4
        offsets = F.conv2d(x, self._state[f"{name}.weight"], self._state[f"{name}.bias"], padding=1)
        return deformable_conv3x3(x, offsets.clamp(-limit, limit), weight, bias)

    def _fold(self, block: int, part: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of a convolution and the batch normalisation behind it as one convolution."""
        s = self._state
        weight = s[f"block{block}.conv{part}{'.regular_conv' if block > 2 else ''}.weight"]
        norm = f"block{block}.bn{part}"
        factor = s[f"{norm}.weight"] / torch.sqrt(s[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
        folded = (weight * factor[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        return folded, s[f"{norm}.bias"] - s[f"{norm}.running_mean"] * factor


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The tensors that a checkpoint of these widths must have."""
    try:
        widths = [3, *(len(state[f"block{i}.bn1.weight"]) for i in range(1, 5))]
        positions, channels, _ = state["desc_head.agg_weights"].shape
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"not the weights of ALIKED ({error} is missing or odd)") from error
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(1, 5):
        before, width = widths[i - 1], widths[i]
        for part, inside in ((1, before), (2, width)):
            conv, norm = f"block{i}.conv{part}", f"block{i}.bn{part}"
            if i > 2:
                shapes[f"{conv}.offset_conv.weight"], shapes[f"{conv}.offset_conv.bias"] = (18, inside, 3, 3), (18,)
                conv += ".regular_conv"
            shapes[f"{conv}.weight"] = (width, inside, 3, 3)
            shapes |= {f"{norm}.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")}
            shapes[f"{norm}.num_batches_tracked"] = ()
        if i > 1:
            shapes[f"block{i}.downsample.weight"], shapes[f"block{i}.downsample.bias"] = (width, before, 1, 1), (width,)
        shapes[f"conv{i}.weight"] = (channels // 4, width, 1, 1)
    head = {0: (8, channels, 1, 1), 2: (4, 8, 3, 3), 4: (4, 4, 3, 3), 6: (1, 4, 3, 3)}
    shapes |= {f"score_head.{i}.weight": shape for i, shape in head.items()}
    twice = 2 * positions
    return shapes | {
        "desc_head.agg_weights": (positions, channels, channels),
        "desc_head.offset_conv.0.weight": (twice, channels, 3, 3), "desc_head.offset_conv.0.bias": (twice,),
        "desc_head.offset_conv.2.weight": (twice, twice, 1, 1), "desc_head.offset_conv.2.bias": (twice,),
        "desc_head.sf_conv.weight": (channels, channels, 1, 1),
    }  # fmt: skip
