"""Renderer: how a good part looks from a pose."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..compute.threads import for_each, in_bands, kernel
from ..imaging.background import Background
from ..imaging.geometry import Camera, Pose
from ..imaging.rect import Rect
from .cpu.inference import FixedGaussians
from .cpu.rasterizer import PinholeView
from .gaussians import Gaussians
from .photographs import Photograph, close_together, directions, doubtful_depth, warp
from .result import ReferenceRendering

if TYPE_CHECKING:
    from torch import Tensor

    from .tensors import GaussianTensors

COARSE_EPS2D = 0.5  # of the eps2d that keeps the blur: with it poses from reduced renderings are least biased
COARSE_SHARE = 0.6  # of the Gaussians, the largest, make a coarse rendering
WINDOW_MARGIN = 12  # px around the part's projection
NEAR_FAR = (0.01, 1e10)  # nearest and farthest depth of what is drawn, part units

Floats = NDArray[np.float32]


class Renderer:
    """Renders Gaussians, and any per-Gaussian features [N, C] besides their colours, at given poses.

    The `nearest_photographs` of `photographs` (by viewing direction) are warped to the pose as well.

    Only the window that the part projects into is rasterized; the rest is background.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        background: Background,
        features: NDArray[np.float32] | None = None,
        device: str = "cpu",
        photographs: Sequence[Photograph] = (),
        nearest_photographs: int = 0,
    ) -> None:
        self.gaussians = g = gaussians
        self.background = background
        self.device = device
        self._features = np.zeros((len(g), 0), np.float32) if features is None else np.ascontiguousarray(features)
        self._colour = np.array([*background.rgb01, *[0.0] * self._features.shape[1]], np.float32)
        self._photographs = tuple(photographs)
        self._nearest = nearest_photographs
        self._means = g.means.astype(np.float64)
        self.centre = g.centre
        self._directions = directions(self._photographs, self.centre)
        self._close_together = close_together(self._directions)

    def coarse(self, scale: float) -> Renderer:
        """A renderer of the largest Gaussians, without features and photographs, for images shrunk by `scale`.

        eps2d shrinks with them, or the part would look larger than in the shrunk image and so seem nearer.
        """
        g = self.gaussians
        sizes = np.sort(g.scales, axis=1)
        area = g.opacities * sizes[:, 1] * sizes[:, 2]
        large = np.sort(np.argsort(-area, kind="stable")[: round(COARSE_SHARE * len(g))])
        eps2d = g.eps2d * COARSE_EPS2D * scale**2
        return Renderer(replace(g.take(large), eps2d=eps2d), self.background, device=self.device)

    def window(self, camera: Camera, pose: Pose) -> Rect | None:
        """The part's projection plus a margin; None if it is out of sight."""
        intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        window = Rect(*_outline(self._means, pose.matrix, intrinsics, camera.width, camera.height))
        return window if window.width > 0 and window.height > 0 else None

    def render(self, camera: Camera, pose: Pose, without: str | None = None) -> ReferenceRendering:
        """The part at `pose`, seen by the pinhole `camera`; the photograph named `without` is not used."""
        return self.with_photographs(self.part(camera, pose), without)

    def part(self, camera: Camera, pose: Pose) -> ReferenceRendering:
        """The same without photographs."""
        height, width = camera.height, camera.width
        colour = self.background.rgb01
        rgb = np.empty((height, width, 3), np.float32)
        rgb.reshape(height, -1)[:] = np.tile(np.array(colour, np.float32), width)  # by rows: much faster than by pixels
        alpha, depth = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        features = np.zeros((height, width, self._features.shape[1]), np.float32)
        window = self.window(camera, pose)
        if window is not None:
            inside = window.slices
            if self.device == "cpu":
                image, transmittance = self._composited(camera, pose, window)
                out = rgb[inside], features[inside], depth[inside], alpha[inside]
                in_bands(lambda first, last: _develop(image, transmittance, *out, first, last), window.height)
            else:
                image, opacity = self._rasterized(camera, pose, window)
                np.clip(image[..., :3], 0, 1, out=rgb[inside])
                features[inside], depth[inside], alpha[inside] = image[..., 3:-1], image[..., -1], opacity
        return ReferenceRendering(rgb, alpha, depth, features, camera, pose, window=window or Rect(0, 0, 0, 0),
                                  background_colour=colour)  # fmt: skip

    def _composited(self, camera: Camera, pose: Pose, window: Rect) -> tuple[Floats, Floats]:
        """(colours, features and accumulated depth [h, w, 3 + C + 1], transmittance [h, w]), without autograd."""
        view = PinholeView.of(pose.matrix.astype(np.float32), camera.K.astype(np.float32),
                              (camera.width, camera.height), window, NEAR_FAR, self.gaussians.eps2d)  # fmt: skip
        return self._fixed.render(view, self._colour)

    @cached_property
    def _fixed(self) -> FixedGaussians:
        return FixedGaussians.of(self.gaussians, self._features)

    @cached_property
    def _on_device(self) -> tuple[GaussianTensors, Tensor, Tensor]:
        """(Gaussians, features [N, C], background [1, 3 + C])."""
        import torch

        from .tensors import GaussianTensors

        features, colour = (torch.from_numpy(x).to(self.device) for x in (self._features, self._colour))
        return GaussianTensors.of(self.gaussians, self.device), features, colour[None]

    def _rasterized(self, camera: Camera, pose: Pose, window: Rect) -> tuple[Floats, Floats]:
        """(colours, features and expected depth [h, w, 3 + C + 1], alpha [h, w])."""
        import torch

        from .tensors import to_host

        g, features, colour = self._on_device
        sent = torch.from_numpy(np.concatenate([pose.matrix.ravel(), camera.K.ravel()]).astype(np.float32))
        viewmat, intrinsics = sent.to(self.device).split([16, 9])
        with torch.no_grad():
            out, alphas, _ = g.rasterize(
                viewmat.view(1, 4, 4), intrinsics.view(1, 3, 3), camera, window=window, backgrounds=colour,
                render_mode="RGB+ED", features=features, near_plane=NEAR_FAR[0], far_plane=NEAR_FAR[1],
            )  # fmt: skip
            picture = to_host(torch.cat([out[0], alphas[0]], dim=-1))  # one transfer, of the window alone
        return picture[..., :-1], picture[..., -1]

    def with_photographs(self, rendering: ReferenceRendering, without: str | None = None) -> ReferenceRendering:
        """A rendering of `part` with the photographs nearest to its pose, but not the one named `without`."""
        chosen = self._nearest_photographs(rendering.pose, without) if self._nearest else []
        height, width = rendering.alpha.shape
        photographs = np.zeros((len(chosen), height, width, 3), np.uint8)
        seen, perhaps = (np.zeros((len(chosen), height, width), np.bool_) for _ in range(2))
        window = rendering.window or Rect(0, 0, width, height)
        if window.area:
            inside, camera = window.slices, rendering.camera.cropped(*window.xywh)

            def task(i: int) -> None:
                photographs[i][inside], seen[i][inside], perhaps[i][inside] = warp(
                    chosen[i], rendering.depth[inside], rendering.alpha[inside], camera, rendering.pose
                )

            for_each(task, len(chosen))
            if self._close_together:
                shown = (slice(None), *inside)
                rgb = rendering.cropped(inside).rgb8
                seen[shown] |= perhaps[shown] & doubtful_depth(rgb, photographs[shown], seen[shown])
        return replace(rendering, photographs=photographs, seen=seen)

    def _nearest_photographs(self, pose: Pose, without: str | None) -> list[Photograph]:
        """Those taken from the directions nearest to that of `pose`, nearest first."""
        order = np.argsort(-(self._directions @ (pose.centre - self.centre)), kind="stable")
        found = (self._photographs[i] for i in order if self._photographs[i].name != without)
        return list(itertools.islice(found, self._nearest))


