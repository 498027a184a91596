"""Inspection: the answer for one query."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.images import Image
from ..localization.result import Localization
from ..rendering.result import ReferenceRendering
from ..verdicts import Reason, Verdict


class DefectKind(Enum):
    """ADDED: material where none should be. MISSING: the reverse. CHANGED: another look of the same surface."""

    ADDED = 0
    MISSING = 1
    CHANGED = 2


@dataclass(frozen=True, eq=False)
class AnomalyMap:
    """Anomaly score per pixel; absolute, comparable between images.

    compared: float32 [h, w], at the size that the query was compared at. expected: mean residual that good parts may
    show from this viewpoint, where the comparison knows it. size: width and height of the query; None: as `compared`.
    """

    compared: NDArray[np.float32]
    expected: float = 0.0
    size: tuple[int, int] | None = None

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """float32 [H, W] at query resolution; enlarged when first asked for."""
        if self.size is None or self.size == self.compared.shape[::-1]:
            return self.compared
        return np.asarray(cv2.resize(self.compared, self.size, interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True)
class DefectRegion:
    """One connected region of the anomaly map above the threshold.

    box: (x, y, width, height) in query pixels; area in pixels; centroid: its point on the part
    (part frame), None where the model has no depth there.
    """

    box: tuple[int, int, int, int]
    area: int
    peak_score: float
    centroid: tuple[float, float, float] | None
    kind: DefectKind


@dataclass(frozen=True)
class Conditions:
    """view_share: of the part's surface that should be in view, what was compared: in the frame and not clipped.

    clipped: share of the part in the frame that is over- or underexposed; light: mean change of the part's colours from
    the trained light, as a whole and by shading, of full scale; light_known: it could be undone; resolution: px per
    part unit at the part; sharpness: gradient at the part's edges relative to the rendering's, NaN for a part without
    edges; field_shift: px between the part in odd and in even rows; compression: detail that JPEG took, NaN for a part
    that is too small to tell.
    """

    view_share: float = math.nan
    clipped: float = math.nan
    light: float = math.nan
    light_known: bool = True
    resolution: float = math.nan
    sharpness: float = math.nan
    field_shift: float = math.nan
    compression: float = math.nan


UNKNOWN = Conditions()


@dataclass(frozen=True, eq=False)
class Inspection:
    """The answer for one query. `anomaly_map` and `rendering` are None when there was no pose.

    The rendering has the size that the query was compared at, which may be less than that of `image`.
    """

    verdict: Verdict
    reason: Reason
    reason_text: str
    score: float  # NaN without a rendering
    threshold: float  # NaN for an uncalibrated model
    defects: tuple[DefectRegion, ...]
    localization: Localization | None
    rendering: ReferenceRendering | None
    anomaly_map: AnomalyMap | None
    image: Image | None  # the query as judged
    timings_ms: dict[str, float] = field(default_factory=dict)  # localize, render, score, total
    p_value: float = float("nan")  # share of good views that score at least as high (conformal)
    conditions: Conditions = UNKNOWN  # that the image was taken under

    @staticmethod
    def hold(
        reason: Reason,
        text: str,
        threshold: float = math.nan,
        image: Image | None = None,
        localization: Localization | None = None,
        timings_ms: dict[str, float] | None = None,
    ) -> Inspection:
        """HOLD with its reason. One that belongs to PASS or REJECT can only be a mistake: INTERNAL_ERROR."""
        if reason in (Reason.NONE, Reason.ANOMALY):
            reason, text = Reason.INTERNAL_ERROR, text or "a stage gave neither pose nor reason"
        return Inspection(
            Verdict.HOLD, reason, text, math.nan, threshold, (), localization, None, None, image, timings_ms or {}
        )
