"""Renderer: how a good part looks from a pose."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Camera, Pose
from ..silhouette import Background
from .gaussians import Gaussians
from .rasterize import rasterization
from .result import ReferenceRendering

MARGIN = 12  # px around the part's projection


class Renderer:
    """Renders Gaussians, and any per-Gaussian features [N, C] beside their colours, at given poses.

    Only the window that the part projects into is rasterized; the rest is background.
    """

    def __init__(
        self,
        gaussians: Gaussians,
        background: Background,
        features: NDArray[np.float32] | None = None,
        device: str = "cpu",
    ) -> None:
        self.gaussians = gaussians.to(device)
        self.background = background
        self.device = device
        extra = np.zeros((len(gaussians), 0), np.float32) if features is None else features
        self._features = torch.from_numpy(np.ascontiguousarray(extra)).to(device)  # [N, C]
        self._colour = torch.tensor([*background.rgb01, *[0.0] * extra.shape[1]], device=device)[None]
        self._means = gaussians.means.double().cpu().numpy()

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
    def render(self, camera: Camera, pose: Pose) -> ReferenceRendering:
        """The part at `pose`, seen by the pinhole `camera`."""
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
            intrinsics = torch.from_numpy(camera.cropped(x0, y0, w, h).K.astype(np.float32)).to(self.device)
            centre = torch.from_numpy(pose.centre.astype(np.float32)).to(self.device)
            colours = torch.cat([sh_colours(g.means, g.sh, centre), self._features], dim=1)
            out, alphas, _ = rasterization(
                g.means, g.quats, g.scales, g.opacities, colours, viewmat[None], intrinsics[None], w, h,
                backgrounds=self._colour, render_mode="RGB+ED",
            )  # fmt: skip
            part = np.s_[y0 : y0 + h, x0 : x0 + w]
            image = out[0].cpu().numpy()
            rgb[part] = np.clip(image[..., :3], 0, 1)
            features[part] = image[..., 3 : 3 + channels]
            depth[part] = image[..., -1]
            alpha[part] = alphas[0, ..., 0].cpu().numpy()
        return ReferenceRendering(rgb, alpha, depth, features, camera, pose)


SH_C1 = 0.4886025119029199
SH_C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
SH_C3 = (
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154,
    -0.4570457994644658, 1.445305721320277, -0.5900435899266435,
)  # fmt: skip


def sh_colours(means: Tensor, sh: Tensor, centre: Tensor) -> Tensor:
    """Colours [N, 3] >= 0 of Gaussians [N, 3] with coefficients [N, K, 3], seen from `centre` [3].

    Real spherical harmonics up to degree 3, the basis of the 3DGS reference code.
    """
    d = torch.nn.functional.normalize(means - centre, dim=-1)
    x, y, z = d.unbind(-1)
    basis = [torch.full_like(x, 0.28209479177387814)]
    if sh.shape[1] > 1:
        basis += [-SH_C1 * y, SH_C1 * z, -SH_C1 * x]
    if sh.shape[1] > 4:
        xx, yy, zz = x * x, y * y, z * z
        basis += [SH_C2[0] * x * y, SH_C2[1] * y * z, SH_C2[2] * (2 * zz - xx - yy), SH_C2[3] * x * z,
                  SH_C2[4] * (xx - yy)]  # fmt: skip
    if sh.shape[1] > 9:
        basis += [SH_C3[0] * y * (3 * xx - yy), SH_C3[1] * x * y * z, SH_C3[2] * y * (4 * zz - xx - yy),
                  SH_C3[3] * z * (2 * zz - 3 * xx - 3 * yy), SH_C3[4] * x * (4 * zz - xx - yy),
                  SH_C3[5] * z * (xx - yy), SH_C3[6] * x * (xx - 3 * yy)]  # fmt: skip
    weights = torch.stack(basis, dim=1)  # [N, K]
    return (torch.einsum("nk,nkc->nc", weights, sh) + 0.5).clamp_min(0.0)
