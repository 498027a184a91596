"""The calibrated comparison: residuals beyond what good views show at that point of the surface.

Residual channels are the colour and, as the settings name them, gradients or a backbone's features. What is expected of
them at each point is the mean residual of the reference views there, times factors for what makes good views differ
more (`expectation`), learned from views that the Gaussians were not fitted to. What exceeds that is pooled over small
regions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import for_each, in_bands
from ..imaging.background import mask_box
from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image
from ..networks.backbones import Backbone
from ..networks.segmenters import Segmenter
from ..photometry.prepared_query import PreparedQuery
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from ..settings import ScoringSettings
from .colour import residuals
from .expectation import on_part, points_and_covariates, variation_at
from .expectation_fit import PixelSample, choose_knots, fit_factors
from .features import GRADIENTS, feature_difference, features_of
from .glints import REACH, brighter, glints_allowed, glints_of
from .good_units import Observation, learned, observe
from .learned_light import MOST_LIGHTS, learned_light, light_sums
from .measurement import KnownLight, Measurement, measure
from .protocol import Evidence, Sample
from .state import ComparisonState, no_factors

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

NEIGHBOURHOOD = REACH + 1  # px around a pixel that what is expected there depends on
WINDOW_REACH = 5  # standard deviations that a Gaussian window is smaller than
# Where the bulk of the part differs more than usual from what is expected, some of that is forgiven everywhere.
BULK_STEP = 4  # of the part's pixels, which are many, every so many
BULK_QUANTILE, USUAL_BULK = 0.9, 1.3  # of residual / expected residual; 1.3 in good views
BULK_EXPONENT = 0.4  # more would let noise and compression hide defects
FITTED_PIXELS = 6000  # of each view, that the factors are learned from
USUAL_LIGHT_QUANTILE = 0.95  # of the reference views: in more light than that, added light is forgiven
OFF_PART_QUANTILE = 0.999  # of a good view's pixels off the part
OFF_PART_MARGIN = 7  # px: nearer to the part its edge counts, not the background


class CalibratedComparison:
    """See the module. backbone, segmenter: those that the settings name."""

    def __init__(
        self, settings: ScoringSettings, backbone: Backbone | None = None, segmenter: Segmenter | None = None
    ) -> None:
        self.settings = settings
        named = GRADIENTS if settings.backbone == GRADIENTS.name else None
        self._features = named if backbone is None else features_of(backbone)
        self._segmenter = segmenter

    def fit(self, samples: Iterable[Sample], renderer: Renderer) -> ComparisonState:
        """The mean residual of each Gaussian; factors are 1. ValueError without samples."""
        from .surface_statistics import residual_statistics  # needs torch, which a line does not

        off_part: list[NDArray[np.floating]] = []  # [C] per view
        light: list[float] = []

        def measured() -> Iterator[tuple[Camera, Pose, Floats]]:
            for sample in samples:
                found, lit = self._measure(sample, KnownLight()), sample.query.lit_by(sample.rendering)
                residual, reference = found.residual, found.reference
                light.append(lit.light_change)
                glints = glints_of(brighter(lit.image, reference), residual[..., 0], on_part(reference))
                off = residual[_off_part(sample.rendering.alpha)]
                off_part.append(np.quantile(off, OFF_PART_QUANTILE, axis=0))
                maps = np.concatenate([residual, glints[..., None]], axis=2)
                yield sample.rendering.camera, sample.rendering.pose, maps

        found = residual_statistics(renderer, measured(), with_glints=True)
        knots, factors = no_factors(len(found.overall_deviation))
        return ComparisonState(
            found.mean, found.rarity, knots, factors, tuple(map(float, found.overall_deviation)),
            tuple(map(float, np.nanmax(off_part, axis=0))), float(np.quantile(light, USUAL_LIGHT_QUANTILE)),
            glints=found.glints,
        )  # fmt: skip

    def adapt(self, state: ComparisonState, samples: Sequence[Sample], seed: int) -> ComparisonState:
        """The state with factors learned from the samples; all stay 1 without any."""
        return self.with_factors(state, [self.draw(sample, state, seed) for sample in samples])

    def draw(self, sample: Sample, state: ComparisonState, seed: int) -> list[PixelSample]:
        """Of each channel up to FITTED_PIXELS of the part's pixels in one view."""
        measured = self._measure(sample, _known(state))
        residual, reference = measured.residual, measured.reference
        pixels = np.flatnonzero(on_part(reference))
        rng = np.random.default_rng(seed)
        pixels = rng.choice(pixels, min(FITTED_PIXELS, len(pixels)), replace=False)
        return [
            PixelSample(point, covariates, residual[..., c].ravel()[pixels])
            for c, (point, covariates) in enumerate(points_and_covariates(reference, state.channels, pixels))
        ]

    @staticmethod
    def with_factors(state: ComparisonState, drawn: Sequence[Sequence[PixelSample]]) -> ComparisonState:
        """The state with factors learned from pixels per view and channel, as `draw` gives them."""
        knots, factors = no_factors(state.channels)
        for c in range(state.channels):
            pixels = [view[c] for view in drawn if len(view[c].residual)]
            if pixels:
                knots[c] = choose_knots(pixels)
                factors[c] = fit_factors(pixels, knots[c])
        return replace(state, knots=knots, factors=factors)

    def observe(self, sample: Sample, state: ComparisonState, renderer: Renderer, seed: int) -> Observation:
        measured = self._measure(sample, _known(state))
        off_part = state.off_part
        if measured.ground is not None and sample.query.lit_by(sample.rendering).plain:
            off = measured.residual[_off_part(sample.rendering.alpha)]
            off_part = tuple(map(float, np.quantile(off, OFF_PART_QUANTILE, axis=0)))
        return observe(measured, state, renderer, off_part, seed)

    def light_sums(self, sample: Sample, renderer: Renderer) -> Floats:
        return light_sums(sample.query.lit_by(sample.rendering), renderer)

    def with_light(self, state: ComparisonState, sums: Floats) -> ComparisonState:
        light = learned_light(sums)
        lights = np.concatenate([state.lights, light], axis=1) if state.light_channels else light
        return replace(state, lights=lights[:, -2 * MOST_LIGHTS :])

    def learn(
        self, state: ComparisonState, observations: Sequence[Observation], level: float, points: Floats
    ) -> ComparisonState:
        return learned(state, observations, level, points)

    def evidence(self, query: PreparedQuery, rendering: ReferenceRendering, state: ComparisonState) -> Evidence:
        measured = self._measure(Sample(query, rendering), _known(state))
        weights = np.ones(measured.residual.shape[2], np.float32)
        if self._features is not None:
            weights[1] = self._features.weight
        image = query.lit_by(rendering).image
        bright = brighter(image, measured.reference) if len(state.glints) else None
        values, expected, forgiven = excess(measured, state, weights, bright)
        pooled_values = pooled(values, self.settings.scales)
        # Another ground throws light on good parts as well: what is forgiven for it leaves no doubt.
        forgiven = 1.0 if measured.other_ground else forgiven
        return Evidence(pooled_values, expected, measured.ground, measured.surroundings_judged, forgiven)

    def _measure(self, sample: Sample, light: KnownLight) -> Measurement:
        return measure(sample.query, sample.rendering, self._residual, self._segmenter, self.settings.shift, light)

    def _residual(self, image: Image, rendering: ReferenceRendering) -> Floats:
        """[H, W, C], C = 1: the colour; with features C = 2."""
        colour = residuals(image, rendering, self.settings.shift)
        if self._features is None:
            return colour
        return np.concatenate([colour, feature_difference(image, rendering, self._features)[..., None]], axis=2)


