"""PatchCore (Roth et al. 2022), a baseline that knows neither poses nor the part's shape.

A query's patches are compared with a memory of patches of good images, wherever on the part those come from. It is
fitted to the same reference images and judged by the same split-conformal rule as the method itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..compute.threads import only_our_threads
from ..decision.inspection import AnomalyMap, Inspection
from ..decision.threshold import conformal_threshold, p_value
from ..errors import ImageError, InputError
from ..imaging import images
from ..imaging.geometry import Camera
from ..imaging.images import Image
from ..networks.architectures import ARCHITECTURES
from ..networks.backbones import Backbone, exported
from ..networks.network import Network, read_networks
from ..progress import progress
from ..verdicts import Reason, Verdict
from .dataset import reference_images

Floats = NDArray[np.float32]

FREE_BACKBONE = "mobilenet-v2"  # for models that hold no backbone
HOLD_OUT_EVERY = 8
MIN_IMAGES = 8
PROJECTED = 64  # dimensions in which the coreset is chosen


@dataclass(frozen=True)
class PatchCoreSettings:
    """As in the paper, with the backbone's levels of strides 8 and 16 for ResNet's second and third."""

    size: int = 224  # px, of the shorter side
    levels: tuple[int, int] = (2, 3)
    neighbourhood: int = 3  # patches that are averaged to one
    coreset: float = 0.1  # share of the patches that is kept,
    max_memory: int = 10_000  # but no more than this
    neighbours: int = 9  # of the nearest patch, that its distance is weighed with
    sigma: float = 4.0  # px, of the blur of the map


DEFAULTS = PatchCoreSettings()


class PatchCore:
    """A fitted baseline; it is asked like an Inspector, and its results carry no pose."""

    def __init__(
        self, backbone: Backbone, memory: Tensor, scores: Floats, false_reject_rate: float = 0.01,
        settings: PatchCoreSettings = DEFAULTS,
    ) -> None:  # fmt: skip
        """memory: [M, D]; scores: [V] of good images that are not in the memory."""
        self._backbone, self._memory, self._scores, self._settings = backbone, memory, scores, settings
        self.threshold = conformal_threshold(scores, false_reject_rate)[0]

    @staticmethod
    @only_our_threads()  # torch's own threads cost more than they bring next to ours
    def fit(
        references: Sequence[Image], backbone: Backbone, false_reject_rate: float = 0.01,
        settings: PatchCoreSettings = DEFAULTS, seed: int = 0,
    ) -> PatchCore:  # fmt: skip
        """From images of good parts, every eighth of which only serves the threshold; InputError for too few."""
        if len(references) < MIN_IMAGES:
            raise InputError(f"patchcore: {len(references)} images of good parts are too few, give {MIN_IMAGES}")
        held_out = references[HOLD_OUT_EVERY // 2 :: HOLD_OUT_EVERY]
        fitted = [image for i, image in enumerate(references) if i % HOLD_OUT_EVERY != HOLD_OUT_EVERY // 2]
        shown = progress(fitted, "patchcore: patches", len(fitted))
        patches = torch.cat([patch_features(backbone, image, settings)[0] for image in shown])
        count = min(max(1, round(settings.coreset * len(patches))), settings.max_memory)
        memory = patches[coreset(patches, count, seed)]
        empty = PatchCore(backbone, memory, np.zeros(0, np.float32), false_reject_rate, settings)
        scores = np.array([empty.compare(image)[1] for image in held_out], np.float32)
        return PatchCore(backbone, memory, scores, false_reject_rate, settings)

    @only_our_threads()
    def compare(self, image: Image) -> tuple[Floats, float]:
        """The anomaly map [H, W] and the image's score (section 3.3, equations 6 and 7)."""
        patches, (rows, columns), (height, width) = patch_features(self._backbone, image, self._settings)
        distances, nearest = _distances(patches, self._memory).min(dim=1)
        worst = int(distances.argmax())
        score = float(distances[worst]) * self._weight(patches[worst], self._memory[nearest[worst]])
        values = cv2.resize(distances.reshape(rows, columns).numpy(), (width, height), interpolation=cv2.INTER_LINEAR)
        values = cv2.GaussianBlur(values, (0, 0), self._settings.sigma)
        return cv2.resize(values, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR), score

    def inspect(self, image: Image, camera: Camera | None = None) -> Inspection:
        """PASS or REJECT for a validated image, HOLD without a threshold; `camera` is not used."""
        began = time.perf_counter()
        values, score = self.compare(image)
        if not math.isfinite(self.threshold):
            verdict, reason, text = Verdict.HOLD, Reason.UNCALIBRATED, "no good images to take a threshold from"
        elif score > self.threshold:
            verdict, reason, text = Verdict.REJECT, Reason.ANOMALY, f"score {score:.2f} > {self.threshold:.2f}"
        else:
            verdict, reason, text = Verdict.PASS, Reason.NONE, f"score {score:.2f} <= {self.threshold:.2f}"
        return Inspection(
            verdict, reason, text, score, self.threshold, (), None, None, AnomalyMap(values), image,
            timings_ms={"total": 1000 * (time.perf_counter() - began)}, p_value=p_value(score, self._scores),
        )  # fmt: skip

    def _weight(self, patch: Tensor, match: Tensor) -> float:
        """How unusual it is to be so far from `match`: near 0 where the memory around it is as far (equation 7)."""
        count = min(self._settings.neighbours, len(self._memory))
        around = self._memory[_distances(match[None], self._memory)[0].topk(count, largest=False).indices]
        distances = _distances(patch[None], torch.cat([match[None], around[1:]]))[0]
        return float(1 - torch.softmax(distances, dim=0)[0]) if count > 1 else 1.0


