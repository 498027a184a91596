"""What good units show beyond the one part that the model was trained on: by how much more images of this line differ
from the reference, and where on the surface good units differ from each other.

A defect is rare, normal variation is not: what good units show at a point is forgiven at that point and close to it,
and nowhere else. Where most of a region differs, in each unit at other points, as a casting's texture does, the region
is expected to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from .expectation import Expectation, on_part, points_and_covariates, variation_at
from .expectation_fit import PixelSample, fit_factors
from .measurement import Measurement
from .state import ComparisonState

Floats = NDArray[np.float32]

OBSERVED_PIXELS = 6000  # of each image, that factors are corrected by
RIDGE = 10_000.0  # pixels' worth of belief that the model's factors are right: those of an image say much the same
VARIATION_SIGMA = 1.5  # px: what varies at a point may vary beside it
MIN_SEEN = 1.0  # px of a Gaussian in an image, or the image says nothing about it
MAX_VARIATION = 30.0
REGION = 64  # Gaussians
UNUSUAL = 10  # of so many images that show a point, one may show what is not forgiven there


@dataclass(frozen=True, eq=False)
class Observation:
    """What one image of a good unit shows.

    pixels: of each channel, `point` being what the state expects; nearest: int [n], the Gaussian at each of them;
    shown, expected: float32 [C, N], residual around each Gaussian and what the state expects there, NaN where the image
    does not show it; off_part: [C], residual that the image's background stays below.
    """

    pixels: tuple[PixelSample, ...]
    nearest: NDArray[np.int64]
    shown: Floats
    expected: Floats
    off_part: tuple[float, ...]


def observe(
    measured: Measurement, state: ComparisonState, renderer: Renderer, off_part: tuple[float, ...], seed: int
) -> Observation:
    """renderer: of the Gaussians that the state belongs to."""
    from .surface_statistics import spread  # needs torch, which a line does not

    reference, residual = measured.reference, measured.residual
    part = on_part(reference)
    pixels = np.flatnonzero(part)
    points = points_and_covariates(reference, state.channels, pixels)
    expected = [state.expectation.predict(c, point, covariates) for c, (point, covariates) in enumerate(points)]
    if (varied := variation_at(reference, state.channels, pixels)) is not None:
        expected = [mean * varied for mean in expected]
    chosen = np.random.default_rng(seed).choice(len(pixels), min(OBSERVED_PIXELS, len(pixels)), replace=False)
    drawn = tuple(
        PixelSample(expected[c][chosen], points[c][1][chosen], residual[..., c].ravel()[pixels[chosen]])
        for c in range(state.channels)
    )
    nearest = _nearest(renderer.gaussians.means, reference, pixels[chosen])
    maps = np.zeros((2 * state.channels, *part.shape), np.float32)
    for c in range(state.channels):
        maps[c][part], maps[state.channels + c][part] = residual[..., c][part], expected[c]
    around = np.stack([cv2.GaussianBlur(values, (0, 0), VARIATION_SIGMA) for values in maps], axis=2)
    window = renderer.window(reference.camera, reference.pose)
    if window is None:
        nothing = np.full((state.channels, len(renderer.gaussians)), np.nan, np.float32)
        return Observation(drawn, nearest, nothing, nothing, off_part)
    sums = spread(renderer, reference.camera, reference.pose, window, around[window.slices])
    weight = sums[:, -1]
    means = np.where(weight >= MIN_SEEN, sums[:, :-1].T / np.maximum(weight, 1e-9), np.nan).astype(np.float32)
    return Observation(drawn, nearest, means[: state.channels], means[state.channels :], off_part)


def learned(
    state: ComparisonState, observations: Sequence[Observation], level: float, points: Floats
) -> ComparisonState:
    """The state as the observed images show it; unchanged without any. level: evidence that good views usually reach,
    here in each channel.

    points: [N, 3], of the Gaussians. The variation is raised where a region differs more than most of the part, the
    factors of what is expected are corrected, and where images would still show more than the usual evidence, the
    variation is raised until they show no more than that, but for a few (`most_of_usual`).
    """
    if not observations or not state.channels:
        return state
    regions = regional_variation(observations, points)

    def varying(seen: Observation, c: int) -> PixelSample:
        return replace(seen.pixels[c], point=seen.pixels[c].point * regions[seen.nearest])

    corrections = np.stack(
        [fit_factors([varying(seen, c) for seen in observations], state.knots[c], RIDGE) for c in range(state.channels)]
    )
    correction = Expectation(state.knots, corrections)
    most = np.ones(len(state.rarity), np.float32)
    for c in range(state.channels):
        needed = []
        for seen in observations:
            pixels = seen.pixels[c]
            factor = float(np.mean(correction.predict(c, np.ones_like(pixels.point), pixels.covariates)))
            expected = np.maximum(seen.expected[c] * regions, 1e-6) * factor
            needed.append((seen.shown[c] - 0.5 * state.deviation[c] * level) / (expected * (1 + level)))
        most = np.fmax(most, most_of_usual(np.stack(needed)))
    known = state.variation if len(state.variation) else np.float32(1)
    off_part = np.maximum(state.off_part, np.max([seen.off_part for seen in observations], axis=0))
    return replace(
        state, factors=state.factors + corrections, off_part=tuple(map(float, off_part)),
        variation=np.minimum(known * regions * most, MAX_VARIATION).astype(np.float32),
    )  # fmt: skip


def most_of_usual(needed: Floats) -> Floats:
    """What images [I, N] need at each point [N], but for the tenth of them that need most; NaN is none, of none 1.

    The more images there are, the rarer is what the largest one shows: it would forgive defects beside it.
    """
    seen = np.isfinite(needed)
    ordered = np.sort(np.where(seen, needed, -np.inf), axis=0)[::-1]
    count = seen.sum(axis=0)
    found = np.take_along_axis(ordered, (count // UNUSUAL)[None], axis=0)[0]
    return np.where(count > 0, found, 1).astype(np.float32)


def regional_variation(observations: Sequence[Observation], points: Floats) -> Floats:
    """Factor [N], 1 or more, by which the REGION Gaussians around each of `points` [N, 3] differ more in colour in the
    observed images than those around half of all do, in units of what is expected there."""
    shown, expected = (
        np.nansum([getattr(seen, name)[0] for seen in observations], axis=0) for name in ("shown", "expected")
    )
    seen = np.flatnonzero(expected > 0)
    out = np.ones(len(points), np.float32)
    if len(seen) < REGION:
        return out
    near = seen[cKDTree(points[seen]).query(points[seen], REGION)[1]]
    ratio = shown[near].sum(axis=1) / expected[near].sum(axis=1)
    out[seen] = np.maximum(ratio / np.median(ratio), 1)
    return out


def _nearest(points: Floats, reference: ReferenceRendering, pixels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Index of the point [N, 3] that is nearest to the surface at each pixel (flat) of a rendering."""
    rows, columns = np.divmod(pixels, reference.camera.width)
    rays = reference.camera.rays(np.stack([columns, rows], axis=1) + 0.5)
    surface = reference.pose.inverse().transform(reference.depth.ravel()[pixels][:, None] * rays)
    return np.asarray(cKDTree(points).query(surface)[1], np.int64)
