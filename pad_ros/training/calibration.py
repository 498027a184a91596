"""Calibration: how large a difference good views show, per point of the surface and per image.

What is normal at each point comes from the views that the Gaussians were fitted to, rendered at slightly wrong poses,
as a localized query is. Held-out views then go through exactly what `pad inspect` does, against the model without their
own photograph: they show by how much more unseen views differ, and where (cross-fitted). The fitted views then go the
same way, and the scores of all views give the threshold. It rests on an assumption: a fitted view lies a full gap from
the nearest photograph that is left, a query half of one, which outweighs that the Gaussians were fitted to the view.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..comparison.choices import create_comparison
from ..comparison.protocol import Comparison, Sample
from ..comparison.state import ComparisonState
from ..compute.threads import only_our_threads
from ..decision.calibration import Calibration
from ..decision.conditions import ConditionLimits, measure_conditions
from ..imaging.background import Background, mask_box
from ..imaging.geometry import Pose, largest_cosine, rotation_angle
from ..imaging.views import View
from ..inspector import Inspector
from ..localization.result import Localization
from ..methods.presets import method_from_dict
from ..model import ReferenceModel
from ..photometry.prepared_query import PreparedQuery
from ..progress import progress, say
from ..rendering.gaussians import Gaussians
from ..rendering.photographs import Photograph
from ..rendering.renderer import Renderer

JITTER_DEG, JITTER_TRANSLATION = 0.05, 0.001  # pose errors of queries; translation: share of the distance to the part
MAX_SCORED_VIEWS = 150  # fitted views whose scores count for the threshold
MAX_FITTED_VIEWS = 150  # that residuals are gathered from
LOSS_ALLOWANCE = 1.75  # times the worst held-out view's loss: room for a defect, not for a wrong pose
EXPECTED_ALLOWANCE = 1.5  # times what is expected of the worst held-out view
WRONG_POSE_DEG = 3.0  # a held-out view that is found farther from its pose than this says nothing about good views
SMALLEST_SCALE = 0.1  # renderings that show no difference at all must not make noise a defect
CROSS_FIT = 5  # folds of held-out views: none is scored by factors that it helped to fit
NO_SCORES = np.zeros(0, np.float32)
PHOTOGRAPH_MARGIN = 4  # px around the part that a photograph keeps
SCENE_MARGIN = 0.08  # the same of a part in a scene, share of the longer side


def calibrate(
    model: ReferenceModel,
    fitted: Sequence[View],
    held_out: Sequence[View],
    false_reject_rate: float,
    device: str = "cpu",
    seed: int = 0,
    comparison: Comparison | None = None,
) -> Calibration:
    """Residual statistics from `fitted` views, factors, limits and threshold from `held_out` ones (all with poses).

    model: with photographs, but not yet calibrated. comparison: instead of the one that the model's method names.
    """
    method = method_from_dict(model.settings, f"settings of {model.name}")
    comparison = comparison or create_comparison(method.scoring, model.networks, device)
    with only_our_threads():
        state = comparison.fit(
            _fitted_samples(model, fitted, method.scoring.photographs, device, seed),
            model.renderer(device=device),
        )
    coverage = covered_angle((*fitted, *held_out), model.gaussians)
    calibration = Calibration(
        state, np.zeros(0, np.float32), math.nan, false_reject_rate, math.nan, coverage, math.inf, math.inf, 1.0
    )
    queries = list(_localized(model, calibration, held_out, device))
    losses = [query.localization.loss for query in queries if math.isfinite(query.localization.loss)]
    calibration = replace(calibration, max_loss=LOSS_ALLOWANCE * max(losses, default=math.inf))
    queries = list(_localized(model, calibration, held_out, device))  # now as queries are, with the limit of good views
    outline = Renderer(model.gaussians, model.background, device=device).coarse(max(method.refinement.levels))
    limits = ConditionLimits.of([measure_conditions(q.sample.query, q.sample.rendering, outline) for q in queries])
    calibration = replace(calibration, conditions=limits)
    if len(queries) < len(held_out):
        say(f"calibration: {len(queries)} of {len(held_out)} held-out views were localized and count")
    calibration, scores = _adapted(calibration, comparison, [query.sample for query in queries], seed)
    if not len(scores):  # no held-out view was found: there is no scale to judge others by
        return calibration.with_scores(scores, NO_SCORES, false_reject_rate)
    more = []
    sample = {view.name: i for i, view in enumerate(_gathered_from(fitted))}
    for found in _localized(model, calibration, fitted[:: -(-len(fitted) // MAX_SCORED_VIEWS) or 1], device, sample):
        with only_our_threads():
            evidence = comparison.evidence(found.sample.query, found.sample.rendering, calibration.state)
        more.append(evidence.values.max() / calibration.scale)
    scores = np.concatenate([scores, np.array(more, np.float32)])
    return calibration.with_scores(scores, NO_SCORES, false_reject_rate)


def carried_over(
    calibration: Calibration,
    model: ReferenceModel,
    views: Sequence[View],
    device: str = "cpu",
    seed: int = 0,
    comparison: Comparison | None = None,
) -> Calibration:
    """The calibration of a model, for one whose Gaussians were then fitted to all of its views.

    What is normal at each point, and how many views saw it, is gathered anew. By how much more unseen views differ, and
    the threshold, cannot be, as no view is unseen now: they stay, from fewer views than the model has.
    """
    method = method_from_dict(model.settings, f"settings of {model.name}")
    comparison = comparison or create_comparison(method.scoring, model.networks, device)
    with only_our_threads():
        found = comparison.fit(
            _fitted_samples(model, views, method.scoring.photographs, device, seed),
            Renderer(model.gaussians, model.background, device=device),
        )
    before = calibration.state
    state = replace(found, knots=before.knots, factors=before.factors, max_evidence=before.max_evidence)
    return replace(calibration, state=state)


@dataclass(frozen=True, eq=False)
class _Localized:
    """A reference view that was found where it was taken."""

    localization: Localization
    sample: Sample


def _localized(
    model: ReferenceModel,
    calibration: Calibration,
    views: Sequence[View],
    device: str,
    samples: Mapping[str, int] | None = None,
) -> Iterator[_Localized]:
    """The views that are localized as queries, each against the model without its own photograph, and without the
    glints that it showed as one of the `samples` (by name) that the comparison was fitted to."""
    for view in progress(views, "reference views as queries", len(views)):
        assert view.pose is not None
        own = None if samples is None else samples.get(view.name)
        without = replace(calibration, state=calibration.state.without_glints_of(own))
        inspector = Inspector(replace(model.without_view(view.name), calibration=without), device)
        query = inspector.prepare(view.image, view.camera)
        localization = inspector.localize(query)
        if localization.pose is None or rotation_angle(localization.pose, view.pose) > math.radians(WRONG_POSE_DEG):
            continue
        rendering = inspector.render(query, localization)
        yield _Localized(localization, Sample(query.of_size(rendering.camera), rendering))


def _adapted(
    calibration: Calibration, comparison: Comparison, samples: Sequence[Sample], seed: int
) -> tuple[Calibration, NDArray[np.float32]]:
    """(with factors and scale, scores of the samples): each held-out view is scored by factors that others gave."""
    state = calibration.state
    states: list[ComparisonState] = []
    for fold in range(min(CROSS_FIT, len(samples))):
        states.append(comparison.adapt(state, [s for i, s in enumerate(samples) if i % CROSS_FIT != fold], seed))
    peaks = np.zeros(len(samples), np.float32)
    expected = np.zeros(len(samples))
    with only_our_threads():
        for i, sample in enumerate(progress(samples, "scoring held-out views", len(samples))):
            evidence = comparison.evidence(sample.query, sample.rendering, states[i % CROSS_FIT])
            peaks[i], expected[i] = evidence.values.max(), evidence.expected
    scale = max(float(np.median(peaks)) if len(peaks) else 0.0, SMALLEST_SCALE)
    max_expected = EXPECTED_ALLOWANCE * float(expected.max(initial=0.0)) or math.inf
    adapted = replace(calibration, state=comparison.adapt(state, samples, seed), scale=scale, max_expected=max_expected)
    return adapted, (peaks / np.float32(scale)).astype(np.float32)


def _gathered_from(fitted: Sequence[View]) -> Sequence[View]:
    return fitted[:: max(1, len(fitted) // MAX_FITTED_VIEWS)]


def _fitted_samples(
    model: ReferenceModel, views: Sequence[View], photographs: int, device: str, seed: int
) -> Iterator[Sample]:
    """The views that the Gaussians were fitted to, rendered at slightly wrong poses without their own photograph."""
    rng = np.random.default_rng(seed)
    renderer = model.renderer(None, device, photographs)
    chosen = _gathered_from(views)
    for view in progress(chosen, "gathering residuals", len(chosen)):
        assert view.pose is not None
        pose = jittered(view.pose, JITTER_DEG, JITTER_TRANSLATION, rng)
        query = PreparedQuery(view.image, view.camera, model.background)
        yield Sample(query, renderer.render(view.camera, pose, without=view.name))


def jittered(pose: Pose, degrees: float, translation: float, rng: np.random.Generator) -> Pose:
    """The pose turned about the part by about `degrees` and shifted by a share of its distance."""
    distance = float(np.linalg.norm(pose.centre))
    turn = Pose.identity().retract(np.concatenate([rng.normal(size=3) * np.radians(degrees) / np.sqrt(3), np.zeros(3)]))
    shift = rng.normal(size=3) * translation * distance / np.sqrt(3)
    return Pose.from_rt(np.eye(3), shift) @ pose @ turn


def take_photographs(
    gaussians: Gaussians, views: Sequence[View], background: Background, device: str, in_scene: bool = False
) -> tuple[Photograph, ...]:
    """The part's window of each view (with pose), with the depth that the Gaussians give it there.

    in_scene: with more of what is around the part, for people to see; it has no depth, and no photograph shows the part
    where something stands in front of it.
    """
    renderer = Renderer(gaussians, background, device=device)
    taken = []
    for view in progress(views, "reference photographs", len(views)):
        assert view.pose is not None
        height, width = view.image.shape[:2]
        margin = round(SCENE_MARGIN * max(height, width)) if in_scene else PHOTOGRAPH_MARGIN
        box = None if view.mask is None else mask_box(view.mask, margin)
        x0, y0, x1, y1 = box or (0, 0, width, height)
        depth = renderer.render(view.camera, view.pose).depth[y0:y1, x0:x1]
        if in_scene and view.mask is not None:
            depth = depth * cv2.dilate(view.mask[y0:y1, x0:x1].astype(np.uint8), np.ones((5, 5), np.uint8))
        camera = view.camera.cropped(x0, y0, x1 - x0, y1 - y0)
        taken.append(
            Photograph(view.name, view.image[y0:y1, x0:x1].copy(), depth.astype(np.float16), camera, view.pose)
        )
    return tuple(taken)


def covered_angle(views: Sequence[View], gaussians: Gaussians) -> float:
    """How far (rad, seen from the part) a query may be from the nearest reference view.

    Reference views lie this far from each other at most, and half as much again is allowed: the model
    was fitted to, and checked on, views with such gaps between them.
    """
    centre = gaussians.centre
    centres = np.array([view.pose.centre for view in views if view.pose is not None])
    cosines = np.array([largest_cosine(np.delete(centres, i, axis=0), c, centre) for i, c in enumerate(centres)])
    return float(min(1.5 * np.arccos(cosines.clip(-1, 1)).max(), np.pi))