@kernel
def _develop(image, transmittance, rgb, features, depth, alpha, first, last):  # type: ignore[no-untyped-def]
    """Rows first..last of an image as the CPU rasterizer leaves it into those of a rendering."""
    channels = image.shape[2]
    zero, one = np.float32(0), np.float32(1)
    for y in range(first, last):
        for x in range(image.shape[1]):
            for c in range(3):
                rgb[y, x, c] = min(max(image[y, x, c], zero), one)
            for c in range(3, channels - 1):
                features[y, x, c - 3] = image[y, x, c]
            alpha[y, x] = one - transmittance[y, x]
            depth[y, x] = image[y, x, channels - 1] / max(alpha[y, x], np.float32(1e-10))


@kernel
def _outline(means, pose, intrinsics, width, height):  # type: ignore[no-untyped-def]
    """x0, y0, x1, y1 of where the means project to: all of them, as the tip of something thin may be a single one."""
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    for i in range(means.shape[0]):
        x, y, z = means[i]
        depth = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3]
        if not depth > 1e-3:
            continue
        u = intrinsics[0] * (pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3]) / depth + intrinsics[2]
        v = intrinsics[1] * (pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3]) / depth + intrinsics[3]
        left, right = min(left, u), max(right, u)
        top, bottom = min(top, v), max(bottom, v)
    x0, x1 = min(max(left - WINDOW_MARGIN, 0.0), width), min(max(right + WINDOW_MARGIN + 1, 0.0), width)
    y0, y1 = min(max(top - WINDOW_MARGIN, 0.0), height), min(max(bottom + WINDOW_MARGIN + 1, 0.0), height)
    return int(x0), int(y0), int(x1), int(y1)
