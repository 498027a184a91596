"""The camera's pose from matches between pixels and landmarks: PnP inside LO-RANSAC, then refinement (pycolmap)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from ..imaging.geometry import Array, Camera, Pose
from ..io.colmap_cameras import colmap_camera

MIN_PNP_MATCHES = 4
MIN_INLIER_RATIO = 0.05
CONFIDENCE = 0.999  # where many inliers are asked for; COLMAP makes three times as many trials as that takes
# Residuals below this say more about chance than about precision; px.
MIN_RESIDUAL_DEVIATION = 0.05


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """covariance: [6, 6] of the left twist in the camera frame, as in `Localization`."""

    pose: Pose
    inliers: NDArray[np.bool_]  # [M]
    residual_px: float  # root mean square over the inliers
    covariance: Array


def estimate_pose(
    pixels: Array, points: Array, camera: Camera, max_error: float, least: int = MIN_PNP_MATCHES
) -> PoseEstimate | None:
    """Pose of a pinhole camera from matches pixels [M, 2] <-> points [M, 3] with wrong ones among them.

    max_error: px up to which a match is an inlier. least: inliers without which the caller has no use for the pose; the
    more they are, the sooner a search among wrong matches ends. None where no pose was found. Always the same for the
    same input.
    """
    if len(pixels) < max(MIN_PNP_MATCHES, least):
        return None
    estimation = pycolmap.AbsolutePoseEstimationOptions()
    estimation.ransac.max_error = max_error
    estimation.ransac.random_seed = 0
    estimation.ransac.min_inlier_ratio = max(MIN_INLIER_RATIO, least / len(pixels))
    if least > MIN_PNP_MATCHES:
        estimation.ransac.confidence = CONFIDENCE
    refinement = pycolmap.AbsolutePoseRefinementOptions()
    refinement.loss_function_scale = 0.2 * max_error  # matches that are nearly wrong must not have leverage
    found = pycolmap.estimate_and_refine_absolute_pose(pixels, points, colmap_camera(camera), estimation, refinement)
    if found is None:
        return None
    matrix = np.eye(4)
    matrix[:3] = found["cam_from_world"].matrix()
    if not np.all(np.isfinite(matrix)):
        return None
    pose = Pose(matrix)
    # Counted anew: refinement moved the pose after RANSAC had drawn the line.
    error = np.linalg.norm(camera.project(pose.transform(points)) - pixels, axis=1)
    inliers = np.asarray(np.nan_to_num(error, nan=np.inf) <= max_error)
    if inliers.sum() < max(MIN_PNP_MATCHES, least):
        return None
    residual = float(np.sqrt(np.mean(error[inliers] ** 2)))
    return PoseEstimate(pose, inliers, residual, pose_covariance(pose, points[inliers], camera, residual))


def pose_covariance(pose: Pose, points: Array, camera: Camera, residual_px: float) -> Array:
    """Covariance [6, 6] of the left twist for `points` [N, 3] seen with `residual_px` rms error (both axes together).

    First-order: deviation^2 (J^T J)^-1 with the Jacobian J of the projections, Hartley and Zisserman, 5.2.2.
    """
    x, y, z = pose.transform(points).T
    zero = np.zeros_like(z)
    projection = np.stack([np.stack([camera.fx / z, zero, -camera.fx * x / z**2], axis=1),
                           np.stack([zero, camera.fy / z, -camera.fy * y / z**2], axis=1)], axis=1)  # fmt: skip
    # A twist (w, v) moves a point by w x X + v = -[X]x w + v.
    cross = np.stack([np.stack([zero, z, -y], axis=1), np.stack([-z, zero, x], axis=1),
                      np.stack([y, -x, zero], axis=1)], axis=1)  # fmt: skip
    jacobian = np.concatenate([projection @ cross, projection], axis=2).reshape(-1, 6)
    freedom = max(2 * len(points) - 6, 1)
    variance = max(residual_px**2 * len(points) / freedom, MIN_RESIDUAL_DEVIATION**2)
    return np.asarray(variance * np.linalg.pinv(jacobian.T @ jacobian, hermitian=True))
