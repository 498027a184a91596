"""What the localizer hands on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Pose
from ..rendering.result import ReferenceRendering
from ..verdicts import Reason


@dataclass(frozen=True)
class Attempt:
    """What one strategy of localization came to. loss: of the refined pose, NaN where there was none."""

    strategy: str
    outcome: str
    loss: float = float("nan")


@dataclass(frozen=True, eq=False)
class Localization:
    """The camera's pose for one query, or the reason why there is none.

    covariance: [6, 6] of the left twist (rotation vector [rad], translation [part units]) in the
    camera frame, as `Pose.retract` takes it. residual_px: root mean square of the inliers'
    reprojection error in query pixels. rendering: the part at the pose, without photographs, where refining it has
    left one; it was made at `rendered_from` and shifted by a fraction of a pixel to the pose, so that another process
    can make the same. attempts: what each strategy that was tried ended with, in order.
    """

    pose: Pose | None
    reason: Reason
    reason_text: str
    inliers: int = 0
    matches: int = 0
    residual_px: float = float("nan")
    covariance: NDArray[np.float64] | None = None  # [6, 6]
    rendering: ReferenceRendering | None = None
    rendered_from: Pose | None = None
    loss: float = float("nan")  # of the refined pose: robust mean residual (colour, 0..1)
    attempts: tuple[Attempt, ...] = ()

    @property
    def localized(self) -> bool:
        return self.pose is not None
