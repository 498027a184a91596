"""How large a difference to expect at each pixel of a good part.

Good views differ from their reference, and not everywhere alike: more where the surface shines, at
edges, behind gaps, and where few reference views ever looked. The expected residual of a pixel is the
mean residual of its surface point in the reference views, times a factor for each of six covariates; all
factors are learned from held-out good views (a generalised additive model with logarithmic link; Hastie &
Tibshirani 1990, chapter 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..kernels import kernel
from ..rendering.result import ReferenceRendering
from .lab import lab_planes

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

COVARIATES = (
    "log of the point's mean residual",
    "photographs that see the point",
    "rarity: 1 / reference views that see the point",
    "log of the reference's contrast",
    "opacity",
    "log of the step in depth",
)
SMALLEST = np.float32(3e-3)  # residual, below what 8-bit images resolve
MIN_ALPHA = 0.05  # less than this of the part in a pixel's neighbourhood is background

_NEIGHBOURS = np.ones((3, 3), np.uint8)  # the rendering's own uncertainty about where a point is


@dataclass(frozen=True, eq=False)
class Expectation:
    """Factors of the expected residual, per cue and covariate piecewise linear in the logarithm.

    knots, values: float32 [C, J, K], knots increasing along the last axis.
    """

    knots: Floats
    values: Floats

    def predict(self, cue: int, point: Floats, covariates: Floats) -> Floats:
        """Expected residual [P] from the points' mean residual [P] and the covariates [P, J]."""
        out = np.empty(point.shape, np.float32)
        _predict(point, covariates, self.knots[cue], self.values[cue], out)
        return out


@kernel
def _predict(point: Floats, covariates: Floats, knots: Floats, values: Floats, out: Floats) -> None:
    count = knots.shape[1]
    for i in range(point.shape[0]):
        total = np.float32(0)
        for j in range(knots.shape[0]):
            v = covariates[i, j]
            if v <= knots[j, 0]:
                total += values[j, 0]
            elif v >= knots[j, count - 1]:
                total += values[j, count - 1]
            else:
                k = 1
                while knots[j, k] < v:
                    k += 1
                share = (v - knots[j, k - 1]) / (knots[j, k] - knots[j, k - 1])
                total += (np.float32(1) - share) * values[j, k - 1] + share * values[j, k]
        out[i] = point[i] * np.exp(total)


def on_part(rendering: ReferenceRendering) -> Mask:
    """Where [H, W] the part is expected; elsewhere the background is."""
    return np.asarray(cv2.dilate((rendering.alpha > MIN_ALPHA).view(np.uint8), _NEIGHBOURS) > 0)


def points_and_covariates(
    rendering: ReferenceRendering, cues: int, pixels: NDArray[np.intp], farthest: float | None = None
) -> list[tuple[Floats, Floats]]:
    """(mean residual of the surface points [P], covariates [P, J]) of each cue, at `pixels` [P] (row-major indices).

    rendering.features holds the mean residual of each cue and the rarity. farthest: the largest depth of the whole
    rendering, where this is a band of it.
    """
    # Stands for the background, so that an outline is a step.
    far = float(rendering.depth.max()) if farthest is None else farthest
    distance = np.where(rendering.alpha > 0.5, rendering.depth, np.float32(far))
    log_distance = np.log(np.maximum(distance, 1e-6)) if far > 0 else distance
    seen = rendering.seen.sum(axis=0, dtype=np.float32) if len(rendering.seen) else np.zeros_like(rendering.alpha)
    shared = [
        seen.ravel()[pixels],
        rendering.features[..., cues].ravel()[pixels],
        np.log(_slope(lab_planes(rendering.rgb)[..., : rendering.rgb.shape[1]]).ravel()[pixels] + SMALLEST),
        rendering.alpha.ravel()[pixels],
        np.log(_slope(log_distance[None]).ravel()[pixels] + np.float32(1e-3)),
    ]
    out = []
    for c in range(cues):
        point = cv2.dilate(np.ascontiguousarray(rendering.features[..., c]), _NEIGHBOURS).ravel()[pixels] + SMALLEST
        out.append((point, np.stack([np.log(point), *shared], axis=1).astype(np.float32)))
    return out


def _slope(values: Floats) -> Floats:
    """Largest gradient magnitude [H, W] of planes [C, H, W] in each pixel's neighbourhood, per pixel."""
    squared = np.zeros(values.shape[1:], np.float32)
    for plane in values:
        for along in ((1, 0), (0, 1)):
            difference = cv2.Sobel(plane, cv2.CV_32F, *along, ksize=3, scale=1 / 8)
            squared += difference * difference
    out: Floats = cv2.dilate(np.sqrt(squared), _NEIGHBOURS)
    return out
