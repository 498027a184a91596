"""Calibration: how large a difference good views show, per point of the surface and per image.

The per-point statistics come from the views that the Gaussians were fitted to, rendered at slightly
wrong poses, as a localized query is. Held-out views go through the same refinement and comparison as a
query: they tell by how much more unseen views differ, and where (cross-fitted), and their image scores
give the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..comparison.calibration import Calibration
from ..comparison.deep import cues
from ..comparison.expectation import COVARIATES, on_part, points_and_covariates
from ..decision.regions import conformal_threshold
from ..decision.scorer import ScoringSettings, evidence
from ..imaging.background import Background, mask_box
from ..imaging.geometry import Camera, Pose, largest_cosine
from ..imaging.views import View
from ..localization.refinement import RefinementSettings, refine_pose
from ..networks.backbones import Backbone
from ..progress import progress
from ..rendering.gaussians import Gaussians
from ..rendering.photographs import Photograph
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from .expectation import KNOTS, Sample, choose_knots, fit_factors
from .residuals import no_statistics, residual_statistics

Floats = NDArray[np.float32]

BACKGROUND_QUANTILE = 0.999  # of a good view's pixels beside the part
BESIDE = 7  # px: nearer to the part its edge counts, not the background
LOSS_ALLOWANCE = 1.75  # times the worst held-out view's loss: room for a defect, not for a wrong pose
SMALLEST_LEVEL = 0.1  # renderings that show no difference at all must not make noise a defect
CROSS_FIT = 5  # folds of held-out views: none is scored by factors that it helped to fit
STRONGEST = 10.0  # evidence that one pixel may bring,
REACH = 2.0  # but so much that a region full of it scores this many times the threshold
EXPECTED_ALLOWANCE = 1.5  # times what is expected of the worst held-out view
WINDOW_MARGIN = 4  # px around the part that a photograph keeps


@dataclass(frozen=True)
class CalibrationSettings:
    """How far the poses are put off before refining (start) and before gathering residuals (jitter)."""

    jitter_deg: float = 0.05
    jitter_translation: float = 0.001  # share of the distance to the part
    start_deg: float = 0.3
    start_translation: float = 0.004
    max_views: int = 150  # that residuals are gathered from
    pixels: int = 6000  # of each held-out view, that the expected residual is learned from


def jittered(pose: Pose, degrees: float, translation: float, rng: np.random.Generator) -> Pose:
    """The pose turned about the part by about `degrees` and shifted by a share of its distance."""
    distance = float(np.linalg.norm(pose.centre))
    turn = Pose.identity().retract(np.concatenate([rng.normal(size=3) * np.radians(degrees) / np.sqrt(3), np.zeros(3)]))
    shift = rng.normal(size=3) * translation * distance / np.sqrt(3)
    return Pose.from_rt(np.eye(3), shift) @ pose @ turn


def take_photographs(
    gaussians: Gaussians, views: Sequence[View], background: Background, device: str
) -> tuple[Photograph, ...]:
    """The part's window of each view (with pose), with the depth that the Gaussians give it there."""
    renderer = Renderer(gaussians, background, device=device)
    taken = []
    for view in progress(views, "reference photographs", len(views)):
        assert view.pose is not None
        height, width = view.image.shape[:2]
        box = None if view.mask is None else mask_box(view.mask, WINDOW_MARGIN)
        x0, y0, x1, y1 = box or (0, 0, width, height)
        depth = renderer.render(view.camera, view.pose).depth[y0:y1, x0:x1]
        camera = view.camera.cropped(x0, y0, x1 - x0, y1 - y0)
        taken.append(
            Photograph(view.name, view.image[y0:y1, x0:x1].copy(), depth.astype(np.float16), camera, view.pose)
        )
    return tuple(taken)


def _beside(alpha: Floats) -> NDArray[np.bool_]:
    """Pixels [H, W] of a rendering that are background; one corner where the part fills the image."""
    near = cv2.dilate((alpha > 0.05).astype(np.uint8), np.ones((2 * BESIDE + 1,) * 2, np.uint8))
    near[0, 0] = 0
    return np.asarray(near == 0)


def covered_angle(views: Sequence[View], gaussians: Gaussians) -> float:
    """How far (rad, seen from the part) a query may be from the nearest reference view.

    Reference views lie this far from each other at most, and half as much again is allowed: the model
    was fitted to, and checked on, views with such gaps between them.
    """
    centre = gaussians.centre
    centres = np.array([view.pose.centre for view in views if view.pose is not None])
    cosines = np.array([largest_cosine(np.delete(centres, i, axis=0), c, centre) for i, c in enumerate(centres)])
    return float(min(1.5 * np.arccos(cosines.clip(-1, 1)).max(), np.pi))


