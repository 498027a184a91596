"""Photometric refinement of a pose: Gauss-Newton on the difference between query and rendering.

The rendering at the current pose gives colours and depth; moving the camera by a small twist moves
each rendered pixel over the query (forward warp through the depth), so the Jacobian comes from
image gradients alone and no pass back through the rasterizer is needed (inverse compositional;
Baker & Matthews 2004, section 3.2; depth as in direct visual odometry). A defect must not pull the
pose: residuals are weighted by Tukey's biweight with a scale from their median.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from ..geometry import Camera, Pose
from ..images import Image
from ..rendering.result import ReferenceRendering

RenderFunction = Callable[[Camera, Pose], ReferenceRendering]
Floats = NDArray[np.float32]

MIN_PIXELS = 200
MIN_SCALE = 0.01  # smallest robust standard deviation, colour in 0..1: sensor noise and quantisation
TUKEY = 4.685  # 95 % efficiency for Gaussian residuals


@dataclass(frozen=True)
class RefinementSettings:
    """Levels are fractions of the query's resolution, coarse to fine, one rendering each."""

    levels: tuple[float, ...] = (0.25, 0.5, 1.0, 1.0)
    steps: int = 10  # inner Gauss-Newton steps per level
    max_rotation_deg: float = 3.0  # a correction beyond these is a divergence, not a refinement
    max_translation: float = 0.05  # share of the distance to the part


@dataclass(frozen=True, eq=False)
class Refinement:
    """The refined pose, or the given one where refining did not lower the loss.

    loss: robust mean residual after (colour, 0..1); covariance: [6, 6] as in `Localization`.
    """

    pose: Pose
    accepted: bool
    loss_before: float
    loss: float
    covariance: NDArray[np.float64] | None


def refine_pose(
    image: Image,
    camera: Camera,
    pose: Pose,
    render: RenderFunction,
    settings: RefinementSettings | None = None,
) -> Refinement:
    """Refine `pose` of a query [H, W, 3] taken with the pinhole `camera`; `render` gives the part at a pose."""
    settings = settings or RefinementSettings()
    query = image.astype(np.float32) / 255
    start = pose
    loss_before = float("nan")
    for level in settings.levels:
        scaled = camera.resized(max(int(camera.width * level), 16), max(int(camera.height * level), 16))
        rendering = render(scaled, pose)
        problem = _Problem.of(query, rendering, scaled)
        if problem is None:
            continue
        if level == 1.0 and np.isnan(loss_before):
            loss_before = _loss(query, render(camera, start), camera)
        pose = problem.solve(pose, settings.steps)
    final = render(camera, pose)
    loss = _loss(query, final, camera)
    if np.isnan(loss_before):
        loss_before = _loss(query, render(camera, start), camera)
    correction = start.matrix @ np.linalg.inv(pose.matrix)
    angle = np.degrees(np.linalg.norm(cv2.Rodrigues(correction[:3, :3])[0]))
    shift = np.linalg.norm(start.centre - pose.centre) / max(float(np.linalg.norm(start.translation)), 1e-9)
    accepted = bool(loss < loss_before and angle <= settings.max_rotation_deg and shift <= settings.max_translation)
    if not accepted:
        return Refinement(start, False, loss_before, loss_before, None)
    problem = _Problem.of(query, final, camera)
    return Refinement(pose, True, loss_before, loss, problem.covariance() if problem else None)


