"""Inverse 3D Gaussian Splatting: a pose by gradient descent through the rasterizer.

Adam on an SE(3) offset of the part, as in SplatPose (Kruse et al. 2024, arXiv 2404.06832, section 3.2, and its public
code) and IGS (Jiang et al. 2024, doi 10.1145/3664647.3681619, section 3.2). Unlike there the offset turns the part
about its own centre, in place of the frame's origin, and moves it in units of its size, so that one rate fits models of
any frame and scale; and of all steps the pose with the lowest loss is taken, not the last.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..compute.threads import only_our_threads
from ..imaging.geometry import Array, Camera, Pose
from ..imaging.images import Image
from ..rendering.losses import SsimTarget, photometric_gradient
from ..rendering.renderer import NEAR_FAR, Renderer
from ..rendering.tensors import GaussianTensors
from ..settings import OptimizationSettings

Floats = NDArray[np.float32]

SIZE_QUANTILE = 0.9  # of the distances of the Gaussians from their centre: the size of the part


class PoseOptimizer:
    """Fits the pose of one model to images. The same image and start always give the same pose."""

    def __init__(self, renderer: Renderer, settings: OptimizationSettings) -> None:
        """renderer: gives Gaussians, background and device."""
        gaussians = renderer.gaussians
        self.settings = settings
        self._device = renderer.device
        self._gaussians = GaussianTensors.of(gaussians, renderer.device)
        self._background = torch.tensor([renderer.background.rgb01], dtype=torch.float32, device=renderer.device)
        self._centre: Array = gaussians.centre
        distances = np.linalg.norm(gaussians.means - self._centre, axis=1)
        self._size = float(np.quantile(distances, SIZE_QUANTILE))

    def fit(self, image: Image, camera: Camera, start: Pose, weights: Floats | None = None) -> Pose:
        """The pose of lowest loss on the way down from `start`.

        image: uint8 [H, W, 3], taken by the pinhole `camera`. weights [H, W], 0..1: of each pixel in the L1 loss, such
        as `view_matcher.around_points` gives; None: all the same.
        """
        scale = min(1.0, math.sqrt(self.settings.pixels / (camera.width * camera.height)))
        if scale < 1:
            camera = camera.resized(round(camera.width * scale), round(camera.height * scale))
            size = camera.width, camera.height
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            weights = None if weights is None else np.asarray(cv2.resize(weights, size, interpolation=cv2.INTER_AREA))
        with only_our_threads():
            return self._descended(_Loss(image, weights, self.settings.ssim_weight, self._device), camera, start)

    def _descended(self, loss: _Loss, camera: Camera, start: Pose) -> Pose:
        twist = torch.zeros(6, device=self._device, requires_grad=True)
        adam = torch.optim.Adam([twist], lr=self.settings.rate)
        best, lowest = np.zeros(6), math.inf
        for step in range(self.settings.steps):
            adam.param_groups[0]["lr"] = self.rate(step)
            picture = self._rendered(twist, camera, start)
            value, gradient = loss.at(picture.detach())
            if value < lowest:
                best, lowest = twist.detach().cpu().numpy().astype(np.float64), value
            adam.zero_grad()
            picture.backward(gradient)
            if twist.grad is None or not bool(torch.isfinite(twist.grad).all()):  # the camera has met the part
                break
            adam.step()
        turn, _ = cv2.Rodrigues(best[:3])
        moved = Pose.from_rt(turn, self._centre + self._size * best[3:] - turn @ self._centre)
        return start @ moved

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        s = self.settings
        times = (step + 1) / s.decay_steps if s.smooth else step // s.decay_steps
        return float(s.rate * s.decay**times)

    def _rendered(self, twist: Tensor, camera: Camera, start: Pose) -> Tensor:
        """The part [H, W, 3], turned and moved by `twist`, as the camera at `start` sees it."""
        x, y, z, zero = *twist[:3], twist.new_zeros(())
        turn = torch.linalg.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3))
        centre, first = twist.new_tensor(self._centre), twist.new_tensor(start.matrix)
        shift = centre + self._size * twist[3:] - turn @ centre
        moved = torch.cat([torch.cat([turn, shift[:, None]], dim=1), first[3:]])
        intrinsics = torch.tensor(camera.K, dtype=torch.float32, device=self._device)
        image, _, _ = self._gaussians.rasterize(
            (first @ moved)[None], intrinsics[None], camera, backgrounds=self._background, near_plane=NEAR_FAR[0],
            far_plane=NEAR_FAR[1],
        )  # fmt: skip
        return image[0]


class _Loss:
    """(1 - w) L1 + w (1 - SSIM) to an image; L1 alone, by pixels, where these have weights."""

    def __init__(self, image: Image, weights: Floats | None, ssim_weight: float, device: str) -> None:
        self._target = torch.from_numpy(image.astype(np.float32) / np.float32(255)).to(device)
        self._weights = None if weights is None else torch.from_numpy(weights.astype(np.float32))[..., None].to(device)
        self._ssim = SsimTarget(self._target)
        self._ssim_weight = ssim_weight

    def at(self, picture: Tensor) -> tuple[float, Tensor]:
        """The loss of a picture [H, W, 3], and its gradient."""
        if self._weights is None:
            loss, gradient = photometric_gradient(picture, self._ssim, self._ssim_weight)
            return float(loss), gradient
        difference = picture - self._target
        count = picture.numel()
        return float((difference.abs() * self._weights).sum() / count), difference.sign() * (self._weights / count)
