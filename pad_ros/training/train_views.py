"""The reference views as a fit renders them and compares with them: the part's window, at full size or shrunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from ..comparison.surface_statistics import gathered
from ..imaging.background import mask_box
from ..imaging.geometry import Camera
from ..imaging.rect import Rect
from ..imaging.views import View
from ..rendering.losses import SsimTarget
from ..rendering.tensors import GaussianTensors


@dataclass(frozen=True, eq=False)
class TrainView:
    """The part's window of one view, ready to be compared with a rendering."""

    camera: Camera  # of the full image
    window: Rect
    viewmat: Tensor  # [1, 4, 4]
    K: Tensor  # [1, 3, 3]
    target: SsimTarget  # [h, w, 3]
    silhouette: Tensor | None  # [h, w, 1] 0/1

    @staticmethod
    def of(view: View, margin: int, device: str) -> TrainView:
        assert view.pose is not None
        box = mask_box(view.mask, margin) if view.mask is not None else None
        window = box or Rect.of_image(view.image.shape)
        rgb = torch.from_numpy(view.image[window.slices].astype(np.float32) / 255).to(device)
        mask = None
        if view.mask is not None:
            mask = torch.from_numpy(view.mask[window.slices][..., None].astype(np.float32)).to(device)
        matrices = (view.pose.matrix, view.camera.K)
        viewmat, K = (torch.from_numpy(matrix.astype(np.float32))[None].to(device) for matrix in matrices)
        return TrainView(view.camera, window, viewmat, K, SsimTarget(rgb), mask)

    def render(self, gaussians: GaussianTensors, background: Tensor, sh_degree: int) -> tuple[Tensor, Tensor]:
        """RGB [h, w, 3] and alpha [h, w, 1] of the window; `background` [1, 3]."""
        colours, alphas, _ = gaussians.rasterize(
            self.viewmat, self.K, self.camera, window=self.window, sh_degree=sh_degree, backgrounds=background
        )
        return colours[0], alphas[0]


def render_together(
    views: Sequence[TrainView], gaussians: GaussianTensors, background: Tensor, sh_degree: int, jointly: bool
) -> list[tuple[Tensor, Tensor]]:
    """(RGB, alpha) of each view's window, as `TrainView.render`; `jointly` in one call, where they are of one size.

    One call renders whole pictures, which suits a GPU.
    """
    first, sizes = views[0].camera, {(view.camera.width, view.camera.height) for view in views}
    if not jointly or len(views) == 1 or len(sizes) > 1:
        return [view.render(gaussians, background, sh_degree) for view in views]
    viewmats, Ks = torch.cat([view.viewmat for view in views]), torch.cat([view.K for view in views])
    backgrounds = background.repeat(len(views), 1)
    colours, alphas, _ = gaussians.rasterize(viewmats, Ks, first, sh_degree=sh_degree, backgrounds=backgrounds)
    return [(colours[i][view.window.slices], alphas[i][view.window.slices]) for i, view in enumerate(views)]


def shrunk(view: View, scale: float) -> View:
    """The view with about `scale` times as many pixels on a side."""
    size = max(round(view.camera.width * scale), 1), max(round(view.camera.height * scale), 1)
    image = np.ascontiguousarray(cv2.resize(view.image, size, interpolation=cv2.INTER_AREA))
    mask = view.mask
    if mask is not None:
        mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5
    return replace(view, image=image, camera=view.camera.resized(*size), mask=mask)


def of_size(
    pixels: int, views: Sequence[View], train: Sequence[TrainView], margin: int, device: str
) -> Sequence[TrainView]:
    """The views with windows shrunk to about `pixels`; as they are where they have hardly more."""
    scale = float(np.sqrt(pixels / np.median([view.window.area for view in train])))
    return [TrainView.of(shrunk(view, scale), margin, device) for view in views] if scale < 0.8 else train


def most_seen(gaussians: GaussianTensors, views: Sequence[TrainView], share: float) -> Tensor:
    """Indices, in order, of the `share` of the Gaussians that fill most pixels in the view that shows most of them."""
    count, device = len(gaussians.means), gaussians.means.device
    most = torch.zeros(count, device=device)
    for view in views:
        ones = torch.ones(1, view.window.height, view.window.width, 1, device=device)
        filled = gathered(gaussians, view.viewmat, view.K, view.camera, view.window, ones)
        most = torch.maximum(most, filled[:, 0])
    return torch.sort(torch.topk(most, max(round(share * count), 1)).indices).values
