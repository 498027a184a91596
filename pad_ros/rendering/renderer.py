"""Renderer: how a good part looks from a pose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..geometry import Camera, Pose
from ..silhouette import Background
from .gaussians import Gaussians
from .photographs import Photograph, nearest, warp
from .rasterize import rasterization
from .result import ReferenceRendering

SHARPER = 0.6  # of the footprint that keeps the blur: with it poses from reduced renderings are least biased
MARGIN = 12  # px around the part's projection


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
        self.gaussians = gaussians.to(device)
        self.background = background
        self.device = device
        extra = np.zeros((len(gaussians), 0), np.float32) if features is None else features
        self._features = torch.from_numpy(np.ascontiguousarray(extra)).to(device)  # [N, C]
        self._colour = torch.tensor([*background.rgb01, *[0.0] * extra.shape[1]], device=device)[None]
        self._photographs = tuple(photographs)
        self._nearest = nearest_photographs
        self._means = gaussians.means.double().cpu().numpy()
        self._centre = np.median(self._means, axis=0)

    def sketch(self, level: float) -> Renderer:
        """A renderer of the same Gaussians, without features and photographs, at `level` times the resolution.

        The footprint shrinks with it, or the part would look larger than in the shrunk image and so seem nearer.
        """
        footprint = self.gaussians.footprint * SHARPER * level**2
        return Renderer(replace(self.gaussians, footprint=footprint), self.background, device=self.device)

    def window(self, camera: Camera, pose: Pose) -> tuple[int, int, int, int] | None:
        """x0, y0, width, height of the part's projection plus a margin; None if it is out of sight."""
        points = pose.transform(self._means)
        pixels = camera.project(points[points[:, 2] > 1e-3])
        if len(pixels) == 0:
            return None
        # The outermost thousandth are floaters; they must not stretch the window over the frame.
        low, high = np.percentile(pixels, 0.1, axis=0) - MARGIN, np.percentile(pixels, 99.9, axis=0) + MARGIN
        x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
        x1, y1 = min(int(high[0]) + 1, camera.width), min(int(high[1]) + 1, camera.height)
        return (x0, y0, x1 - x0, y1 - y0) if x1 > x0 and y1 > y0 else None

    @torch.no_grad()
    def render(self, camera: Camera, pose: Pose, without: str | None = None) -> ReferenceRendering:
        """The part at `pose`, seen by the pinhole `camera`; the photograph named `without` is not used."""
        height, width = camera.height, camera.width
        channels = self._features.shape[1]
        rgb = np.empty((height, width, 3), np.float32)
        rgb[:] = self.background.rgb01
        alpha = np.zeros((height, width), np.float32)
        depth = np.zeros((height, width), np.float32)
        features = np.zeros((height, width, channels), np.float32)
        window = self.window(camera, pose)
        if window is not None:
            x0, y0, w, h = window
            g = self.gaussians
            viewmat = torch.from_numpy(pose.matrix.astype(np.float32)).to(self.device)
            intrinsics = torch.from_numpy(camera.K.astype(np.float32)).to(self.device)
            out, alphas, _ = rasterization(
                g.means, g.quats, g.scales, g.opacities, g.sh, viewmat[None], intrinsics[None], width, height,
                window=window, sh_degree=g.sh_degree, backgrounds=self._colour, render_mode="RGB+ED",
                features=self._features, eps2d=g.footprint,
            )  # fmt: skip
            part = np.s_[y0 : y0 + h, x0 : x0 + w]
            image = out[0].cpu().numpy()
            rgb[part] = np.clip(image[..., :3], 0, 1)
            features[part] = image[..., 3 : 3 + channels]
            depth[part] = image[..., -1]
            alpha[part] = alphas[0, ..., 0].cpu().numpy()
        chosen = [photograph for photograph in self._photographs if photograph.name != without]
        chosen = nearest(chosen, pose, self._centre, self._nearest) if self._nearest else []
        photographs = np.zeros((len(chosen), height, width, 3), np.uint8)
        seen = np.zeros((len(chosen), height, width), np.bool_)
        for i, photograph in enumerate(chosen):
            photographs[i], seen[i] = warp(photograph, depth, alpha, camera, pose)
        return ReferenceRendering(rgb, alpha, depth, features, camera, pose, photographs, seen)
