"""From evidence to a verdict: PASS or REJECT by the calibrated threshold, HOLD where there is no trustworthy answer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..comparison.protocol import Evidence
from ..imaging.geometry import Camera, distort_map
from ..imaging.rect import Rect
from ..localization.result import Localization
from ..photometry.prepared_query import PreparedQuery
from ..rendering.result import ReferenceRendering
from ..verdicts import Reason, Verdict
from .calibration import Calibration
from .conditions import Conditions
from .inspection import AnomalyMap, DefectRegion, Inspection
from .regions import find_defects
from .threshold import p_value


def unjudgeable(calibration: Calibration | None, rendering: ReferenceRendering) -> tuple[Reason, str] | None:
    """Why no comparison is worth making, None where it is."""
    if calibration is None or not math.isfinite(calibration.threshold):
        return Reason.UNCALIBRATED, "the model has no threshold: train it with more views"
    if not _finite(rendering):
        return Reason.INTERNAL_ERROR, "the reference rendering has values that are not finite"
    return None


def anomaly_map(evidence: Evidence, query: PreparedQuery, calibration: Calibration) -> AnomalyMap:
    """The evidence in units of the calibration's scale, at the query's own (distorted) pixels."""
    values = distort_map(evidence.values / np.float32(calibration.scale), query.camera)
    whole = (query.whole or query).camera
    return AnomalyMap(values, evidence.expected, (whole.width, whole.height))


def judge(
    query: PreparedQuery,
    localization: Localization,
    rendering: ReferenceRendering,
    evidence: Evidence,
    conditions: Conditions,
    calibration: Calibration,
    min_view_share: float,
) -> Inspection:  # parameters: one result of each stage, and what they are judged by
    """The verdict by the threshold on the map's maximum.

    HOLD for a score that is not finite, and instead of PASS where the image was taken under other conditions than the
    reference views, the surroundings could not be judged, or the model knows this side of the part too badly.
    """
    found, image = anomaly_map(evidence, query, calibration), (query.whole or query).image
    score, threshold = float(found.compared.max()), calibration.threshold
    if not math.isfinite(score):
        text = "the comparison gave no finite score"
        return Inspection.hold(Reason.INTERNAL_ERROR, text, threshold, image, localization)
    verdict, reason = Verdict.PASS, Reason.NONE
    defects: tuple[DefectRegion, ...] = ()
    text = f"score {score:.2f} <= threshold {threshold:.2f}"
    if score > threshold:
        verdict, reason = Verdict.REJECT, Reason.ANOMALY
        ground = None
        if evidence.ground is not None:
            ground = distort_map(evidence.ground.astype(np.float32), query.camera) > 0.5
        defects = find_defects(found.compared, threshold, ground, _on_query_pixels(rendering, query.camera))
        defects = tuple(_enlarged(defect, query, image.shape) for defect in defects)
        kinds = ", ".join(f"{d.kind.name} {d.area} px" for d in defects[:3])
        text = f"score {score:.2f} > threshold {threshold:.2f}: {kinds}"
    elif problem := (
        calibration.conditions.problem(conditions, min_view_share)
        or _why_no_pass(evidence, calibration)
        or _why_not_sure(score, evidence, conditions, calibration)
    ):
        verdict, (reason, text) = Verdict.HOLD, problem
    return Inspection(
        verdict, reason, text, score, threshold, defects, localization, rendering, found, image,
        p_value=p_value(score, calibration.scores), conditions=conditions,
    )  # fmt: skip


def _why_no_pass(evidence: Evidence, calibration: Calibration) -> tuple[Reason, str] | None:
    if not evidence.surroundings_judged:
        return Reason.POOR_RENDERING, (
            "too little of the ground is in view to judge what is added around the part: show more of it, or give "
            "images of the empty cell"
        )
    if evidence.expected > calibration.max_expected:
        return Reason.POOR_RENDERING, (
            f"the model knows this side of the part too badly to pass it: good views may differ by "
            f"{evidence.expected:.3f} here, {calibration.max_expected:.3f} is allowed; add reference views"
        )
    return None


def _why_not_sure(
    score: float, evidence: Evidence, conditions: Conditions, calibration: Calibration
) -> tuple[Reason, str] | None:
    """Noise, blur and compression lower the scores of faint defects: the image passes clearly below the threshold."""
    if score <= calibration.surely_below or not (doubt := calibration.conditions.doubt(conditions, evidence.forgiven)):
        return None
    reason, text = doubt
    return reason, (
        f"score {score:.2f} is too near the threshold {calibration.threshold:.2f}, it may be a faint defect above "
        f"{calibration.surely_below:.2f}: the image {text}"
    )


def _enlarged(defect: DefectRegion, query: PreparedQuery, shape: tuple[int, ...]) -> DefectRegion:
    """A region found in a shrunk query, in pixels of the whole one [H, W, ...]."""
    if query.whole is None:
        return defect
    across, down = shape[1] / query.camera.width, shape[0] / query.camera.height
    x, y, w, h = defect.box
    box = Rect(int(x * across), int(y * down), math.ceil((x + w) * across), math.ceil((y + h) * down)).clipped(shape)
    return replace(defect, box=box.xywh, area=round(defect.area * across * down))


def _on_query_pixels(rendering: ReferenceRendering, camera: Camera) -> ReferenceRendering:
    """Alpha and depth of an undistorted rendering where the query's own camera has its pixels."""
    if not camera.distorted:
        return rendering
    alpha = distort_map(rendering.alpha, camera)
    depth = distort_map(rendering.depth * rendering.alpha, camera) / np.maximum(alpha, 1e-6)
    return replace(rendering, alpha=alpha, depth=depth.astype(np.float32), camera=camera)


def _finite(rendering: ReferenceRendering) -> bool:
    """What is not finite would be left out of the comparison here and there, and so pass."""
    inside = rendering.inside
    pictures = rendering.rgb[inside], rendering.alpha[inside], rendering.depth[inside], rendering.features[inside]
    return all(math.isfinite(float(picture.sum())) for picture in pictures)