def fit_to_dataset(
    dataset: Path, networks: Sequence[Network], false_reject_rate: float, weights: Path | None = None, seed: int = 0
) -> PatchCore:
    """PatchCore on DATASET/train/good, over the backbone among a model's `networks`, else over MobileNetV2.

    InputError without such images, MissingDependencyError where MobileNetV2 is needed and was not fetched to the
    folder `weights`.
    """
    found = [network for network in networks if network.name in ARCHITECTURES]
    if not found:
        found = [exported(network) for network in read_networks([FREE_BACKBONE], weights)]
    references = [images.load(path) for path in reference_images(dataset)]
    return PatchCore.fit(references, Backbone(found[0]), false_reject_rate, seed=seed)


def patch_features(
    backbone: Backbone, image: Image, settings: PatchCoreSettings
) -> tuple[Tensor, tuple[int, int], tuple[int, int]]:
    """Locally aware patch features [h * w, D] (section 3.1), (h, w), and the size that the image was brought to."""
    height, width = image.shape[:2]
    scale = settings.size / min(height, width)
    if round(scale * max(height, width)) > 16 * settings.size:
        raise ImageError(f"patchcore: an image of {width}x{height} px is too long for its width")
    size = round(scale * width), round(scale * height)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    maps = [torch.from_numpy(level) for level in backbone.levels(small[None], settings.levels)]
    k = settings.neighbourhood
    pooled = [functional.avg_pool2d(x, k, 1, k // 2, count_include_pad=False) for x in maps]
    shape = (pooled[0].shape[2], pooled[0].shape[3])
    pooled[1] = functional.interpolate(pooled[1], shape, mode="bilinear", align_corners=False)
    return torch.cat(pooled, dim=1)[0].flatten(1).T.contiguous(), shape, (size[1], size[0])


def coreset(patches: Tensor, count: int, seed: int = 0) -> Tensor:
    """Indices [count] of patches [N, D] that leave none far from all of them.

    Greedy minimax facility location on a random projection (section 3.2, algorithm 1).
    """
    generator = torch.Generator().manual_seed(seed)
    if patches.shape[1] > PROJECTED:
        projection = torch.randn(patches.shape[1], PROJECTED, generator=generator) / math.sqrt(PROJECTED)
        patches = patches @ projection
    squares = (patches**2).sum(dim=1)
    chosen = [int(torch.randint(len(patches), (1,), generator=generator))]
    nearest = torch.full_like(squares, math.inf)
    for _ in progress(range(count - 1), "patchcore: coreset", count - 1):
        last = chosen[-1]
        nearest = torch.minimum(nearest, squares - 2 * (patches @ patches[last]) + squares[last])
        nearest[last] = -math.inf
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def _distances(a: Tensor, b: Tensor) -> Tensor:  # [N, D], [M, D] -> [N, M]
    return torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist")
