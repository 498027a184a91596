"""The photometric loss: against a plain implementation, its gradient against numeric differences."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from pad_ros.rendering.losses import SSIM_C1, SSIM_C2, SsimTarget, photometric_gradient, psnr


def images(seed: int = 0, size: tuple[int, int] = (17, 21), dtype: torch.dtype = torch.float64):
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.1, 0.9, (*size, 3))
    image = np.clip(target + rng.normal(0, 0.1, target.shape), 0, 1)
    return torch.from_numpy(image).to(dtype), torch.from_numpy(target).to(dtype)


def plain_ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Wang et al. 2004 with an 11 px window, sigma 1.5, zero beyond the border, one channel at a time."""
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2

    def mean(x):
        return np.stack([convolve2d(x[..., c], window, mode="same") for c in range(x.shape[2])], axis=2)

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return (2 * ma * mb + SSIM_C1) * (2 * cov + SSIM_C2) / ((ma**2 + mb**2 + SSIM_C1) * (va + vb + SSIM_C2))


def test_ssim_map_is_that_of_a_plain_implementation():
    image, target = images()
    ssim, _ = SsimTarget(target).compare(image)
    np.testing.assert_allclose(ssim.numpy(), plain_ssim(image.numpy(), target.numpy()), atol=1e-6)


def test_identical_images_have_no_loss():
    _, target = images(dtype=torch.float32)
    ssim, _ = SsimTarget(target).compare(target)
    np.testing.assert_allclose(ssim.numpy(), 1, atol=1e-4)
    loss, _ = photometric_gradient(target.clone(), SsimTarget(target), 0.2)
    assert float(loss) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("size", [(17, 21), (5, 30)])  # larger and smaller than the window
def test_gradient_is_that_of_numeric_differences(weight, size):
    image, target = images(1, size)
    ssim_target = SsimTarget(target)
    loss, gradient = photometric_gradient(image, ssim_target, weight)
    expected = (1 - weight) * (image - target).abs().mean() + weight * (
        1 - plain_ssim(image.numpy(), target.numpy()).mean()
    )
    assert float(loss) == pytest.approx(float(expected), abs=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(20):
        place = tuple(int(rng.integers(n)) for n in image.shape)
        step = torch.zeros_like(image)
        step[place] = 1e-5
        above, _ = photometric_gradient(image + step, ssim_target, weight)
        below, _ = photometric_gradient(image - step, ssim_target, weight)
        assert float(gradient[place]) == pytest.approx(float(above - below) / 2e-5, rel=1e-3, abs=1e-7)


def test_single_precision_gives_the_same_gradient():
    image, target = images(2)
    _, exact = photometric_gradient(image, SsimTarget(target), 0.2)
    _, single = photometric_gradient(image.float(), SsimTarget(target.float()), 0.2)
    np.testing.assert_allclose(single.numpy(), exact.numpy(), atol=1e-3 * float(exact.abs().max()))


def test_gradient_leads_to_the_target():
    image, target = images(3, dtype=torch.float32)
    ssim_target = SsimTarget(target)
    first, _ = photometric_gradient(image, ssim_target, 0.2)
    for _ in range(100):
        _, gradient = photometric_gradient(image, ssim_target, 0.2)
        image = image - 2.0 * gradient
    assert photometric_gradient(image, ssim_target, 0.2)[0] < 0.5 * first


def test_psnr_of_a_known_error():
    target = torch.full((8, 9, 3), 0.5)
    assert psnr(target + 0.1, target) == pytest.approx(20, abs=1e-3)
    mask = torch.zeros(8, 9, dtype=torch.bool)
    mask[2:4, 2:4] = True
    image = target.clone()
    image[mask] += 0.01
    assert psnr(image, target, mask) == pytest.approx(40, abs=1e-2)
    assert psnr(image, target) > psnr(image, target, mask)
    assert psnr(target, target) == pytest.approx(100)  # finite for equal images
