"""What good units show beyond the one part that the model was trained on: by how much more images of this line differ
from the reference, and where on the surface good units differ from each other.

A defect is rare, normal variation is not: what good units show at a point is forgiven at that point and close to it,
and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..rendering.renderer import Renderer
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


@dataclass(frozen=True, eq=False)
class Observation:
    """What one image of a good unit shows.

    pixels: of each channel, `point` being what the state expects; shown, expected: float32 [N], residual (colour)
    around each Gaussian and what the state expects there, NaN where the image does not show it; off_part: [C], residual
    that the image's background stays below.
    """

    pixels: tuple[PixelSample, ...]
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
    maps = np.zeros((2, *part.shape), np.float32)
    maps[0][part], maps[1][part] = residual[..., 0][part], expected[0]
    around = np.stack([cv2.GaussianBlur(values, (0, 0), VARIATION_SIGMA) for values in maps], axis=2)
    window = renderer.window(reference.camera, reference.pose)
    if window is None:
        nothing = np.full(len(renderer.gaussians), np.nan, np.float32)
        return Observation(drawn, nothing, nothing, off_part)
    sums = spread(renderer, reference.camera, reference.pose, window, around[window.slices])
    seen = sums[:, 2] >= MIN_SEEN
    shown, usual = (np.where(seen, sums[:, i] / np.maximum(sums[:, 2], 1e-9), np.nan) for i in range(2))
    return Observation(drawn, shown.astype(np.float32), usual.astype(np.float32), off_part)


def learned(state: ComparisonState, observations: Sequence[Observation], level: float) -> ComparisonState:
    """The state as the observed images show it; unchanged without any. level: evidence that good views usually reach.

    The factors of what is expected are corrected; where a unit would still show more than the usual evidence, the
    variation is raised until it shows no more than that.
    """
    if not observations or not state.channels:
        return state
    corrections = np.stack(
        [fit_factors([seen.pixels[c] for seen in observations], state.knots[c], RIDGE) for c in range(state.channels)]
    )
    correction = Expectation(state.knots, corrections)
    half_deviation = 0.5 * state.deviation[0]
    most = np.ones(len(state.rarity), np.float32)
    for seen in observations:
        pixels = seen.pixels[0]
        factor = float(np.mean(correction.predict(0, np.ones_like(pixels.point), pixels.covariates)))
        needed = (seen.shown - half_deviation * level) / (np.maximum(seen.expected, 1e-6) * factor * (1 + level))
        most = np.fmax(most, needed)
    known = state.variation if len(state.variation) else np.float32(1)
    off_part = np.maximum(state.off_part, np.max([seen.off_part for seen in observations], axis=0))
    return replace(
        state, factors=state.factors + corrections, off_part=tuple(map(float, off_part)),
        variation=np.minimum(known * most, MAX_VARIATION).astype(np.float32),
    )  # fmt: skip