def excess(
    measurement: Measurement, state: ComparisonState, weights: Floats, bright: Floats | None
) -> tuple[Floats, float, float]:
    """Residuals [H, W, C] beyond what good views show there, in units of that, added up with weights [C]: [H, W].

    Also the mean residual (colour) that is expected on the part: how badly the reference is known from here; and the
    factor of it that is allowed, see `_forgiven`. Off the part what the background of good views shows (folds of a
    cloth, noise) is expected, and at least what the query's own ground may differ by. Beyond that it counts in units of
    what the ground varies by: a plain one as on white.
    bright: see `glints.brighter`; None where the state knows no glints.
    """
    residual, rendering = measurement.residual, measurement.reference
    total = np.empty(residual.shape[:2], np.float32)
    deviations, most = np.array(state.deviation, np.float32), np.float32(state.max_evidence)
    of_views = np.array(state.off_part, np.float32)
    off_part = np.maximum(of_views, np.float32(measurement.ground_residual))
    off_unit = np.maximum(of_views, np.float32(measurement.ground_varies)) + deviations
    inside = rendering.inside
    shown, within = rendering.cropped(inside), total[inside]
    farthest = float(shown.depth.max())
    bands: dict[int, _Band] = {}

    def exceeding(measured: Floats, mean: Floats, deviation: Floats, c: int) -> Floats:
        out = measured - mean
        out /= deviation
        np.clip(out, 0, most, out=out)
        return out if weights[c] == 1 else weights[c] * out

    def as_ground(first: int, last: int) -> None:
        rows, channels = residual[first:last], range(state.channels)
        total[first:last] = sum(exceeding(rows[..., c], off_part[c], off_unit[c], c) for c in channels)

    def expect(first: int, last: int) -> None:
        rows = slice(max(first - NEIGHBOURHOOD, 0), last + NEIGHBOURHOOD)
        bright_rows = None if bright is None else bright[inside][rows]
        own = slice(first - rows.start, last - rows.start)
        seen = shown.cropped((rows, slice(None)))
        bands[first] = _Band.of(rows, own, seen, residual[inside][rows], state, bright_rows, farthest)

    def as_part(band: _Band) -> None:
        gathered = np.zeros(len(band.means[0]), np.float32)
        for c, mean in enumerate(band.means):
            allowed = mean * forgiven + (band.glints if c == 0 else 0)
            gathered += exceeding(band.measured[c], allowed, allowed + np.float32(0.5) * deviations[c], c)
        within[band.rows][band.part] = gathered

    in_bands(as_ground, len(total))
    in_bands(expect, len(within))
    order = [bands[first] for first in sorted(bands)]
    expected = np.concatenate([band.means[0] for band in order])
    forgiven = _forgiven(np.concatenate([band.measured[0] for band in order]), expected)
    for_each(lambda i: as_part(order[i]), len(order))
    return total, float(expected.mean()) if len(expected) else 0.0, float(forgiven)


