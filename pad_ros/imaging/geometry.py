"""Camera and Pose, and the only place where conventions are converted.

Camera frame: OpenCV / ROS optical (x right, y down, z forward). Poses are `camera_from_part` (world-to-camera).
Pixel centres lie at +0.5, as in COLMAP and gsplat: pixel (0, 0) covers [0, 1) x [0, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import CameraError, InputError

Array = NDArray[np.float64]

OPENGL_FROM_OPENCV: Array = np.diag([1.0, -1.0, -1.0, 1.0])
UNDISTORT_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-9)  # OpenCV's own 5 steps leave 0.2 px


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with optional distortion as OpenCV and ROS have it.

    width, height, fx, fy, cx, cy are in pixels; `distortion` is (k1, k2, p1, p2), with the third radial coefficient
    and the denominator's (k1, k2, p1, p2, k3, k4, k5, k6): plumb_bob and rational_polynomial in ROS.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        possible = (
            self.width >= 1 and self.height >= 1 and len(self.distortion) in (4, 8) and all(map(math.isfinite, values))
        )
        if not possible or min(self.fx, self.fy) <= 0:
            raise CameraError(f"impossible camera intrinsics: {self}")

    @staticmethod
    def from_fov(width: int, height: int, angle_x: float) -> Camera:
        """Square pixels, centred principal point; `angle_x` is the horizontal field of view in radians."""
        if not 0.0 < angle_x < np.pi:
            raise InputError(f"a field of view of {angle_x} rad is not between 0 and pi")
        focal = 0.5 * width / math.tan(0.5 * angle_x)
        return Camera(width, height, focal, focal, width / 2, height / 2)

    @property
    def K(self) -> Array:  # [3, 3]
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])

    @property
    def distorted(self) -> bool:
        return any(self.distortion)

    def pinhole(self) -> Camera:
        """The same camera without distortion: what `undistort_image` of an image corresponds to."""
        return replace(self, distortion=(0.0, 0.0, 0.0, 0.0))

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the same image scaled to `width` x `height` pixels."""
        sx, sy = width / self.width, height / self.height
        return replace(self, width=width, height=height, fx=self.fx * sx, fy=self.fy * sy,
                       cx=self.cx * sx, cy=self.cy * sy)  # fmt: skip

    def cropped(self, x0: int, y0: int, width: int, height: int) -> Camera:
        """The camera of the window that starts at pixel (x0, y0); the window may leave the image."""
        return replace(self, width=width, height=height, cx=self.cx - x0, cy=self.cy - y0)

    def project(self, points_camera: Array) -> Array:
        """Pixels [N, 2] of points [N, 3] in the camera frame, distortion included; NaN behind the camera."""
        points = np.asarray(points_camera, dtype=np.float64)
        z = np.where(points[:, 2] > 1e-12, points[:, 2], np.nan)
        x, y = points[:, 0] / z, points[:, 1] / z
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.distortion, *(0.0,) * (8 - len(self.distortion)))
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        return np.stack([self.fx * xd + self.cx, self.fy * yd + self.cy], axis=1)

    def rays(self, pixels: Array) -> Array:
        """Viewing rays [N, 3] with z = 1 (camera frame) of pixels [N, 2]."""
        pixels = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        if self.distorted:
            coefficients = np.array(self.distortion)
            points = pixels[:, None], self.K, coefficients
            opencv: Any = cv2
            if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4
                xy = opencv.undistortPointsIter(*points, None, None, UNDISTORT_CRITERIA)[:, 0]
            else:
                xy = opencv.undistortPoints(*points, criteria=UNDISTORT_CRITERIA)[:, 0]
        else:
            xy = (pixels - (self.cx, self.cy)) / (self.fx, self.fy)
        return np.concatenate([xy, np.ones((len(xy), 1))], axis=1)


