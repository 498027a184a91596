"""The part in a scene: which Gaussians are the part, and the views with the part alone.

The Gaussians are fitted to all that the views show. Those in the region of the part, rendered among the rest, tell of
each pixel what share of it shows the part. With the rest taken away, and a plain colour put behind, the views are those
of a part like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..comparison.surface_statistics import gathered
from ..errors import TrainingError
from ..imaging.background import Background, Mask
from ..imaging.views import View
from ..localization.sfm_map import SfmMap
from ..progress import progress
from ..rendering.gaussians import Gaussians
from ..rendering.rasterize import rasterization
from ..rendering.tensors import GaussianTensors
from .initialise import SH_C0
from .region import MIN_LANDMARKS, Region
from .train_views import TrainView, of_size

# No image has this colour, so no query is taken for one in front of it; grey, as it shows through at edges.
BEHIND_PART = Background((127.5, 127.5, 127.5), 0.0)
MIN_GAUSSIANS = 100
COARSE_PIXELS = 100_000  # of views shrunk to see which Gaussians they show
SEEN_PIXELS = 0.2  # that a Gaussian of the part fills in some of them: what is inside of solid things fills none
MIN_SHOWN = 0.001  # share of an image that must show the part: a view with less is left out
SPECK_SHARE = 0.02  # of the largest piece of the part in an image: smaller pieces are floaters
EDGE = 2  # px around the mask that may show some of the part

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PartView:
    """One reference view, as it was taken and as the part alone.

    taken: mask says where it shows the part, which something in front of it may hide. alone: before BEHIND_PART, with
    what is hidden put in from the Gaussians; mask says where the part is.
    """

    taken: View
    alone: View


def inside_region(region: Region, scene: Gaussians, views: Sequence[View], device: str) -> NDArray[np.bool_]:
    """Which of the scene's Gaussians [N] lie in the region and are seen; TrainingError where hardly any are."""
    inside = region.contains(scene.means.astype(np.float64))
    inside &= _most_filled(scene, views, device) >= SEEN_PIXELS
    if np.count_nonzero(inside) < MIN_GAUSSIANS:
        raise TrainingError(
            f"{region} holds {np.count_nonzero(inside)} of {len(scene)} Gaussians, too few for a part: give a region "
            "with --part, or more views of the part"
        )
    return inside


def part_views(scene: Gaussians, inside: NDArray[np.bool_], views: Sequence[View], device: str) -> list[PartView]:
    """The views that show the part, in their order; `inside` [N]: which Gaussians of the scene are the part."""
    among = _Among.of(scene, inside, device)
    shown = []
    for view in progress(views, "cutting out the part", len(views)):
        cut = among.cut(view)
        if cut.taken.mask is not None and cut.taken.mask.mean() >= MIN_SHOWN:
            shown.append(cut)
    return shown


def map_of(region: Region, sfm_map: SfmMap, views: Sequence[PartView]) -> SfmMap:
    """The map that knows which of its descriptors are of landmarks in the region, where the views' masks say part.

    Of views that do not show the part nothing is left.
    """
    masks = {view.taken.name: view.taken.mask for view in views}
    for name in sfm_map.view_names:
        if name not in masks:
            sfm_map = sfm_map.without(name)
    on_part = region.contains(sfm_map.points)[sfm_map.descriptor_landmark]
    for v, name in enumerate(sfm_map.view_names):
        mask, own = masks[name], np.flatnonzero(sfm_map.descriptor_view == v)
        assert mask is not None
        grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * EDGE + 1,) * 2, np.uint8)) > 0
        x, y = sfm_map.keypoints[own].astype(np.intp).T
        on_part[own] &= grown[y.clip(0, mask.shape[0] - 1), x.clip(0, mask.shape[1] - 1)]
    count = len(np.unique(sfm_map.descriptor_landmark[on_part]))
    if count < MIN_LANDMARKS:
        raise TrainingError(
            f"{region}: {count} landmarks lie on the part, {MIN_LANDMARKS} are needed to find it again: give a larger "
            "region with --part, or use those of the surroundings as well with --set localization.context=true"
        )
    return replace(sfm_map, on_part=on_part)


