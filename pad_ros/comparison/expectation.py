"""How large a difference to expect at each pixel of a good part.

Good views differ from their reference, and not everywhere alike: more where the surface shines, at edges, behind gaps,
where few reference views ever looked, and where rendering and photographs contradict each other, as in a bore whose
depth is wrong. The expected residual of a pixel is the mean residual of its surface point in the reference views, times
a factor for each of eight covariates; all factors are learned from held-out good views (a generalised additive model
with logarithmic link; Hastie & Tibshirani 1990, chapter 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.simd import LANES, exp2, fma, load, maximum, minimum, splat, store
from ..compute.threads import kernel
from ..imaging.lab import lab_planes
from ..rendering.photographs import mean_difference
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

COVARIATES = (
    "log of the point's mean residual",
    "photographs that see the point",
    "rarity: 1 / reference views that see the point",
    "log of the reference's contrast",
    "opacity",
    "log of the step in depth",
    "log of the difference between the rendering and the photograph most like it",
    "log of the difference between the rendering and the photograph least like it",
)
KNOTS = 7  # per covariate, see `expectation_fit`
SMALLEST = np.float32(3e-3)  # residual, below what 8-bit images resolve
MIN_ALPHA = 0.05  # less than this of the part in a pixel's neighbourhood is background

_NEIGHBOURS = np.ones((3, 3), np.uint8)  # the rendering's own uncertainty about where a point is


@dataclass(frozen=True, eq=False)
class Expectation:
    """Factors of the expected residual, per channel and covariate piecewise linear in the logarithm.

    knots, values: float32 [C, J, K], knots increasing along the last axis.
    """

    knots: Floats
    values: Floats

    def predict(self, channel: int, point: Floats, covariates: Floats) -> Floats:
        """Expected residual [P] from the points' mean residual [P] and the covariates [P, J]."""
        out = np.empty(point.shape, np.float32)
        _predict(point, np.ascontiguousarray(covariates.T), self.knots[channel], self.values[channel], out)
        return out


@kernel
def _predict(point: Floats, covariates: Floats, knots: Floats, values: Floats, out: Floats) -> None:
    count = point.shape[0]
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(out, i, load(point, i) * _factors(covariates, i, knots, values))
    if whole < count:  # the rest, in vectors of their own
        rest = np.zeros((covariates.shape[0] + 1, LANES), np.float32)
        for k in range(count - whole):
            rest[:-1, k] = covariates[:, whole + k]
        store(rest, covariates.shape[0] * LANES, _factors(rest, 0, knots, values))
        for k in range(count - whole):
            out[whole + k] = point[whole + k] * rest[-1, k]


@kernel
def _factors(covariates, i, knots, values):  # type: ignore[no-untyped-def]
    """Of eight pixels from the i-th on: e to the sum of piecewise linear functions."""
    total = splat(np.float32(0))
    for j in range(knots.shape[0]):
        v = load(covariates, j * covariates.shape[1] + i)
        total = total + splat(values[j, 0])
        for k in range(1, knots.shape[1]):
            low, high = knots[j, k - 1], knots[j, k]
            # In this order what is not a number stays none.
            within = maximum(splat(low), minimum(splat(high), v)) - splat(low)
            total = fma(splat((values[j, k] - values[j, k - 1]) / (high - low)), within, total)
    most = splat(np.float32(100))
    bounded = maximum(splat(np.float32(-100)), minimum(most, total * splat(np.float32(np.log2(np.e)))))
    return exp2(bounded) + bounded * splat(np.float32(0))  # the latter for what is no number


def on_part(rendering: ReferenceRendering) -> Mask:
    """Where [H, W] the part is expected; elsewhere the background is."""
    return np.asarray(cv2.dilate((rendering.alpha > MIN_ALPHA).view(np.uint8), _NEIGHBOURS) > 0)