def _orthonormalised(rows: list[list[float]]) -> list[list[float]] | None:
    """The rotation nearest to three rows (polar factor, Newton's iteration); None where none is near.

    In plain floats: a frame makes a dozen poses, and NumPy's calls cost more than sums of three.
    """
    for step in range(4):  # 1e-3 off, 1e-6, 1e-12, none
        a, b, c = rows
        errors = [[p[0] * q[0] + p[1] * q[1] + p[2] * q[2] - (p is q) for q in rows] for p in rows]
        off = max(max(map(abs, row)) for row in errors)
        if step == 0 and not off <= 1e-3:
            return None
        if off <= 1e-15:
            break
        rows = [[p[k] - 0.5 * (e[0] * a[k] + e[1] * b[k] + e[2] * c[k]) for k in range(3)]
                for p, e in zip(rows, errors, strict=True)]  # fmt: skip
    a, b, c = rows
    across = (b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0])
    return rows if a[0] * across[0] + a[1] * across[1] + a[2] * across[2] > 0 else None


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid transform `camera_from_part`: x_camera = R x_part + t. matrix: float64 [4, 4]."""

    matrix: Array

    def __post_init__(self) -> None:
        m = np.array(self.matrix, dtype=np.float64)
        rows = m.tolist() if m.shape == (4, 4) else []
        finite = bool(rows) and all(math.isfinite(value) for row in rows for value in row)
        if not finite or max(abs(value - last) for value, last in zip(rows[3], (0, 0, 0, 1))) > 1e-6:
            raise InputError(f"a pose must be a finite 4x4 rigid matrix, got {np.asarray(self.matrix).tolist()}")
        rotation = _orthonormalised([row[:3] for row in rows[:3]])
        if rotation is None:
            raise InputError("the rotation of a pose is not orthonormal and right-handed (scaled or mirrored matrix?)")
        m[:3, :3] = rotation
        m.setflags(write=False)
        object.__setattr__(self, "matrix", m)

    @staticmethod
    def identity() -> Pose:
        return Pose(np.eye(4))

    @staticmethod
    def from_rt(rotation: Array, translation: Array) -> Pose:
        m = np.eye(4)
        m[:3, :3], m[:3, 3] = rotation, np.asarray(translation).reshape(3)
        return Pose(m)

    @staticmethod
    def from_opengl_camera_to_world(matrix: Array) -> Pose:
        """From a NeRF / Blender `transform_matrix` (camera-to-world, y up, z backward)."""
        m = np.asarray(matrix, dtype=np.float64)
        if m.shape == (3, 4):
            m = np.vstack([m, [0, 0, 0, 1.0]])
        if m.shape != (4, 4) or not np.all(np.isfinite(m)):
            raise InputError("transform_matrix must be a finite 4x4 matrix")
        return Pose(m @ OPENGL_FROM_OPENCV).inverse()

    def to_opengl_camera_to_world(self) -> Array:
        return self.inverse().matrix @ OPENGL_FROM_OPENCV

    @staticmethod
    def look_at(centre: Array, target: Array, up: Array, roll: float = 0.0) -> Pose:
        """A camera at `centre` that looks at `target`; image up is `up`, then turned by `roll` radians."""
        z = np.asarray(target, dtype=np.float64) - centre
        z = z / np.linalg.norm(z)
        x = np.cross(z, up)
        if np.linalg.norm(x) < 1e-9:  # looking along `up`
            x = np.cross(z, np.eye(3)[np.argmin(np.abs(z))])
        x = x / np.linalg.norm(x)
        y = np.cross(z, x)
        c, s = np.cos(roll), np.sin(roll)
        r = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ np.stack([x, y, z])
        return Pose.from_rt(r, -r @ np.asarray(centre, dtype=np.float64))

    @property
    def rotation(self) -> Array:  # [3, 3]
        return self.matrix[:3, :3]

    @property
    def translation(self) -> Array:  # [3]
        return self.matrix[:3, 3]

    @property
    def centre(self) -> Array:
        """The camera centre in the part frame, [3]."""
        return -self.rotation.T @ self.translation

    def inverse(self) -> Pose:
        return Pose.from_rt(self.rotation.T, self.centre)

    def __matmul__(self, other: Pose) -> Pose:
        return Pose(self.matrix @ other.matrix)

    def transform(self, points: Array) -> Array:
        """Points [N, 3] of the part frame in the camera frame."""
        return np.asarray(points) @ self.rotation.T + self.translation

    def retract(self, twist: Array) -> Pose:
        """(exp(rotation), translation) @ self for a step [6] = (rotation vector [rad], translation) in the camera
        frame: rotation and translation apart, not the exponential of SE(3)."""
        r, _ = cv2.Rodrigues(np.asarray(twist[:3], dtype=np.float64))
        return Pose.from_rt(r, twist[3:]) @ self

    def quaternion(self) -> Array:
        """Unit quaternion (w, x, y, z) with w >= 0 of the rotation, [4]."""
        r = self.rotation
        # Shepperd's method: take the largest of the four, so that no division is by a small number.
        squares = np.array([np.trace(r), r[0, 0], r[1, 1], r[2, 2]])
        i = int(np.argmax(squares))
        if i == 0:
            q = np.array([1 + squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
        else:
            a, b, c = (i - 1), i % 3, (i + 1) % 3
            q = np.empty(4)
            q[0] = r[c, b] - r[b, c]
            q[1 + a] = 1 + r[a, a] - r[b, b] - r[c, c]
            q[1 + b] = r[a, b] + r[b, a]
            q[1 + c] = r[a, c] + r[c, a]
        q = q / np.linalg.norm(q)
        return q if q[0] >= 0 else -q

    @staticmethod
    def from_quaternion(quaternion: Array, translation: Array) -> Pose:
        """From a quaternion (w, x, y, z), normalised here, and a translation [3]."""
        q = np.asarray(quaternion, dtype=np.float64)
        with np.errstate(over="ignore"):  # refused below
            norm = np.linalg.norm(q)
        if q.shape != (4,) or not np.isfinite(norm) or norm < 1e-9:
            raise InputError(f"not a quaternion: {q.tolist()}")
        w, x, y, z = q / norm
        r = np.array([
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ])  # fmt: skip
        return Pose.from_rt(r, translation)


def rotation_angle(a: Pose, b: Pose) -> float:
    """Angle in radians between the rotations of two poses."""
    relative = a.rotation @ b.rotation.T
    # atan2 keeps precision for angles near 0, where arccos of the trace loses half the digits.
    sine = 0.5 * np.linalg.norm([relative[2, 1] - relative[1, 2], relative[0, 2] - relative[2, 0],
                                 relative[1, 0] - relative[0, 1]])  # fmt: skip
    return float(np.arctan2(sine, 0.5 * (np.trace(relative) - 1)))


def translation_error(estimate: Pose, truth: Pose) -> float:
    """Distance of the camera centres over the true camera's distance to the part's origin (a share)."""
    return float(np.linalg.norm(estimate.centre - truth.centre)) / max(float(np.linalg.norm(truth.centre)), 1e-12)


def largest_cosine(centres: Array, centre: Array, part: Array) -> float:
    """Cosine of the angle, seen from the point `part` [3], between `centre` [3] and the nearest of `centres` [N, 3]."""
    directions = centres - part
    directions = directions / np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    towards = (centre - part) / max(float(np.linalg.norm(centre - part)), 1e-12)
    return float((directions @ towards).max())


def keypoints_from_opencv(points: NDArray[np.floating]) -> Array:
    """OpenCV keypoints put pixel centres at integers; ours lie at +0.5."""
    return np.asarray(points, dtype=np.float64) + 0.5


def undistort_image(image: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """The image [H, W, 3] as `camera.pinhole()` would see it (same K and size; edge pixels replicated)."""
    if not camera.distorted:
        return image
    maps = _maps(camera.pinhole(), camera)
    return np.asarray(cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def distort_map(values: NDArray[np.float32], camera: Camera) -> NDArray[np.float32]:
    """A map [H, W] computed on the undistorted image, as seen on the camera's own (distorted) pixels."""
    if not camera.distorted:
        return values
    return np.asarray(cv2.remap(values, *_maps(camera, camera.pinhole()), cv2.INTER_LINEAR), np.float32)


@lru_cache(maxsize=8)
def _maps(target: Camera, source: Camera) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For each pixel of one camera, x and y [H, W] of where another at the same place sees it, as cv2.remap counts."""
    x, y = np.meshgrid(np.arange(target.width) + 0.5, np.arange(target.height) + 0.5)
    pixels = source.project(target.rays(np.stack([x.ravel(), y.ravel()], axis=1)))
    places = pixels.reshape(target.height, target.width, 2).astype(np.float32) - 0.5
    return np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])
