"""Direct alignment of a rendering with a query: one linearisation, and Gauss-Newton steps on it.

Only the part's window is looked at. A rendered pixel is one row of 12 numbers: its 3D point in the camera frame of the
rendering, its colour, and the colour's slopes along the axes of the normalised image plane. The Jacobian by the twist,
[3, 6], is the product of these slopes with [2, 6], so that no row of it is ever stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import in_bands
from ..imaging.background import mask_box
from ..imaging.geometry import Array, Camera, Pose
from ..imaging.images import Image
from ..imaging.rect import Rect
from ..rendering.result import ReferenceRendering
from . import alignment_kernels as kernels
from .shift_kernels import shift

Floats = NDArray[np.float32]
Images = tuple[Floats, Floats, Floats]

MIN_LOSS_PIXELS = 200  # of the part and its margin, below which nothing can be said
MIN_SOLVED_PIXELS = 50  # for one linearisation
MAX_STEEP_PIXELS = 4000  # that the motion is solved from: more say the same again
SCALE_SAMPLES = 2000  # pixels at least that the scale of the residuals is taken from
STEEP_SHARE = 0.25  # of the root mean square slope: flatter pixels, often half of all, hold 1 % of the information
LOSS_MARGIN = 4  # px around the rendered part that the loss is taken over
WINDOW_GROWTH = 0.1  # of the window's longer side: how far beyond the rendered part the query is looked at


def seen_window(rendering: ReferenceRendering) -> Rect | None:
    """The window of the rendered part with a margin that leaves room to move; None where none of it is in sight."""
    box = mask_box(rendering.alpha > 0.5)
    if box is None:
        return None
    grow = 2 * LOSS_MARGIN + round(WINDOW_GROWTH * (max(box.width, box.height) - 1))
    return box.grown(grow).clipped(rendering.alpha.shape)


def shifted(rendering: ReferenceRendering, warp: Array) -> ReferenceRendering:
    """The rendering after the part moved by a warp [4, 4] of a fraction of a pixel: first-order, not rendered anew.

    Depths stay as they are.
    """
    images = rendering.rgb, rendering.features, rendering.alpha[..., None]
    rgb, features, alpha = _shifted(images, rendering.depth, rendering.camera, warp, rendering.inside)
    pose = Pose(warp @ rendering.pose.matrix)
    return replace(rendering, rgb=rgb, features=features, alpha=alpha[..., 0], pose=pose)


def moved_to(pose: Pose, rendering: ReferenceRendering) -> ReferenceRendering:
    """A rendering at a pose a fraction of a pixel beside its own; itself where it is at this very pose."""
    return rendering if rendering.pose is pose else shifted(rendering, (pose @ rendering.pose.inverse()).matrix)


def _intrinsics(camera: Camera) -> Floats:
    """fx, fy, and the principal point as a pixel index (centres at whole numbers)."""
    return np.array([camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5], np.float32)


def _shifted(
    images: Images, depth: Floats, camera: Camera, warp: Array, inside: tuple[slice, slice] = np.s_[:, :]
) -> Images:
    """Colours, features and alpha [H, W, C each] with what is `inside` moved."""
    rgb, features, alpha, depth = (np.ascontiguousarray(x) for x in (*images, depth))
    moved = rgb.copy(), features.copy(), alpha.copy()
    solid = alpha[..., 0] > 0.5
    distance = np.float32(depth[solid].mean() if solid.any() else 1.0)
    (top, bottom, _), (left, right, _) = (s.indices(n) for s, n in zip(inside, depth.shape, strict=True))
    m, intrinsics = warp.astype(np.float32), _intrinsics(camera)
    in_bands(lambda first, last: shift((rgb, features, alpha), depth, distance, m, intrinsics, moved, top + first,
                                       top + last, left, right), bottom - top)  # fmt: skip
    return moved


@dataclass(frozen=True, eq=False)
class Window:
    """Query and rendering in the window of the rendered part."""

    query: Floats  # [h, w, 3] in 0..1
    rgb: Floats  # [h, w, 3]
    alpha: Floats  # [h, w]
    depth: Floats  # [h, w]
    camera: Camera  # of the window

    @staticmethod
    def of(image: Image, rendering: ReferenceRendering) -> Window | None:
        """None where none of the part is in sight."""
        box = seen_window(rendering)
        if box is None:
            return None
        query = np.multiply(image[box.slices], np.float32(1 / 255), dtype=np.float32)
        rgb, alpha, depth = (
            np.ascontiguousarray(a[box.slices]) for a in (rendering.rgb, rendering.alpha, rendering.depth)
        )
        return Window(query, rgb, alpha, depth, rendering.camera.cropped(*box.xywh))

    def loss(self) -> float:
        """Mean absolute difference, each pixel's capped, over the rendered part and a margin around it."""
        size = 2 * LOSS_MARGIN + 1
        seen = cv2.dilate((self.alpha > 0.5).astype(np.uint8), np.ones((size, size), np.uint8))
        total, count = kernels.capped_difference(self.query, self.rgb, seen)
        return float(total / count) if count >= MIN_LOSS_PIXELS else float("inf")

    def shifted(self, warp: Array) -> Window:
        """With the rendering after the part moved, as `shifted`."""
        none = np.zeros((*self.alpha.shape, 0), np.float32)
        rgb, _, alpha = _shifted((self.rgb, none, self.alpha[..., None]), self.depth, self.camera, warp)
        return replace(self, rgb=rgb, alpha=alpha[..., 0])

    def shrunk(self, scale: float) -> Window:
        """At a fraction of the resolution."""
        if scale == 1.0:
            return self
        step = round(1 / scale)  # whole blocks of pixels are averaged several times faster
        width, height = (n // step * step or n for n in (self.camera.width, self.camera.height))
        size = (max(round(width * scale), 16), max(round(height * scale), 16))
        query, rgb, alpha, weighted = (
            cv2.resize(a[:height, :width], size, interpolation=cv2.INTER_AREA)
            for a in (self.query, self.rgb, self.alpha, self.depth * self.alpha)
        )
        depth = weighted / np.maximum(alpha, np.float32(1e-6))
        return Window(query, rgb, alpha, depth, self.camera.cropped(0, 0, width, height).resized(*size))


@dataclass(frozen=True, eq=False)
class Linearisation:
    """Rendered pixels with their points and slopes, and the query that they are to be found in."""

    query: Floats  # [h, w, 3]
    pixels: Floats  # [M, 12]: point, colour, slope along x, slope along y; of those that say anything about the motion
    samples: Floats  # [S, 12]: the same of some of all pixels
    intrinsics: Floats  # [4], see _intrinsics
    share: float = 1.0  # of those that say anything that `pixels` holds

    @staticmethod
    def of(window: Window) -> Linearisation | None:
        """None where too little of the part is in sight."""
        intrinsics = _intrinsics(window.camera)
        steep, every, samples = kernels.steep_and_samples(
            window.rgb, window.alpha, window.depth, intrinsics, STEEP_SHARE**2, MAX_STEEP_PIXELS, SCALE_SAMPLES
        )
        if len(samples) < MIN_SOLVED_PIXELS:
            return None
        return Linearisation(window.query, steep, samples, intrinsics, 1 / every)

    def solve(self, warp: Array, steps: int, precision: float) -> Array:
        """The warp [4, 4] of the rendered points that fits the query best, from `warp` on.

        Inverse compositional Gauss-Newton: the Jacobian stays, the warp takes the inverse of each step. It ends
        where a step moves the points by less than `precision` pixels.
        """
        return np.asarray(kernels.solve(self.query, self.pixels, self.samples, self.intrinsics, warp, steps, precision))

    def motion(self, warp: Array) -> float:
        """How many pixels a warp [4, 4] moves the points, on average."""
        return float(kernels.motion(self.samples, warp, self.intrinsics))

    def covariance(self) -> Array | None:
        """Inverse of the normal equations at no warp, for neighbouring pixels whose errors are correlated."""
        identity = np.eye(4, dtype=np.float32)
        scale = kernels.residual_scale(self.query, self.samples, identity, self.intrinsics)
        hessian, _ = kernels.normal_equations(self.query, self.pixels, identity, self.intrinsics, scale)
        correlated = 3 * 9  # three channels, and a patch of about 3x3 pixels, err together
        try:
            return np.asarray(np.linalg.inv(hessian) * scale**2 * correlated * self.share)
        except np.linalg.LinAlgError:
            return None