@dataclass(frozen=True, eq=False)
class _Band:
    """The part's pixels [P] in some rows of a rendering: what was measured there, and what is expected."""

    rows: slice
    part: Mask  # [rows, W]
    measured: list[Floats]  # [P] per channel
    means: list[Floats]  # [P] per channel
    glints: Floats  # [P] what they may add to the colour

    @staticmethod
    def of(  # parameters: an image's, cut out already
        rows: slice, own: slice, seen: ReferenceRendering, residual: Floats, state: ComparisonState,
        bright: Floats | None, farthest: float,
    ) -> _Band:  # fmt: skip
        """Of the rows `own` of those cut out; around them lies what they depend on."""
        part = on_part(seen)
        part[: own.start] = part[own.stop :] = False
        pixels = np.flatnonzero(part)
        points = points_and_covariates(seen, state.channels, pixels, farthest)
        means = [state.expectation.predict(c, point, covariates) for c, (point, covariates) in enumerate(points)]
        if (varied := variation_at(seen, state.channels, pixels)) is not None:
            means = [mean * varied for mean in means]
        measured = [residual[..., c].take(pixels) for c in range(state.channels)]
        glints = glints_allowed(seen, state.channels, bright, measured[0], pixels)
        return _Band(rows, part, measured, means, glints)


def _forgiven(measured: Floats, expected: Floats) -> np.float32:
    """Factor of what is expected, where the bulk of the part differs more than that: other light, or another ground."""
    if len(measured) == 0:
        return np.float32(1)
    ratios = measured[::BULK_STEP] / expected[::BULK_STEP]
    rank = int(BULK_QUANTILE * (len(ratios) - 1))
    bulk = float(np.partition(ratios, rank)[rank])
    return np.float32(max(bulk / USUAL_BULK, 1.0) ** BULK_EXPONENT)


def pooled(values: Floats, scales: Sequence[float]) -> Floats:
    """The geometric mean [H, W] of what Gaussian windows of all scales gather of `values`, which are not negative.

    A defect stands out in the small window and in the large one. Noise of single pixels does so in the small one
    alone, a defect's surroundings in the large one alone: the mean's logarithm leaves neither high.
    """
    out = np.zeros_like(values)
    box = mask_box(values != 0, margin=math.ceil(WINDOW_REACH * max(scales)))  # outside is nothing to gather
    if box is None:
        return out
    x0, y0, x1, y1 = box
    cut = values[y0:y1, x0:x1]
    windows = [np.empty_like(cut) for _ in scales]

    def gather(i: int) -> None:
        np.maximum(cv2.GaussianBlur(cut, (0, 0), scales[i]), 0, out=windows[i])

    for_each(gather, len(scales))
    first, *others = windows
    for window in others:
        first *= window
    out[y0:y1, x0:x1] = np.sqrt(first) if len(scales) == 2 else first ** np.float32(1 / len(scales))
    return out


def _known(state: ComparisonState) -> KnownLight:
    return KnownLight(state.usual_light, state.light_channels)


def _off_part(alpha: Floats) -> NDArray[np.bool_]:
    """Pixels [H, W] of a rendering that are background; one corner where the part fills the image."""
    near = cv2.dilate((alpha > 0.05).astype(np.uint8), np.ones((2 * OFF_PART_MARGIN + 1,) * 2, np.uint8))
    near[0, 0] = 0
    return np.asarray(near == 0)
