"""Renderer: how a good part looks from a pose."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..compute.threads import for_each, kernel, thread_count
from ..imaging.background import Background
from ..imaging.geometry import Camera, Pose
from .cpu.inference import StillGaussians
from .cpu.rasterizer import PinholeView
from .gaussians import Gaussians
from .photographs import Photograph, directions, warp
from .result import ReferenceRendering

if TYPE_CHECKING:
    from torch import Tensor

    from .tensors import GaussianTensors

SHARPER = 0.5  # of the footprint that keeps the blur: with it poses from reduced renderings are least biased
SKETCHED = 0.6  # of the Gaussians, the largest, make a sketch
MARGIN = 12  # px around the part's projection

PLANES = (0.01, 1e10)  # nearest and farthest depth of what is drawn, part units

Floats = NDArray[np.float32]
Window = tuple[int, int, int, int]  # x0, y0, width, height


class Renderer:
    """Renders Gaussians, and any per-Gaussian features [N, C] beside their colours, at given poses.

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
        self._centre = g.centre
        self._directions = directions(self._photographs, self._centre)

    def sketch(self, level: float) -> Renderer:
        """A renderer of the same Gaussians, without features and photographs, at `level` times the resolution.

        The footprint shrinks with it, or the part would look larger than in the shrunk image and so seem nearer.
        """
        g = self.gaussians
        sizes = np.sort(g.scales, axis=1)
        area = g.opacities * sizes[:, 1] * sizes[:, 2]
        large = np.sort(np.argsort(-area, kind="stable")[: round(SKETCHED * len(g))])
        footprint = g.footprint * SHARPER * level**2
        return Renderer(replace(g.take(large), footprint=footprint), self.background, device=self.device)

    def window(self, camera: Camera, pose: Pose) -> Window | None:
        """x0, y0, width, height of the part's projection plus a margin; None if it is out of sight."""
        lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        return _outline(self._means, pose.matrix, lens, camera.width, camera.height)

    def render(self, camera: Camera, pose: Pose, without: str | None = None) -> ReferenceRendering:
        """The part at `pose`, seen by the pinhole `camera`; the photograph named `without` is not used."""
        return self.with_photographs(self.part(camera, pose), without)

    def part(self, camera: Camera, pose: Pose) -> ReferenceRendering:
        """The same without photographs."""
        height, width = camera.height, camera.width
        colour = self.background.rgb01
        rgb = np.empty((height, width, 3), np.float32)
        rgb.reshape(height, -1)[:] = np.tile(np.array(colour, np.float32), width)  # by rows: much faster than by pixels
        alpha = np.zeros((height, width), np.float32)
        depth = np.zeros((height, width), np.float32)
        features = np.zeros((height, width, self._features.shape[1]), np.float32)
        window = self.window(camera, pose)
        if window is None:
            return ReferenceRendering(
                rgb, alpha, depth, features, camera, pose, window=(0, 0, 0, 0), background_colour=colour
            )
        x0, y0, w, h = window
        inside = np.s_[y0 : y0 + h, x0 : x0 + w]
        if self.device == "cpu":
            image, through = self._composited(camera, pose, window)
            out = rgb[inside], features[inside], depth[inside], alpha[inside]
            bands = np.linspace(0, h, 2 * thread_count() + 1).astype(np.int64)
            for_each(lambda i: _develop(image, through, *out, bands[i], bands[i + 1]), len(bands) - 1)
        else:
            image, opacity = self._rasterized(camera, pose, window)
            np.clip(image[..., :3], 0, 1, out=rgb[inside])
            features[inside], depth[inside], alpha[inside] = image[..., 3:-1], image[..., -1], opacity
        return ReferenceRendering(rgb, alpha, depth, features, camera, pose, window=window, background_colour=colour)

    def _composited(self, camera: Camera, pose: Pose, window: Window) -> tuple[Floats, Floats]:
        """(colours, features and accumulated depth [h, w, 3 + C + 1], transmittance [h, w]), without autograd."""
        view = PinholeView.of(
            pose.matrix.astype(np.float32), camera.K.astype(np.float32), (camera.width, camera.height), window,
            *PLANES, self.gaussians.footprint,
        )  # fmt: skip
        return self._still.picture(view, self._colour)

    @cached_property
    def _still(self) -> StillGaussians:
        return StillGaussians.of(self.gaussians, self._features)

    @cached_property
    def _on_device(self) -> tuple[GaussianTensors, Tensor, Tensor]:
        """(Gaussians, features [N, C], background [1, 3 + C])."""
        import torch

        from .tensors import GaussianTensors

        features, colour = (torch.from_numpy(x).to(self.device) for x in (self._features, self._colour))
        return GaussianTensors.of(self.gaussians, self.device), features, colour[None]

    def _rasterized(self, camera: Camera, pose: Pose, window: Window) -> tuple[Floats, Floats]:
        """(colours, features and expected depth [h, w, 3 + C + 1], alpha [h, w])."""
        import torch

        from .rasterize import rasterization
        from .tensors import to_host

        g, features, colour = self._on_device
        sent = torch.from_numpy(np.concatenate([pose.matrix.ravel(), camera.K.ravel()]).astype(np.float32))
        viewmat, intrinsics = sent.to(self.device).split([16, 9])
        with torch.no_grad():
            out, alphas, _ = rasterization(
                g.means, g.quats, g.scales, g.opacities, g.sh, viewmat.view(1, 4, 4), intrinsics.view(1, 3, 3),
                camera.width, camera.height, near_plane=PLANES[0], far_plane=PLANES[1], window=window,
                sh_degree=g.sh_degree, backgrounds=colour, render_mode="RGB+ED", features=features, eps2d=g.footprint,
            )  # fmt: skip
            picture = to_host(torch.cat([out[0], alphas[0]], dim=-1))  # one transfer, of the window alone
        return picture[..., :-1], picture[..., -1]

    def with_photographs(self, rendering: ReferenceRendering, without: str | None = None) -> ReferenceRendering:
        """A rendering of `part` with the photographs nearest to its pose, but not the one named `without`."""
        chosen = self._nearest_photographs(rendering.pose, without) if self._nearest else []
        height, width = rendering.alpha.shape
        photographs = np.zeros((len(chosen), height, width, 3), np.uint8)
        seen = np.zeros((len(chosen), height, width), np.bool_)
        x0, y0, w, h = rendering.window or (0, 0, width, height)
        if w and h:
            inside, camera = np.s_[y0 : y0 + h, x0 : x0 + w], rendering.camera.cropped(x0, y0, w, h)

            def task(i: int) -> None:
                photographs[i][inside], seen[i][inside] = warp(
                    chosen[i], rendering.depth[inside], rendering.alpha[inside], camera, rendering.pose
                )

            for_each(task, len(chosen))
        return replace(rendering, photographs=photographs, seen=seen)

    def _nearest_photographs(self, pose: Pose, without: str | None) -> list[Photograph]:
        """Those taken from the directions nearest to that of `pose`, nearest first."""
        order = np.argsort(-(self._directions @ (pose.centre - self._centre)), kind="stable")
        found = (self._photographs[i] for i in order if self._photographs[i].name != without)
        return list(itertools.islice(found, self._nearest))


