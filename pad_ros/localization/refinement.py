"""Photometric refinement of a pose: Gauss-Newton on the difference between query and rendering.

The rendering at the current pose gives colours and depth; moving the camera by a small twist moves
each rendered pixel over the query (forward warp through the depth), so the Jacobian comes from
image gradients alone and no pass back through the rasterizer is needed (inverse compositional;
Baker & Matthews 2004, section 3.2; depth as in direct visual odometry). A defect must not pull the
pose: residuals are weighted after Huber, with a scale from their median.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import Camera, Pose, rotation_angle
from ..images import Image
from ..kernels import kernel
from ..rendering.result import ReferenceRendering
from ..settings import bounded

RenderFunction = Callable[[Camera, Pose], ReferenceRendering]
Floats = NDArray[np.float32]

MIN_PIXELS = 200
MIN_SCALE = 0.01  # smallest robust standard deviation, colour in 0..1: sensor noise and quantisation
HUBER = 1.345  # 95 % efficiency for Gaussian residuals
SETTLED = 0.99  # of the loss before: less gain than this ends the refinement
LOSS_CAP = 0.15  # of one pixel, colour in 0..1: a defect counts no more than a badly rendered edge


@dataclass(frozen=True)
class RefinementSettings:
    """The first rendering serves all of `levels` (fractions of the resolution), each later one full resolution."""

    levels: tuple[float, ...] = bounded((0.125, 0.25, 0.5), 0.01, 1)
    renderings: int = bounded(6, 1, 100)  # at most, the one that judges the result included
    steps: int = bounded(10, 1, 1000)  # Gauss-Newton steps per linearisation
    max_rotation_deg: float = bounded(12.0, 0, 180)  # a correction beyond these is a divergence, not a refinement
    max_translation: float = 0.2  # share of the distance to the part


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
    query: Floats = image.astype(np.float32) / np.float32(255)
    rendering = render(camera, pose)
    loss_before = _loss(query, rendering)
    best = Refinement(pose, False, loss_before, loss_before, None)
    for i in range(1, settings.renderings):
        warp = np.eye(4)
        for level in (*settings.levels, 1.0) if i == 1 else (1.0,):
            problem = _Problem.of(query, rendering, level)
            if problem is None:
                return best
            warp = problem.solve(warp, settings.steps)
        candidate = Pose(warp @ rendering.pose.matrix)
        if not _plausible(pose, candidate, settings):
            break
        rendering = render(camera, candidate)
        loss = _loss(query, rendering)
        if loss >= best.loss:
            break
        settled = loss > SETTLED * best.loss
        problem = _Problem.of(query, rendering, 1.0)
        best = Refinement(candidate, True, loss_before, loss, problem.covariance() if problem else None)
        if settled:
            break
    return best


def _plausible(start: Pose, pose: Pose, settings: RefinementSettings) -> bool:
    shift = np.linalg.norm(start.centre - pose.centre) / max(float(np.linalg.norm(start.translation)), 1e-9)
    turn = np.degrees(rotation_angle(start, pose))
    return bool(turn <= settings.max_rotation_deg and shift <= settings.max_translation)


def _loss(query: Floats, rendering: ReferenceRendering) -> float:
    """Mean absolute difference, each pixel's capped, over the rendered part and a margin around it."""
    seen = cv2.dilate((rendering.alpha > 0.5).astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    if seen.sum() < MIN_PIXELS:
        return float("inf")
    difference = np.abs(query[seen] - rendering.rgb[seen]).mean(axis=1)
    return float(np.minimum(difference, LOSS_CAP).mean())


@dataclass(frozen=True, eq=False)
class _Problem:
    """One linearisation: rendered pixels with their 3D points, gradients, and the query at that scale."""

    query: Floats  # [H, W, 3]
    camera: Camera
    points: Floats  # [M, 3] in the camera frame of the linearisation
    colours: Floats  # [M, 3] rendered
    jacobian: Floats  # [M, 3, 6] of the rendered colours by the twist

    @staticmethod
    def of(query: Floats, rendering: ReferenceRendering, level: float) -> _Problem | None:
        """At a fraction of the rendering's resolution; None where too little of the part is in sight."""
        camera, rgb, alpha, depth = rendering.camera, rendering.rgb, rendering.alpha, rendering.depth
        if level != 1.0:
            size = (max(round(camera.width * level), 16), max(round(camera.height * level), 16))
            camera = camera.resized(*size)
            query, rgb, weighted = _shrunk(query, size), _shrunk(rgb, size), _shrunk(depth * alpha, size)
            alpha = _shrunk(alpha, size)
            depth = (weighted / np.maximum(alpha, np.float32(1e-6))).astype(np.float32)
        usable = alpha > 0.5
        usable[[0, -1], :] = False
        usable[:, [0, -1]] = False
        rows, columns = np.nonzero(usable)
        if len(rows) < min(MIN_PIXELS, 0.002 * usable.size):
            return None
        gx = 0.5 * (rgb[rows, columns + 1] - rgb[rows, columns - 1])
        gy = 0.5 * (rgb[rows + 1, columns] - rgb[rows - 1, columns])
        z = depth[rows, columns]
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
        return _Problem(query, camera, points, rgb[rows, columns], jacobian)

    def residuals(self, twist_matrix: NDArray[np.float64]) -> Floats:  # [M, 3], NaN outside the query
        c = self.camera
        moved = self.points @ twist_matrix[:3, :3].T.astype(np.float32) + twist_matrix[:3, 3].astype(np.float32)
        u = c.fx * moved[:, 0] / moved[:, 2] + c.cx - 0.5
        v = c.fy * moved[:, 1] / moved[:, 2] + c.cy - 0.5
        return _sample(self.query, u.astype(np.float32), v.astype(np.float32)) - self.colours

    def solve(self, warp: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """The warp [4, 4] of the rendered points that fits the query best, from `warp` on.

        Inverse compositional Gauss-Newton: the Jacobian stays, the warp takes the inverse of each step.
        """
        for _ in range(steps):
            residuals = self.residuals(warp)
            hessian, gradient = _normal_equations(self.jacobian, residuals, np.float32(HUBER * _scale(residuals)))
            hessian[np.diag_indices(6)] *= 1 + 1e-4
            try:
                step = np.linalg.solve(hessian, gradient)
            except np.linalg.LinAlgError:
                break
            warp = warp @ Pose.identity().retract(step).inverse().matrix
            if self._motion(step) < 1e-3:
                break
        return warp

    def _motion(self, step: NDArray[np.float64]) -> float:
        """How many pixels a small twist moves the points, on average."""
        moved = np.cross(step[:3], self.points) + step[3:]
        flow = (moved[:, :2] - self.points[:, :2] * (moved[:, 2:] / self.points[:, 2:])) / self.points[:, 2:]
        return float(np.abs(flow).mean() * self.camera.fx)

    def covariance(self) -> NDArray[np.float64] | None:
        """Inverse of the normal equations at zero, for neighbouring pixels whose errors are correlated."""
        residuals = self.residuals(np.eye(4))
        scale = _scale(residuals)
        hessian, _ = _normal_equations(self.jacobian, residuals, np.float32(HUBER * scale))
        correlated = 3 * 9  # three channels, and a patch of about 3x3 pixels, err together
        try:
            return np.asarray(np.linalg.inv(hessian) * scale**2 * correlated)
        except np.linalg.LinAlgError:
            return None


def _shrunk(values: Floats, size: tuple[int, int]) -> Floats:
    out: Floats = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    return out


def _scale(residuals: Floats) -> float:
    """Robust standard deviation; the median over all pixels is that of flat areas, edges have more."""
    known = np.abs(residuals[np.isfinite(residuals)])
    return max(1.4826 * float(np.median(known)), MIN_SCALE) if len(known) else MIN_SCALE


@kernel
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


@kernel
def _normal_equations(
    jacobian: Floats, residuals: Floats, cutoff: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Huber-weighted J^T W J [6, 6] and J^T W r [6]."""
    hessian = np.zeros((6, 6))
    gradient = np.zeros(6)
    for i in range(residuals.shape[0]):
        for c in range(3):
            r = residuals[i, c]
            if np.isnan(r):
                continue
            weight = min(1.0, cutoff / max(abs(r), 1e-12))
            for a in range(6):
                wj = weight * jacobian[i, c, a]
                gradient[a] += wj * r
                for b in range(a, 6):
                    hessian[a, b] += wj * jacobian[i, c, b]
    for a in range(6):
        for b in range(a):
            hessian[a, b] = hessian[b, a]
    return hessian, gradient