def points_and_covariates(
    rendering: ReferenceRendering, channels: int, pixels: NDArray[np.intp], farthest: float | None = None
) -> list[tuple[Floats, Floats]]:
    """(mean residual of the surface points [P], covariates [P, J]) of each channel, at `pixels` [P] (row-major).

    rendering.features holds the mean residual of each channel and the rarity. farthest: the largest depth of the
    whole rendering, where this is a band of it.
    """
    # Stands for the background, so that an outline is a step.
    far = float(rendering.depth.max()) if farthest is None else farthest
    distance = np.where(rendering.alpha > 0.5, rendering.depth, np.float32(far))
    log_distance = np.log(np.maximum(distance, 1e-6)) if far > 0 else distance
    width = rendering.rgb.shape[1]
    shared = np.empty((len(COVARIATES) - 1, len(pixels)), np.float32)
    views = rendering.seen.view(np.uint8).sum(axis=0, dtype=np.uint8)
    shared[0] = views.ravel()[pixels] if len(rendering.seen) else 0
    rendering.features[..., channels].take(pixels, out=shared[1])
    shared[2] = _steepness(lab_planes(rendering.rgb), width, pixels) + SMALLEST
    rendering.alpha.take(pixels, out=shared[3])
    shared[4] = _steepness(log_distance[None], width, pixels) + np.float32(1e-3)
    np.log(shared[2:5:2], out=shared[2:5:2])
    shared[5], shared[6] = np.log(SMALLEST + _apart(rendering, pixels))
    out = []
    for c in range(channels):
        point = cv2.dilate(np.ascontiguousarray(rendering.features[..., c]), _NEIGHBOURS).take(pixels) + SMALLEST
        out.append((point, np.concatenate([np.log(point)[None], shared]).T))
    return out


def _apart(rendering: ReferenceRendering, pixels: NDArray[np.intp]) -> Floats:
    """[2, P]: difference (0..1) between the rendering and the nearest and farthest of the photographs that see it."""
    shape, rgb = rendering.alpha.shape, rendering.rgb8
    least, most = np.full(shape, np.inf, np.float32), np.zeros(shape, np.float32)
    for photograph, seen in zip(rendering.photographs, rendering.seen, strict=True):
        smoothed = cv2.blur(mean_difference(photograph, rgb), (3, 3))
        np.minimum(least, smoothed, out=least, where=seen)
        np.maximum(most, smoothed, out=most, where=seen)
    least[np.isinf(least)] = 0
    return np.stack([least.take(pixels), most.take(pixels)])


def variation_at(rendering: ReferenceRendering, channels: int, pixels: NDArray[np.intp]) -> Floats | None:
    """How many times more than expected good units differ at `pixels` [P]; None where the model knows one part only."""
    if rendering.features.shape[2] < channels + 3:
        return None
    shown = cv2.dilate(np.ascontiguousarray(rendering.features[..., channels + 2]), _NEIGHBOURS).take(pixels)
    return np.maximum(shown, np.float32(1))  # it is blended with the background, which has none


def _steepness(planes: Floats, width: int, pixels: NDArray[np.intp]) -> Floats:
    """Largest gradient magnitude of planes [C, H, width and more] in the pixels' neighbourhoods [P], per pixel."""
    squared = np.empty((planes.shape[1], width), np.float32)
    _squared_slope(planes, width, squared)
    return np.sqrt(cv2.dilate(squared, _NEIGHBOURS).take(pixels))


@kernel
def _squared_slope(planes, width, out):  # type: ignore[no-untyped-def]
    """The sum over planes [C, H, ...] of the squared gradient by Sobel's filter, mirrored at the borders."""
    count, height, stride = planes.shape
    across, down = np.zeros(width + 2 + LANES, np.float32), np.zeros(width + 2 + LANES, np.float32)
    total = np.empty(width + LANES, np.float32)
    two, eighth = splat(np.float32(2)), splat(np.float32(1 / 8))
    last = width + 1
    for y in range(height):
        total[:] = 0
        above = abs(y - 1) if height > 1 else 0
        below = y + 1 if y + 1 < height else max(height - 2, 0)
        for c in range(count):
            for x in range(width):
                a, b, d = planes[c, above, x], planes[c, y, x], planes[c, below, x]
                across[x + 1] = a + b + b + d
                down[x + 1] = d - a
            inner = min(1, width - 1)
            across[0], down[0] = across[1 + inner], down[1 + inner]
            across[last], down[last] = across[last - 1 - inner], down[last - 1 - inner]
            for x in range(0, width, LANES):
                u = (load(across, x + 2) - load(across, x)) * eighth
                v = fma(two, load(down, x + 1), load(down, x) + load(down, x + 2)) * eighth
                store(total, x, fma(u, u, fma(v, v, load(total, x))))
        for x in range(width):
            out[y, x] = total[x]