def calibrate(
    gaussians: Gaussians,
    fitted: tuple[View, ...],
    held_out: tuple[View, ...],
    background: Background,
    scoring: ScoringSettings,
    refinement: RefinementSettings,
    false_reject_rate: float,
    photographs: Sequence[Photograph],
    device: str,
    seed: int,
    settings: CalibrationSettings | None = None,
    backbone: Backbone | None = None,
) -> Calibration:
    """Residual statistics from `fitted` views, factors and threshold from `held_out` ones (all with poses).

    No view is compared with its own photograph. backbone: the one that `scoring` names.
    """
    settings = settings or CalibrationSettings()
    rng = np.random.default_rng(seed)
    plain = Renderer(gaussians, background, device=device)
    start = _of_fitted(
        plain, Renderer(gaussians, background, None, device, photographs, scoring.photographs),
        fitted, scoring, backbone, settings, rng,
    )  # fmt: skip
    start = replace(start, false_reject_rate=false_reject_rate, coverage=covered_angle(fitted + held_out, gaussians))
    full = Renderer(gaussians, background, start.features(), device, photographs, scoring.photographs)

    def compare(view: View, pose: Pose) -> tuple[ReferenceRendering, Floats]:
        rendering = full.render(view.camera, pose, without=view.name)
        return rendering, cues(view.image, rendering, scoring, backbone)

    poses: list[Pose] = []
    losses: list[float] = []
    pixels: list[list[Sample]] = []  # per view and cue
    local = scoring.comparison == "calibrated"
    for view in progress(held_out, "comparing held-out views", len(held_out)):
        assert view.pose is not None
        wrong = jittered(view.pose, settings.start_deg, settings.start_translation, rng)
        refined = refine_pose(view.image, view.camera, wrong, plain.render, refinement)
        poses.append(refined.pose)
        losses.append(refined.loss)
        pixels.append(_draw(*compare(view, refined.pose), settings.pixels, rng) if local else [])

    models = [
        _with_factors(start, [p for i, p in enumerate(pixels) if i % CROSS_FIT != fold]) for fold in range(CROSS_FIT)
    ]
    peaks = np.zeros(len(held_out), np.float32)
    expected = np.zeros(len(held_out))
    for i, view in enumerate(progress(held_out, "scoring held-out views", len(held_out))):
        rendering, residual = compare(view, poses[i])
        pooled, expected[i] = evidence(residual, rendering, models[i % CROSS_FIT], scoring)
        peaks[i] = pooled.max()
    level = max(float(np.median(peaks)) if len(peaks) else 0.0, SMALLEST_LEVEL)
    scores = (peaks / np.float32(level)).astype(np.float32)
    threshold, promised = conformal_threshold(scores, false_reject_rate)
    # Held-out views are scored without the bound. With it they score no higher, so the threshold still holds.
    strongest = max(STRONGEST, REACH * threshold * level)
    known = [loss for loss in losses if np.isfinite(loss)]  # infinite where a view shows too little of the part
    return replace(
        _with_factors(start, pixels), scores=scores, threshold=threshold, promised_rate=promised,
        max_loss=LOSS_ALLOWANCE * max(known, default=float("inf")),
        max_expected=EXPECTED_ALLOWANCE * float(expected.max()) or float("inf"),
        strongest=strongest if math.isfinite(strongest) else STRONGEST,
        level=level,
    )  # fmt: skip


def _of_fitted(
    plain: Renderer,
    renderer: Renderer,
    views: Sequence[View],
    scoring: ScoringSettings,
    backbone: Backbone | None,
    settings: CalibrationSettings,
    rng: np.random.Generator,
) -> Calibration:
    """What the views tell that the Gaussians were fitted to; factors are 1 and the threshold unknown."""
    gaussians = len(plain.gaussians)
    beside: list[NDArray[np.floating]] = []  # [C] per view

    def samples() -> Iterator[tuple[Camera, Pose, Floats]]:
        chosen = views[:: max(1, len(views) // settings.max_views)]
        for view in progress(chosen, "gathering residuals", len(chosen)):
            assert view.pose is not None
            pose = jittered(view.pose, settings.jitter_deg, settings.jitter_translation, rng)
            rendering = renderer.render(view.camera, pose, without=view.name)
            residual = cues(view.image, rendering, scoring, backbone)
            beside.append(np.quantile(residual[_beside(rendering.alpha)], BACKGROUND_QUANTILE, axis=0))
            yield view.camera, pose, residual

    # The recipe knows no statistics of the surface.
    statistics = no_statistics(gaussians) if scoring.comparison == "recipe" else residual_statistics(plain, samples())
    count = len(statistics.overall_deviation)
    uniform = np.tile(statistics.overall_mean, (gaussians, 1))
    knots, factors = _no_factors(count)
    return Calibration(
        residual_mean=uniform if scoring.comparison == "uniform" else statistics.mean, rarity=statistics.rarity,
        knots=knots, factors=factors,
        scores=np.zeros(0, np.float32), threshold=float("nan"), false_reject_rate=float("nan"),
        promised_rate=float("nan"), floors=tuple(float(x) for x in statistics.overall_deviation),
        beside=tuple(float(x) for x in np.nanmax(beside, axis=0)) if beside else (), coverage=float(np.pi),
        max_loss=float("inf"), max_expected=float("inf"),
        strongest=float("inf"), level=1.0,
    )  # fmt: skip


def _draw(rendering: ReferenceRendering, residual: Floats, count: int, rng: np.random.Generator) -> list[Sample]:
    """Of each cue up to `count` of the part's pixels."""
    pixels = np.flatnonzero(on_part(rendering))
    pixels = rng.choice(pixels, min(count, len(pixels)), replace=False)
    return [
        Sample(point, covariates, residual[..., c].ravel()[pixels])
        for c, (point, covariates) in enumerate(points_and_covariates(rendering, residual.shape[2], pixels))
    ]


def _no_factors(count: int) -> tuple[Floats, Floats]:
    knots = np.tile(np.arange(KNOTS, dtype=np.float32), (count, len(COVARIATES), 1))
    return knots, np.zeros_like(knots)


def _with_factors(calibration: Calibration, pixels: Sequence[Sequence[Sample]]) -> Calibration:
    """The calibration with factors learned from samples per view and cue; all factors are 1 without any."""
    knots, factors = _no_factors(len(calibration.floors))
    for c in range(len(knots)):
        samples = [view[c] for view in pixels if view and len(view[c].residual)]
        if samples:
            knots[c] = choose_knots(samples)
            factors[c] = fit_factors(samples, knots[c])
    return replace(calibration, knots=knots, factors=factors)