def _most_filled(gaussians: Gaussians, views: Sequence[View], device: str) -> Floats:
    """The pixels [N] that each Gaussian fills in the view that shows most of it."""
    tensors = GaussianTensors.of(gaussians, device)
    most = torch.zeros(len(gaussians), device=device)
    whole = [TrainView.of(replace(view, mask=None), 0, device) for view in views]
    for seen in progress(of_size(COARSE_PIXELS, views, whole, 0, device), "what the views show", len(views)):
        ones = torch.ones(1, seen.window.height, seen.window.width, 1, device=device)
        most = torch.maximum(most, gathered(tensors, seen.viewmat, seen.K, seen.camera, seen.window, ones)[:, 0])
    return most.cpu().numpy()


@dataclass(frozen=True, eq=False)
class _Among:
    """The part's Gaussians among the rest, which keep their places but are not the part."""

    scene: GaussianTensors
    rest_sh: Tensor  # [N, K, 3], black where the part is
    of_part: Tensor  # [N, 1] 0/1
    part: GaussianTensors

    @staticmethod
    def of(scene: Gaussians, inside: NDArray[np.bool_], device: str) -> _Among:
        sh = scene.sh.copy()
        sh[inside] = 0
        sh[inside, 0] = -0.5 / SH_C0
        tensors = GaussianTensors.of(scene, device)
        of_part = torch.from_numpy(inside.astype(np.float32)[:, None]).to(device)
        return _Among(tensors, torch.from_numpy(sh).to(device), of_part, GaussianTensors.of(scene.take(inside), device))

    @torch.no_grad()
    def cut(self, view: View) -> PartView:
        """The view as it was taken and with the part alone."""
        bare = replace(view, mask=None)
        seen = TrainView.of(bare, 0, str(self.of_part.device))
        g = self.scene
        among, _, _ = rasterization(
            g.means, g.quats, g.scales, g.opacities, self.rest_sh, seen.viewmat, seen.K, seen.camera.width,
            seen.camera.height, eps2d=g.eps2d, sh_degree=g.sh_degree, features=self.of_part,
        )  # fmt: skip
        rgb, alpha = seen.render(self.part, torch.zeros(1, 3, device=among.device), g.sh_degree)
        rest, share = among[0, ..., :3].cpu().numpy(), among[0, ..., 3].clamp(0, 1).cpu().numpy()
        alone, opacity = rgb.clamp(0, 1).cpu().numpy(), alpha[..., 0].cpu().numpy()
        opacity = np.maximum(opacity, share)
        visible, whole = _solid(share), _solid(opacity)
        opacity = np.where(_grown(whole), opacity, 0)[..., None]
        share = np.minimum(share[..., None], opacity)
        # What the view shows of the part: all but the rest. What the rest hides is as the Gaussians have it.
        shown = np.clip(view.image / np.float32(255) - rest, 0, share)
        hidden = alone * (1 - share / np.maximum(opacity, 1e-6))
        behind = np.array(BEHIND_PART.rgb01, np.float32)
        composed = np.minimum(shown + hidden, opacity) + (1 - opacity) * behind
        image = (255 * composed + 0.5).clip(0, 255).astype(np.uint8)
        return PartView(replace(view, mask=visible), replace(view, image=image, mask=whole))


def _solid(share: Floats) -> Mask:
    """Where [H, W] at least half of the pixel is the part, without specks."""
    mask = share > 0.5
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray(mask & (areas >= max(SPECK_SHARE * areas.max(), 1))[labels])


def _grown(mask: Mask) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((2 * EDGE + 1,) * 2, np.uint8)) > 0)
