"""What the localizer hands on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Pose
from ..rendering.result import ReferenceRendering
from ..verdicts import Reason


@dataclass(frozen=True, eq=False)
class Localization:
    """The camera's pose for one query, or the reason why there is none.

    covariance: [6, 6] of the left twist (rotation vector [rad], translation [part units]) in the
    camera frame, as `Pose.retract` takes it. residual_px: root mean square of the inliers'
    reprojection error in query pixels. rendering: the part at the pose, without photographs, where
    refining it has left one.
    """

    pose: Pose | None
    reason: Reason
    reason_text: str
    inliers: int = 0
    matches: int = 0
    residual_px: float = float("nan")
    covariance: NDArray[np.float64] | None = None  # [6, 6]
    rendering: ReferenceRendering | None = None

    @property
    def localized(self) -> bool:
        return self.pose is not None

    @property
    def inlier_share(self) -> float:
        return self.inliers / self.matches if self.matches else 0.0
