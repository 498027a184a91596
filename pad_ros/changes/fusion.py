"""The cues of all photographs, fused in 3D: per Gaussian for what was there before, per voxel for what came.

Per Gaussian after Galappaththige et al. 2026, "Changes in Real Time: Online Scene Change Detection with Multi-View
Fusion" (O-SCD): a change M is rendered from one value per Gaussian, and C (1 - M) + log(1 + mean(M)^2) is lowered by 16
steps for each photograph with the cue C. Voxels are a visual hull of cues: what came has no Gaussians yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from ..imaging.geometry import Camera, Pose
from ..rendering.gaussians import Gaussians
from ..rendering.rasterize import rasterization
from ..rendering.result import ReferenceRendering
from ..rendering.tensors import GaussianTensors

Floats = NDArray[np.float32]
Points = NDArray[np.float64]

STEPS = 16  # for each photograph
RATE = 0.3  # of Adam, on logits
START = -2.0  # logit: no change
VOXELS = 96  # along the longest side
SURFACE = 0.012  # of the distance to a surface: nearer than this behind it is on it
LEAST_VIEWS = 3  # that must see a point
AGREEING = 0.75  # of the photographs that see a point must show a change there
SHOWN = 0.5  # cue from which a photograph shows a change
SPECK = 0.018  # of an image's size (square root of its area): holes and edges of signs are no wider


@dataclass(frozen=True, eq=False)
class Hull:
    """Voxels [X, Y, Z]: True where the photographs agree on a change."""

    filled: NDArray[np.bool_]
    low: Points  # [3], corner of the first voxel
    size: float

    def centres(self) -> Points:
        """[P, 3] of the filled ones, in the order of np.nonzero."""
        return np.asarray(self.low + (np.argwhere(self.filled) + 0.5) * self.size)


def fuse_gaussians(
    gaussians: Gaussians, cues: Sequence[tuple[ReferenceRendering, Floats]], device: str = "cpu"
) -> Floats:
    """[N] in 0..1: how surely each Gaussian is of something that changed, by the cues [H, W] of all photographs."""
    g = GaussianTensors.of(gaussians, device)
    logits = torch.full((len(gaussians), 1), START, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=RATE)
    order = [view for k in range(STEPS) for view in np.random.default_rng(k).permutation(len(cues))]
    for v in order:
        rendering, cue = cues[v]
        change = _rendered(g, torch.sigmoid(logits), rendering.camera, rendering.pose)
        loss = (torch.from_numpy(cue).to(device) * (1 - change)).mean() + torch.log1p(change.mean() ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.asarray(torch.sigmoid(logits.detach())[:, 0].cpu().numpy())


def _rendered(g: GaussianTensors, values: torch.Tensor, camera: Camera, pose: Pose) -> torch.Tensor:
    """Per-Gaussian values [N, 1] as an image [H, W]."""
    viewmat, K = (torch.from_numpy(m.astype(np.float32))[None].to(values.device) for m in (pose.matrix, camera.K))
    image, _, _ = rasterization(
        g.means, g.quats, g.scales, g.opacities, values, viewmat, K, camera.width, camera.height, eps2d=g.eps2d
    )
    return image[0, ..., 0]


def carve(cues: Sequence[tuple[ReferenceRendering, Floats]], low: Points, high: Points) -> Hull:
    """The voxels between two corners where most of the photographs that can see them show a change.

    By their centres, and by the surfaces that were in them: those of a small object may lie beside all centres.
    """
    size = float((high - low).max()) / VOXELS
    shape = np.maximum(np.ceil((high - low) / size).astype(int), 1)
    centres = low + (np.stack(np.unravel_index(np.arange(int(shape.prod())), shape), axis=1) + 0.5) * size
    filled = agreed(centres, cues).reshape(shape)
    surfaces = np.concatenate([surface(rendering, shows(cue) & (rendering.alpha > 0.5)) for rendering, cue in cues])
    at = np.floor((surfaces[agreed(surfaces, cues)] - low) / size).astype(int)
    filled[tuple(at[np.all((at >= 0) & (at < shape), axis=1)].T)] = True
    return Hull(filled, low, size)


def agreed(points: Points, cues: Sequence[tuple[ReferenceRendering, Floats]]) -> NDArray[np.bool_]:
    """Which of the points [N, 3] show a change in most of the photographs that can see them, and are seen by enough."""
    seen, shown = votes(points, cues)
    return np.asarray((seen >= min(LEAST_VIEWS, len(cues))) & (shown >= AGREEING * seen))


def votes(
    points: Points, cues: Sequence[tuple[ReferenceRendering, Floats]]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """(how many photographs see each of the points [N, 3], how many of these show a change there).

    A photograph sees a point in front of the surfaces of the scene as it was, or on them.
    """
    seen, shown = np.zeros(len(points), np.int16), np.zeros(len(points), np.int16)
    for rendering, cue in cues:
        index, x, y, depth = in_image(points, rendering.camera, rendering.pose)
        surface = np.where(rendering.alpha > 0.5, rendering.depth, np.inf)[y, x]
        visible = depth < surface + SURFACE * depth
        seen[index[visible]] += 1
        shown[index[visible]] += shows(cue)[y, x][visible]
    return seen, shown


def surface(rendering: ReferenceRendering, mask: NDArray[np.bool_]) -> Points:
    """The points [P, 3] of the scene that a rendering shows at the pixels of a mask, in the order of np.nonzero."""
    y, x = np.nonzero(mask)
    rays = rendering.camera.rays(np.stack([x, y], axis=1).astype(np.float64) + 0.5)
    return rendering.pose.inverse().transform(rays * rendering.depth[y, x][:, None])


def shows(cue: Floats) -> NDArray[np.bool_]:
    """Where [H, W] a photograph shows a change.

    Without the holes that an object in the colour of the ground has, and without edges that a rendering blurs.
    """
    closed = cv2.morphologyEx((cue >= SHOWN).astype(np.uint8), cv2.MORPH_CLOSE, speck(cue))
    filled = binary_fill_holes(closed).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(filled, cv2.MORPH_OPEN, speck(cue)) > 0)


def speck(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """The structuring element of a speck in an image [H, W]: 5 px across in one of 320 x 240."""
    side = 2 * round(0.5 * (SPECK * math.sqrt(image.size) - 1)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def in_image(
    points: Points, camera: Camera, pose: Pose
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], Points]:
    """(which of the points [N, 3] lie in the image, column, row and depth of each of those)."""
    at = pose.transform(points)
    pixels = camera.project(at)
    with np.errstate(invalid="ignore"):
        x, y = np.floor(pixels[:, 0]), np.floor(pixels[:, 1])
        index = np.flatnonzero((x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height))
    return index, x[index].astype(np.intp), y[index].astype(np.intp), at[index, 2]
