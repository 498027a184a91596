"""The photometric loss of 3D Gaussian Splatting and its gradient in closed form.

Autograd through SSIM costs more than the rasterizer itself on a CPU; here the gradient is a few blurs, for float32 on
a CPU by kernels of our own (`photometric_kernels`).
"""

from __future__ import annotations

from functools import cache, cached_property

import torch
from torch import Tensor
from torch.nn import functional

from .photometric_kernels import SSIM_C1, SSIM_C2, Comparison, window


def blur(image: Tensor) -> Tensor:  # [H, W, C] -> [H, W, C]
    """Gaussian window of SSIM (11 px, sigma 1.5), zero outside the image, so that it is self-adjoint."""
    channels = image.shape[-1]
    kernel = _window(image.dtype, image.device).expand(channels, 1, 1, -1)
    x = image.permute(2, 0, 1)[None]
    x = functional.conv2d(x, kernel, padding=(0, 5), groups=channels)
    x = functional.conv2d(x, kernel.transpose(2, 3), padding=(5, 0), groups=channels)
    return x[0].permute(1, 2, 0)


@cache
def _window(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sent to a GPU once."""
    half = torch.from_numpy(window()).to(device, dtype)
    return torch.cat([half.flip(0), half[1:]])


class SsimTarget:
    """What SSIM needs of a target image [H, W, 3] in 0..1, computed once."""

    def __init__(self, target: Tensor) -> None:
        self.target = target

    @cached_property
    def kernels(self) -> Comparison:
        return Comparison(self.target.numpy())

    @cached_property
    def mean(self) -> Tensor:
        return blur(self.target)

    @cached_property
    def variance(self) -> Tensor:
        return blur(self.target * self.target) - self.mean**2

    def compare(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """SSIM map [H, W, 3] of `image`, and the gradient of its sum with respect to `image`.

        Wang et al. 2004, equation 13.
        """
        mean = blur(image)
        variance = blur(image * image) - mean**2
        covariance = blur(image * self.target) - mean * self.mean
        a1, a2 = 2 * mean * self.mean + SSIM_C1, 2 * covariance + SSIM_C2
        b1, b2 = mean**2 + self.mean**2 + SSIM_C1, variance + self.variance + SSIM_C2
        denominator = 1 / (b1 * b2)
        ssim = a1 * a2 * denominator
        by_variance = -ssim / b2
        by_covariance = 2 * a1 * denominator
        by_mean = 2 * self.mean * a2 * denominator - 2 * ssim * mean / b1
        gradient = (
            blur(by_mean - 2 * mean * by_variance - self.mean * by_covariance)
            + 2 * image * blur(by_variance)
            + self.target * blur(by_covariance)
        )
        return ssim, gradient


def photometric_gradient(image: Tensor, target: SsimTarget, ssim_weight: float) -> tuple[Tensor, Tensor]:
    """(1 - w) L1 + w (1 - SSIM), averaged over pixels and channels, and its gradient [H, W, 3].

    Kerbl et al. 2023, equation 7 (w = 0.2). Nothing of it waits for a GPU.
    """
    count = image.numel()
    if image.device.type == "cpu" and image.dtype == torch.float32:
        sums = target.kernels.gradient(image.contiguous().numpy(), (1 - ssim_weight) / count, ssim_weight / count)
        loss = torch.tensor((1 - ssim_weight) * sums[0] / count + ssim_weight * (1 - sums[1] / count))
        return loss, torch.from_numpy(sums[2])
    difference = image - target.target
    loss = (1 - ssim_weight) * difference.abs().mean()
    gradient = difference.sign() * ((1 - ssim_weight) / count)
    if ssim_weight > 0:
        ssim, by_image = target.compare(image)
        loss = loss + ssim_weight * (1 - ssim.mean())
        gradient -= by_image * (ssim_weight / count)
    return loss, gradient


def psnr(image: Tensor, target: Tensor, mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB of images [H, W, 3] in 0..1; only where `mask` [H, W] is True."""
    squared = (image - target) ** 2
    error = squared.mean() if mask is None else squared[mask].mean()
    return float(-10 * torch.log10(error.clamp_min(1e-10)))
