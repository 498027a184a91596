"""Scorer: query and reference rendering in, anomaly map and verdict out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..comparison.calibration import Calibration
from ..comparison.colour import residuals
from ..comparison.deep import cues
from ..comparison.expectation import on_part, points_and_covariates
from ..comparison.surroundings import Strangeness, beside_empty, strangeness
from ..compute.threads import for_each, in_bands
from ..errors import InputError
from ..imaging.background import Background, ground_mask, mask_box
from ..imaging.geometry import Camera, distort_map, undistort_image
from ..imaging.images import Image
from ..localization.result import Localization
from ..networks.backbones import Backbone
from ..networks.segmenters import Segmenter
from ..photometry.ground import TRACE, around, filled, is_plain_ground, nearest_empty, on_ground
from ..photometry.light import fit_light
from ..photometry.shading import shaded
from ..rendering.result import ReferenceRendering
from ..settings import bounded
from ..verdicts import Reason, Verdict
from .inspection import AnomalyMap, DefectRegion, Inspection
from .regions import find_defects, p_value

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


SEGMENTED = 0.5  # of the part must a segmenter find, or what it does not find says nothing
HALO = 2  # px around a pixel that what is expected there depends on
REACH = 5  # standard deviations that a Gaussian window is smaller than
FAR_STEP = 3  # of the pixels without a part, which are many, every so many, along both axes
FAR_QUANTILE = 0.95
FAR_MOST = 0.05  # L*a*b* / 100: no more is forgiven beside the part


@dataclass(frozen=True)
class ScoringSettings:
    """How query and rendering are compared.

    comparison: "calibrated" by what is normal at each point of the surface, "uniform" by what is normal on the part
    as a whole (for ablations), or "recipe", as SplatPose+ does: squared differences of colours and of the backbone's
    features (see `deep`).
    """

    comparison: Literal["calibrated", "uniform", "recipe"] = "calibrated"
    backbone: Literal["none", "mobilenet_v2", "efficientnet_b4"] = "none"  # whose features are compared as well
    segmenter: Literal["none", "u2net", "birefnet", "birefnet_lite"] = "none"  # looks for what is beside the part
    backbone_weight: float = bounded(0.25, 0, 100)  # of the features' evidence beside that of the colours
    photographs: int = bounded(4, 0, 64)  # nearest reference photographs that are compared beside the rendering
    shift: int = bounded(1, 0, 8)  # px of misalignment that are forgiven
    scales: tuple[float, ...] = bounded((1.0, 3.0), 0.1, 100)  # px, Gaussian windows that evidence is pooled over
    min_area: int = 4  # px, of a reported defect region

    def __post_init__(self) -> None:
        if self.comparison == "recipe" and self.backbone == "none":
            raise InputError("scoring.comparison=recipe compares features: scoring.backbone must name a network")

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks needed, under their names in `pad_ros.weights`."""
        return tuple(name.replace("_", "-") for name in (self.backbone, self.segmenter) if name != "none")


def evidence(
    residual: Floats,
    rendering: ReferenceRendering,
    calibration: Calibration,
    settings: ScoringSettings,
    ground: float = 0.0,
) -> tuple[Floats, float]:
    """Residuals beyond what good views show there, in units of that, pooled over all scales [H, W].

    Also the mean residual (colour) that is expected on the part: how badly the reference is known from here. Beside
    the part, what the background of good views shows (folds of a cloth, noise) is expected, and at least `ground`, what
    the query's own does. A calibration of no cue takes the residual as it is.
    """
    if not calibration.floors:
        return residual[..., 0], 0.0
    total = np.empty(residual.shape[:2], np.float32)
    weights = np.array([1.0, *[settings.backbone_weight] * (residual.shape[2] - 1)], np.float32)
    floors, strongest = np.array(calibration.floors, np.float32), np.float32(calibration.strongest)
    beside = np.maximum(np.array(calibration.beside, np.float32), np.float32(ground))
    inside = rendering.inside
    shown, within = rendering.cropped(inside), total[inside]
    farthest = float(shown.depth.max())
    means: dict[int, Floats] = {}

    def exceeding(measured: Floats, mean: Floats, deviation: Floats, c: int) -> Floats:
        out = measured - mean
        out /= deviation
        np.clip(out, 0, strongest, out=out)
        return out if weights[c] == 1 else weights[c] * out

    def as_ground(first: int, last: int) -> None:
        rows, cues = residual[first:last], range(len(floors))
        total[first:last] = sum(exceeding(rows[..., c], beside[c], beside[c] + floors[c], c) for c in cues)

    def as_part(first: int, last: int) -> None:
        band = slice(max(first - HALO, 0), last + HALO)
        seen = shown.cropped((band, slice(None)))
        part = on_part(seen)
        part[: first - band.start] = part[last - band.start :] = False
        pixels = np.flatnonzero(part)
        gathered = np.zeros(len(pixels), np.float32)
        for c, (point, covariates) in enumerate(points_and_covariates(seen, len(floors), pixels, farthest)):
            mean = calibration.expectation.predict(c, point, covariates)
            measured = residual[inside][band][..., c].take(pixels)
            gathered += exceeding(measured, mean, mean + np.float32(0.5) * floors[c], c)
            if c == 0:
                means[first] = mean
        within[band][part] = gathered

    in_bands(as_ground, len(total))
    in_bands(as_part, len(within))
    expected = np.concatenate([means[first] for first in sorted(means)])
    return pooled(total, settings.scales), float(expected.mean()) if len(expected) else 0.0