def _loss(query: Floats, rendering: ReferenceRendering, camera: Camera) -> float:
    """Mean absolute difference, each pixel capped, over the rendered part and a margin around it."""
    seen = cv2.dilate((rendering.alpha > 0.5).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    if seen.sum() < MIN_PIXELS:
        return float("inf")
    difference = np.abs(query[seen] - rendering.rgb[seen]).mean(axis=1)
    return float(np.minimum(difference, 0.15).mean())


@dataclass(frozen=True, eq=False)
class _Problem:
    """One linearisation: rendered pixels with their 3D points, gradients, and the query at that scale."""

    query: Floats  # [H, W, 3]
    camera: Camera
    points: Floats  # [M, 3] in the camera frame of the linearisation
    colours: Floats  # [M, 3] rendered
    jacobian: Floats  # [M, 3, 6] of the rendered colours by the twist

    @staticmethod
    def of(query: Floats, rendering: ReferenceRendering, camera: Camera) -> _Problem | None:
        if query.shape[:2] != (camera.height, camera.width):
            query = cv2.resize(query, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
        usable = rendering.alpha > 0.5
        usable[[0, -1], :] = False
        usable[:, [0, -1]] = False
        rows, columns = np.nonzero(usable)
        if len(rows) < min(MIN_PIXELS, 0.002 * usable.size):
            return None
        gx = 0.5 * (rendering.rgb[rows, columns + 1] - rendering.rgb[rows, columns - 1])
        gy = 0.5 * (rendering.rgb[rows + 1, columns] - rendering.rgb[rows - 1, columns])
        z = rendering.depth[rows, columns]
        x = (columns + 0.5 - camera.cx) / camera.fx
        y = (rows + 0.5 - camera.cy) / camera.fy
        by_u, by_v = gx * camera.fx, gy * camera.fy  # [M, 3] colour per unit of the normalised image plane
        jacobian = np.empty((len(rows), 3, 6), np.float32)
        jacobian[..., 0] = by_u * (-x * y)[:, None] - by_v * (1 + y * y)[:, None]
        jacobian[..., 1] = by_u * (1 + x * x)[:, None] + by_v * (x * y)[:, None]
        jacobian[..., 2] = -by_u * y[:, None] + by_v * x[:, None]
        jacobian[..., 3] = by_u / z[:, None]
        jacobian[..., 4] = by_v / z[:, None]
        jacobian[..., 5] = -(by_u * x[:, None] + by_v * y[:, None]) / z[:, None]
        points = np.stack([x * z, y * z, z], axis=1).astype(np.float32)
        return _Problem(query, camera, points, rendering.rgb[rows, columns], jacobian)

    def residuals(self, twist_matrix: NDArray[np.float64]) -> Floats:  # [M, 3], NaN outside the query
        c = self.camera
        moved = self.points @ twist_matrix[:3, :3].T.astype(np.float32) + twist_matrix[:3, 3].astype(np.float32)
        u = c.fx * moved[:, 0] / moved[:, 2] + c.cx - 0.5
        v = c.fy * moved[:, 1] / moved[:, 2] + c.cy - 0.5
        return _sample(self.query, u.astype(np.float32), v.astype(np.float32)) - self.colours

    def solve(self, pose: Pose, steps: int) -> Pose:
        """Inverse compositional Gauss-Newton: the Jacobian stays, the warp is composed with the inverse step."""
        warp = np.eye(4)
        for _ in range(steps):
            residuals = self.residuals(warp)
            scale = max(1.4826 * float(np.nanmedian(np.abs(residuals))), MIN_SCALE)
            hessian, gradient = _normal_equations(self.jacobian, residuals, np.float32(TUKEY * scale))
            hessian[np.diag_indices(6)] *= 1 + 1e-4
            try:
                step = np.linalg.solve(hessian, gradient)
            except np.linalg.LinAlgError:
                break
            warp = warp @ Pose.identity().retract(step).inverse().matrix
            pixels = abs(step[:3]).max() * self.camera.fx
            if pixels < 2e-3:
                break
        return Pose(warp @ pose.matrix)

    def covariance(self) -> NDArray[np.float64] | None:
        """Inverse of the normal equations at zero, for neighbouring pixels whose errors are correlated."""
        residuals = self.residuals(np.eye(4))
        scale = max(1.4826 * float(np.nanmedian(np.abs(residuals))), MIN_SCALE)
        hessian, _ = _normal_equations(self.jacobian, residuals, np.float32(TUKEY * scale))
        correlated = 3 * 9  # three channels, and a patch of about 3x3 pixels, err together
        try:
            return np.asarray(np.linalg.inv(hessian) * scale**2 * correlated)
        except np.linalg.LinAlgError:
            return None


@njit(cache=True, fastmath=False)
def _sample(image: Floats, u: Floats, v: Floats) -> Floats:
    """Bilinear samples [M, 3] of an image at pixel indices (u, v); NaN outside."""
    height, width, _ = image.shape
    out = np.full((u.shape[0], 3), np.nan, np.float32)
    for i in range(u.shape[0]):
        if not (0 <= u[i] < width - 1 and 0 <= v[i] < height - 1):
            continue
        x, y = int(u[i]), int(v[i])
        a, b = u[i] - x, v[i] - y
        for c in range(3):
            top = (1 - a) * image[y, x, c] + a * image[y, x + 1, c]
            bottom = (1 - a) * image[y + 1, x, c] + a * image[y + 1, x + 1, c]
            out[i, c] = (1 - b) * top + b * bottom
    return out


@njit(cache=True, fastmath=False)
def _normal_equations(
    jacobian: Floats, residuals: Floats, cutoff: np.float32
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tukey-weighted J^T W J [6, 6] and J^T W r [6]."""
    hessian = np.zeros((6, 6))
    gradient = np.zeros(6)
    for i in range(residuals.shape[0]):
        for c in range(3):
            r = residuals[i, c]
            if not abs(r) < cutoff:  # also skips NaN
                continue
            t = r / cutoff
            weight = (1 - t * t) ** 2
            for a in range(6):
                wj = weight * jacobian[i, c, a]
                gradient[a] += wj * r
                for b in range(a, 6):
                    hessian[a, b] += wj * jacobian[i, c, b]
    for a in range(6):
        for b in range(a):
            hessian[a, b] = hessian[b, a]
    return hessian, gradient
