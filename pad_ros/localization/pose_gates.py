"""What a pose from matches must meet before anybody trusts it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Array, Pose
from .pnp import PoseEstimate
from .sfm_map import SfmMap

MIN_INLIER_SHARE = 0.5  # of the guided matches; right poses had 0.7 and more
MAX_RESIDUAL = 1.8  # root mean square, window px
MAX_ROTATION_DEVIATION = 1.0  # degrees
MAX_SHIFT_DEVIATION = 0.02  # share of the distance


@dataclass(frozen=True, eq=False)
class PoseGates:
    """low, high [3]: of the landmarks, but for the outermost hundredth; min_inliers: matches that must agree.

    from_outside: no camera can be between the landmarks.
    """

    low: Array
    high: Array
    min_inliers: int
    from_outside: bool

    @staticmethod
    def of(sfm_map: SfmMap, min_inliers: int, part_alone: bool) -> PoseGates:
        """part_alone: the landmarks are those of the part, not of a scene that cameras may be inside of."""
        low, high = np.percentile(sfm_map.points, [1, 99], axis=0)
        gates = PoseGates(low, high, min_inliers, False)
        centres = np.array([pose.centre for pose in sfm_map.poses])
        return PoseGates(low, high, min_inliers, part_alone and not np.any(gates._inside(centres)))

    def weakness(self, found: PoseEstimate, matches: int, scale: float) -> str | None:
        """Why a pose is not to be trusted, None if it is. scale: window px per image px."""
        inliers = int(found.inliers.sum())
        if inliers < self.min_inliers:
            return f"only {inliers} of {matches} matches support the pose, {self.min_inliers} are needed"
        if inliers < MIN_INLIER_SHARE * matches:
            return f"only {inliers} of {matches} matches support the pose, a share of {MIN_INLIER_SHARE} is needed"
        if found.residual_px > MAX_RESIDUAL / scale:
            return f"the pose leaves {found.residual_px:.2f} px of error, {MAX_RESIDUAL / scale:.2f} are allowed"
        uncertain = self.uncertain(found.pose, found.covariance)
        if uncertain:
            return f"the matches leave the pose uncertain by {uncertain}"
        if self.from_outside and self._inside(found.pose.centre[None])[0]:
            return "the pose puts the camera inside the part"
        return None

    def uncertain(self, pose: Pose, covariance: Array) -> str | None:
        """By how much a pose is more uncertain than may be, None if it is not."""
        rotation = float(np.degrees(np.sqrt(np.trace(covariance[:3, :3]))))
        distance = float(np.linalg.norm(pose.centre - 0.5 * (self.low + self.high)))
        shift = float(np.sqrt(np.trace(covariance[3:, 3:]))) / max(distance, 1e-12)
        if rotation <= MAX_ROTATION_DEVIATION and shift <= MAX_SHIFT_DEVIATION:
            return None
        return f"{rotation:.1f} deg and {100 * shift:.1f} % of the distance"

    def _inside(self, centres: Array) -> NDArray[np.bool_]:
        return np.asarray(np.all((centres > self.low) & (centres < self.high), axis=1))
