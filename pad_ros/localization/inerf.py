"""iNeRF: the pose by gradient descent through a radiance field (Lin et al. 2021), from that of the most similar view.

As OmniposeAD does it (Zhou et al. 2023, section 4.2.2 and its public code): 300 steps of Adam on the colours of rays in
the regions around points of interest. Their paper lets the rate fall from .01 to 5.8e-5, the code by .8 in each hundred
steps; here it is the code's. What comes of it is a proposal: the verifier decides, so that a descent that failed is no
pose, where the original takes it as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image
from ..rendering.nerf_renderer import NerfRenderer, on_device
from ..rendering.radiance_field import Rays
from ..rendering.renderer import Renderer
from ..verdicts import Reason
from .cascade import Search
from .localizer import Localizer
from .result import Attempt, Localization
from .verification import PoseVerifier

DECAY, DECAY_STEPS = 0.8, 100  # of the rate
KERNEL, DILATIONS = 5, 3  # px around a point of interest, and how often
SEED = 0  # the same image always gives the same answer
FOUND = Localization(None, Reason.NONE, "localized by descent through the radiance field")


@dataclass(frozen=True, eq=False)
class Inerf:
    """The strategy; `renderer` is a `NerfRenderer`, `poses` are those of the map's views."""

    verifier: PoseVerifier
    localizer: Localizer
    renderer: Renderer
    poses: Sequence[Pose]
    name: ClassVar[str] = "descent"

    def attempt(self, search: Search) -> Localization | None:
        assert isinstance(self.renderer, NerfRenderer)
        query = search.query
        start = self.poses[self.localizer.most_similar_view(query)]
        pose = descend(self.renderer, query.undistorted, query.pinhole, start)
        refined = self.verifier.refine(query, pose)
        found = self.verifier.judge(refined, FOUND)
        if found.pose is None:
            search.attempts.append(Attempt(self.name, found.reason_text, refined.loss))
            search.failure = found
            return None
        return found


def descend(renderer: NerfRenderer, image: Image, camera: Camera, start: Pose) -> Pose:
    """The pose, near `start`, at which the field's rays explain the image [H, W, 3] of a pinhole camera best.

    Steps turn and shift the part about the middle of its box.
    """
    field, s, device = renderer.field, renderer.field.settings, renderer.device
    points = interesting(image)
    pixels = torch.from_numpy(points.astype(np.float32) + 0.5).to(device)
    wanted = torch.from_numpy(image[points[:, 1], points[:, 0]].astype(np.float32) / np.float32(255)).to(device)
    intrinsics, begun = on_device(camera, start, device)
    low, high = field.bounds
    centre, size = (low + high) / 2, (high - low).norm() / 2
    behind = torch.tensor(renderer.background.rgb01, dtype=torch.float32, device=device)
    twist = torch.zeros(6, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([twist], lr=s.pose_rate)
    generator = torch.Generator(device).manual_seed(SEED)
    for step in range(s.pose_steps):
        chosen = torch.randperm(len(pixels), generator=generator, device=device)[: s.pose_rays]
        rays = Rays.through(pixels[chosen], intrinsics, begun @ moved(twist, centre, size))
        loss = ((field.render(rays, behind).rgb - wanted[chosen]) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = s.pose_rate * DECAY ** ((step + 1) / DECAY_STEPS)
    with torch.no_grad():
        motion = moved(twist, centre, size).double().cpu().numpy()
    rotation, shift = motion[:3, :3], motion[:3, 3]
    return start @ Pose.from_rt(rotation, shift)


def moved(twist: Tensor, centre: Tensor, size: Tensor) -> Tensor:
    """[4, 4]: a rotation vector about `centre`, and a shift in units of `size`, of a part."""
    x, y, z = twist[:3]
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    rotation = torch.linalg.matrix_exp(skew)
    shift = centre - rotation @ centre + size * twist[3:]
    last = torch.tensor([[0.0, 0.0, 0.0, 1.0]], device=twist.device)
    return torch.cat([torch.cat([rotation, shift[:, None]], dim=1), last])


def interesting(image: Image) -> NDArray[np.int64]:
    """Pixels [N, 2] (x, y) of the regions around points of interest; all pixels where there are none."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    regions = np.zeros(grey.shape, np.uint8)
    opencv: Any = cv2
    for point in opencv.SIFT_create().detect(grey, None):
        x, y = (int(round(value)) for value in point.pt)
        regions[min(y, grey.shape[0] - 1), min(x, grey.shape[1] - 1)] = 1
    if not regions.any():
        regions[:] = 1
    regions = np.asarray(cv2.dilate(regions, np.ones((KERNEL, KERNEL), np.uint8), iterations=DILATIONS), np.uint8)
    rows, columns = np.nonzero(regions)
    return np.stack([columns, rows], axis=1)
