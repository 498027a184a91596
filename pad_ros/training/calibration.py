"""Calibration: how large a difference good views show, per point of the surface and per image.

The per-point statistics come from the views that the Gaussians were fitted to, rendered at slightly
wrong poses, as a localized query is. The image scores come from held-out views that go through the
same refinement and comparison as a query; they give the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import Camera, Pose, largest_cosine
from ..localization.refinement import RefinementSettings, refine_pose
from ..progress import progress
from ..rendering.gaussians import Gaussians
from ..rendering.photographs import Photograph
from ..rendering.renderer import Renderer
from ..scoring.backbones import Backbone
from ..scoring.calibration import Calibration
from ..scoring.decision import conformal_threshold
from ..scoring.deep import cues
from ..scoring.scorer import ScoringSettings, evidence
from ..silhouette import Background, mask_box
from ..views import View
from .residuals import no_statistics, residual_statistics

Floats = NDArray[np.float32]

BACKGROUND_QUANTILE = 0.999  # of a good view's pixels beside the part
BESIDE = 7  # px: nearer to the part its edge counts, not the background
LOSS_ALLOWANCE = 1.75  # times the worst held-out view's loss: room for a defect, not for a wrong pose
WINDOW_MARGIN = 4  # px around the part that a photograph keeps


@dataclass(frozen=True)
class CalibrationSettings:
    """How far the poses are put off before refining (start) and before gathering residuals (jitter)."""

    jitter_deg: float = 0.05
    jitter_translation: float = 0.001  # share of the distance to the part
    start_deg: float = 0.3
    start_translation: float = 0.004
    max_views: int = 150  # that residuals are gathered from


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
    centre = gaussians.means.double().median(dim=0).values.cpu().numpy()
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
    """Residual statistics from `fitted` views and the threshold from `held_out` ones (all with poses).

    No view is compared with its own photograph. backbone: the one that `scoring` names.
    """
    settings = settings or CalibrationSettings()
    rng = np.random.default_rng(seed)
    plain = Renderer(gaussians, background, device=device)
    renderer = Renderer(gaussians, background, None, device, photographs, scoring.photographs)

    beside: list[NDArray[np.floating]] = []  # [C] per view

    def samples() -> Iterator[tuple[Camera, Pose, Floats]]:
        chosen = fitted[:: max(1, len(fitted) // settings.max_views)]
        for view in progress(chosen, "gathering residuals", len(chosen)):
            assert view.pose is not None
            pose = jittered(view.pose, settings.jitter_deg, settings.jitter_translation, rng)
            rendering = renderer.render(view.camera, pose, without=view.name)
            residual = cues(view.image, rendering, scoring, backbone)
            beside.append(np.quantile(residual[_beside(rendering.alpha)], BACKGROUND_QUANTILE, axis=0))
            yield view.camera, pose, residual

    recipe = scoring.comparison == "recipe"  # knows no statistics of the surface
    statistics = no_statistics(len(gaussians)) if recipe else residual_statistics(plain, samples())
    floors = tuple(float(x) for x in statistics.overall_deviation)
    calibration = Calibration(
        residual_mean=statistics.mean, residual_deviation=statistics.deviation,
        scores=np.zeros(0, np.float32), threshold=float("nan"), false_reject_rate=false_reject_rate,
        promised_rate=float("nan"), floors=floors,
        beside=() if recipe else tuple(float(x) for x in np.nanmax(beside, axis=0)),
        coverage=covered_angle(fitted + held_out, gaussians), max_loss=float("inf"),
        levels=tuple(1.0 for _ in scoring.scales),
    )  # fmt: skip
    full = Renderer(gaussians, background, calibration.features(), device, photographs, scoring.photographs)
    maxima: list[list[float]] = []
    losses: list[float] = []
    for view in progress(held_out, "scoring held-out views", len(held_out)):
        assert view.pose is not None
        start = jittered(view.pose, settings.start_deg, settings.start_translation, rng)
        refined = refine_pose(view.image, view.camera, start, plain.render, refinement)
        losses.append(refined.loss)
        rendering = full.render(view.camera, refined.pose, without=view.name)
        residual = cues(view.image, rendering, scoring, backbone)
        maxima.append([float(m.max()) for m in evidence(residual, rendering, calibration, scoring)])
    peaks = np.asarray(maxima, np.float32)  # [V, S]
    levels = np.median(peaks, axis=0)
    scores = (peaks / levels).max(axis=1).astype(np.float32)
    threshold, promised = conformal_threshold(scores, false_reject_rate)
    return replace(
        calibration, scores=scores, max_loss=LOSS_ALLOWANCE * max(losses), threshold=threshold, promised_rate=promised,
        levels=tuple(float(level) for level in levels),
    )  # fmt: skip