def pooled(values: Floats, scales: Sequence[float]) -> Floats:
    """The geometric mean [H, W] of what Gaussian windows of all scales gather of `values`, which are not negative.

    A defect stands out in the small window and in the large one. Noise of single pixels does so in the small one
    alone, a defect's surroundings in the large one alone: the mean's logarithm leaves neither high.
    """
    out = np.zeros_like(values)
    box = mask_box(values != 0, margin=math.ceil(REACH * max(scales)))  # beyond it is nothing to gather
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


def _on_query_pixels(rendering: ReferenceRendering, camera: Camera) -> ReferenceRendering:
    """Alpha and depth of an undistorted rendering where the query's own camera has its pixels."""
    if not camera.distorted:
        return rendering
    alpha = distort_map(rendering.alpha, camera)
    depth = distort_map(rendering.depth * rendering.alpha, camera) / np.maximum(alpha, 1e-6)
    return replace(rendering, alpha=alpha, depth=depth.astype(np.float32), camera=camera)


def _far_residual(colour: Floats, rendering: ReferenceRendering) -> float:
    """What the query's ground differs by where no part is near: other light on it, or a channel that it saturates."""
    far = np.ones(colour.shape, bool)
    far[rendering.inside] = False
    sample = colour[::FAR_STEP, ::FAR_STEP][far[::FAR_STEP, ::FAR_STEP]]
    return min(float(np.quantile(sample, FAR_QUANTILE)), FAR_MOST) if len(sample) else 0.0


def _finite(rendering: ReferenceRendering) -> bool:
    """What is not finite would be left out of the comparison here and there, and so pass."""
    inside = rendering.inside
    pictures = rendering.rgb[inside], rendering.alpha[inside], rendering.depth[inside], rendering.features[inside]
    return all(math.isfinite(float(picture.sum())) for picture in pictures)