@kernel
def _develop(image, through, rgb, features, depth, alpha, first, last):  # type: ignore[no-untyped-def]
    """Rows first..last of a picture as the CPU rasterizer leaves it into those of a rendering."""
    channels = image.shape[2]
    zero, one = np.float32(0), np.float32(1)
    for y in range(first, last):
        for x in range(image.shape[1]):
            for c in range(3):
                rgb[y, x, c] = min(max(image[y, x, c], zero), one)
            for c in range(3, channels - 1):
                features[y, x, c - 3] = image[y, x, c]
            alpha[y, x] = one - through[y, x]
            depth[y, x] = image[y, x, channels - 1] / max(alpha[y, x], np.float32(1e-10))


@kernel
def _outline(
    means: NDArray[np.float64], pose: NDArray[np.float64], lens: NDArray[np.float64], width: int, height: int
) -> Window | None:
    """Where the means project to: all of them, as the tip of something thin may be a single one."""
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    for i in range(means.shape[0]):
        x, y, z = means[i]
        depth = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3]
        if not depth > 1e-3:
            continue
        u = lens[0] * (pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3]) / depth + lens[2]
        v = lens[1] * (pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3]) / depth + lens[3]
        left, right = min(left, u), max(right, u)
        top, bottom = min(top, v), max(bottom, v)
    x0, x1 = int(min(max(left - MARGIN, 0.0), width)), int(min(max(right + MARGIN + 1, 0.0), width))
    y0, y1 = int(min(max(top - MARGIN, 0.0), height)), int(min(max(bottom + MARGIN + 1, 0.0), height))
    if x1 <= x0 or y1 <= y0:
        return None
    return x0, y0, x1 - x0, y1 - y0
