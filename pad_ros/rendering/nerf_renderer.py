"""NerfRenderer: renders a neural radiance field where `Renderer` renders Gaussians."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..imaging.geometry import Camera, Pose
from ..imaging.rect import Rect
from .nerf import Nerf
from .radiance_field import RadianceField, Rays
from .renderer import Renderer
from .result import ReferenceRendering

SAMPLES_AT_ONCE = 1 << 19  # of both networks, for the sake of memory


class NerfRenderer(Renderer):
    """The pictures are the field's. Gaussians on its surface say where it is, and carry what belongs to surface points.

    given: what `Renderer` takes. Its `coarse` renders these Gaussians: an outline needs no more.
    """

    def __init__(self, nerf: Nerf, *given: Any) -> None:
        super().__init__(*given)
        self.field = RadianceField(nerf, self.device)

    def part(self, camera: Camera, pose: Pose) -> ReferenceRendering:
        height, width = camera.height, camera.width
        colour = self.background.rgb01
        rgb = np.broadcast_to(np.array(colour, np.float32), (height, width, 3)).copy()
        alpha, depth = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        channels = self._features.shape[1]
        features = super().part(camera, pose).features if channels else np.zeros((height, width, 0), np.float32)
        window = self.window(camera, pose)
        if window is not None:
            shown = self._marched(camera, pose, window)
            inside = window.slices
            rgb[inside], alpha[inside], depth[inside] = shown[..., :3], shown[..., 3], shown[..., 4]
            depth[alpha == 0] = 0
        return ReferenceRendering(rgb, alpha, depth, features, camera, pose, window=window or Rect(0, 0, 0, 0),
                                  background_colour=colour)  # fmt: skip

    @torch.no_grad()
    def _marched(self, camera: Camera, pose: Pose, window: Rect) -> np.ndarray:
        """Colour, alpha and depth [h, w, 5] of a window."""
        columns, rows = torch.meshgrid(
            torch.arange(window.x0, window.x1, device=self.device) + 0.5,
            torch.arange(window.y0, window.y1, device=self.device) + 0.5,
            indexing="xy",
        )
        pixels = torch.stack([columns, rows], dim=-1).reshape(-1, 2).float()
        rays = Rays.through(pixels, *on_device(camera, pose, self.device))
        near, far = rays.within(self.field.bounds)
        hit = torch.nonzero(far > near)[:, 0]
        background = torch.tensor(self.background.rgb01, device=self.device, dtype=torch.float32)
        out = torch.cat([background.expand(len(pixels), 3), torch.zeros_like(pixels)], dim=1)
        settings = self.field.settings
        for chosen in hit.split(max(SAMPLES_AT_ONCE // (2 * settings.samples + settings.fine_samples), 1)):
            found = self.field.render(rays.take(chosen), background)
            out[chosen] = torch.cat([found.rgb.clamp(0, 1), torch.stack([found.alpha, found.depth], dim=1)], dim=1)
        return out.reshape(window.height, window.width, 5).cpu().numpy()


def on_device(camera: Camera, pose: Pose, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(fx, fy, cx, cy) [4] and the pose [4, 4] as float32 tensors."""
    intrinsics = torch.tensor([camera.fx, camera.fy, camera.cx, camera.cy], dtype=torch.float32, device=device)
    return intrinsics, torch.from_numpy(pose.matrix.astype(np.float32)).to(device)