class Scorer:
    """Judges queries by one reference model's calibration; without one every verdict is HOLD."""

    def __init__(
        self,
        calibration: Calibration | None,
        background: Background,
        settings: ScoringSettings,
        backbone: Backbone | None = None,
        segmenter: Segmenter | None = None,
        empty: Sequence[Image] = (),
    ) -> None:
        """backbone, segmenter: those that the settings name. empty: what the camera sees without a part, [H, W, 3]
        each."""
        self.calibration = calibration
        self.background = background
        self.settings = settings
        self.backbone = backbone
        self.segmenter = segmenter
        self.empty = tuple(empty)

    def anomaly_map(self, image: Image, camera: Camera, rendering: ReferenceRendering) -> AnomalyMap:
        """The anomaly map at the query's (distorted) pixels; ValueError for an uncalibrated model."""
        return self._compare(image, camera, rendering)[0]

    def _compare(
        self, image: Image, camera: Camera, rendering: ReferenceRendering
    ) -> tuple[AnomalyMap, Mask | None, bool]:
        """The anomaly map; where the query shows ground, or what looks like it (None: no telling); and whether what
        lies beside the part could be judged."""
        if self.calibration is None:
            raise ValueError("an uncalibrated model has no anomaly scale")
        image = undistort_image(image, camera)
        empty_cell = [undistort_image(view, camera) for view in self.empty]
        image = fit_light(image, rendering).undo(image)
        ground, told = 0.0, True
        empty = ground_mask(image, self.background)
        if is_plain_ground(empty, rendering):
            residual = cues(image, rendering, self.settings, self.backbone)
            ground = _far_residual(residual[..., 0], rendering)
        else:
            query = image.astype(np.float32) / np.float32(255)
            rendering = shaded(query, rendering, self.background)
            near = around(rendering)
            behind = nearest_empty(query, near, empty_cell) if empty_cell else filled(query, near)
            other = on_ground(rendering, behind, self.background)
            rendering = on_ground(rendering, query, self.background)
            residual = cues(image, rendering, self.settings, self.backbone)
            if self.settings.comparison != "recipe":
                colour = residuals(image, other, self.settings.shift)[..., 0]
                np.minimum(residual[..., 0], colour, out=residual[..., 0])
            ground, empty = self._beside(residual, query, rendering, empty_cell)
            told = empty is not None
        gathered, expected = evidence(residual, rendering, self.calibration, self.settings, ground)
        values = gathered / np.float32(self.calibration.level)
        if empty is not None:
            empty = distort_map(empty.astype(np.float32), camera) > 0.5
        return AnomalyMap(distort_map(values, camera), expected), empty, told

    def _beside(
        self, residual: Floats, query: Floats, rendering: ReferenceRendering, empty_cell: Sequence[Image]
    ) -> tuple[float, Mask | None]:
        """Put into `residual` what is strange beside the part; (what is normal there, where the ground is seen)."""
        part = on_part(rendering)
        residual[~part] = 0
        if empty_cell:
            strange: Strangeness | None = beside_empty(query, rendering, empty_cell, self.settings.shift)
        else:
            strange = strangeness(query, rendering)
        if strange is None:
            return 0.0, None
        ground = strange.distance <= strange.ground
        if self.segmenter is not None:
            box = mask_box(part)
            seen = self.segmenter.part((255 * query + 0.5).astype(np.uint8), box) if box is not None else part
            solid = rendering.alpha > 0.5
            if solid.any() and seen[solid].mean() >= SEGMENTED:
                strange, ground = replace(strange, judged=strange.judged & seen), ~seen
        beside = strange.judged & ~(cv2.dilate(rendering.alpha, np.ones((3, 3), np.uint8)) > TRACE)
        residual[beside, 0] = strange.distance[beside]
        return strange.ground, ground

    def score(
        self, image: Image, camera: Camera, localization: Localization, rendering: ReferenceRendering
    ) -> Inspection:
        """PASS or REJECT by the calibrated threshold on the map's maximum.

        HOLD where there is no threshold, and instead of PASS where the model knows this side of the part too badly.
        """
        calibration = self.calibration
        if calibration is None or not math.isfinite(calibration.threshold):
            return Inspection(
                Verdict.HOLD, Reason.UNCALIBRATED, "the model has no threshold: train it with more views",
                math.nan, math.nan, (), localization, rendering, None, image,
            )  # fmt: skip
        threshold = calibration.threshold
        if not _finite(rendering):
            return Inspection(
                Verdict.HOLD, Reason.INTERNAL_ERROR, "the reference rendering has values that are not finite",
                math.nan, threshold, (), localization, rendering, None, image,
            )  # fmt: skip
        anomaly_map, empty, told = self._compare(image, camera, rendering)
        score = float(anomaly_map.values.max())
        if not math.isfinite(score):
            return Inspection(
                Verdict.HOLD, Reason.INTERNAL_ERROR, "the comparison gave no finite score",
                math.nan, threshold, (), localization, rendering, None, image,
            )  # fmt: skip
        verdict, reason = Verdict.PASS, Reason.NONE
        defects: tuple[DefectRegion, ...] = ()
        text = f"score {score:.2f} <= threshold {threshold:.2f}"
        if score > threshold:
            verdict, reason = Verdict.REJECT, Reason.ANOMALY
            defects = find_defects(
                anomaly_map.values, threshold, empty, _on_query_pixels(rendering, camera),
                self.settings.min_area,
            )  # fmt: skip
            kinds = ", ".join(f"{d.kind.name} {d.area} px" for d in defects[:3])
            text = f"score {score:.2f} > threshold {threshold:.2f}: {kinds}"
        elif not told:
            verdict, reason = Verdict.HOLD, Reason.POOR_RENDERING
            text = (
                "too little of the ground is in view to tell what is added beside the part: show more of it, or give "
                "images of the empty cell"
            )
        elif anomaly_map.expected > calibration.max_expected:
            verdict, reason = Verdict.HOLD, Reason.POOR_RENDERING
            text = (
                f"the model knows this side of the part too badly to pass it: good views may differ by "
                f"{anomaly_map.expected:.3f} here, {calibration.max_expected:.3f} is allowed; add reference views"
            )
        return Inspection(
            verdict, reason, text, score, threshold, defects, localization, rendering, anomaly_map, image,
            p_value=p_value(score, calibration.scores),
        )  # fmt: skip
