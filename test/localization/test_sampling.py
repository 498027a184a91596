"""The kernels against slow, plain implementations."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pad_ros.localization import sampling as _sampling
from pad_ros.localization.sampling import deformable_conv3x3, sample_pyramid


def naive_deformable_conv(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Equation 2 of Dai et al. (ICCV 2017), value by value, in double precision."""
    _, channels, height, width = x.shape
    image = x[0].double().numpy()
    out = np.zeros((len(weight), height, width))

    def at(row: int, column: int) -> np.ndarray:
        inside = 0 <= row < height and 0 <= column < width
        return image[:, row, column] if inside else np.zeros(channels)

    for r in range(height):
        for c in range(width):
            for k in range(9):
                y = r + k // 3 - 1 + float(offsets[0, 2 * k, r, c])
                x_ = c + k % 3 - 1 + float(offsets[0, 2 * k + 1, r, c])
                y0, x0 = int(np.floor(y)), int(np.floor(x_))
                fy, fx = y - y0, x_ - x0
                value = (1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x0 + 1))
                value = value + fy * ((1 - fx) * at(y0 + 1, x0) + fx * at(y0 + 1, x0 + 1))
                out[:, r, c] += weight[:, :, k // 3, k % 3].double().numpy() @ value
    return torch.from_numpy(out + bias.double().numpy()[:, None, None])[None]


@pytest.mark.parametrize("spread", [0.3, 3.0, 40.0])
def test_deformable_convolution(spread: float) -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn(1, 5, 7, 9, generator=generator), torch.randn(4, 5, 3, 3, generator=generator)
    bias = torch.randn(4, generator=generator)
    offsets = spread * torch.randn(1, 18, 7, 9, generator=generator)
    found = deformable_conv3x3(x, offsets, weight, bias)
    assert found.shape == (1, 4, 7, 9)
    torch.testing.assert_close(found.double(), naive_deformable_conv(x, offsets, weight, bias), atol=1e-4, rtol=1e-4)


def test_without_offsets_it_is_a_convolution() -> None:
    generator = torch.Generator().manual_seed(2)
    x, weight = torch.randn(1, 8, 12, 10, generator=generator), torch.randn(6, 8, 3, 3, generator=generator)
    found = deformable_conv3x3(x, torch.zeros(1, 18, 12, 10), weight)
    torch.testing.assert_close(found, F.conv2d(x, weight, padding=1), atol=1e-4, rtol=1e-4)


def test_the_pyramid_is_sampled_as_if_it_were_whole() -> None:
    generator = torch.Generator().manual_seed(3)
    sizes = [(64, 96), (32, 48), (8, 12), (2, 3)]
    levels = [torch.randn(1, 4, *size, generator=generator) for size in sizes]
    (left, top), (height, width) = (5, 3), (58, 86)
    whole = torch.cat([levels[0]] + [F.interpolate(level, size=sizes[0], mode="bilinear", align_corners=True)
                                     for level in levels[1:]], dim=1)  # fmt: skip
    whole = F.normalize(whole, dim=1)[:, :, top : top + height, left : left + width]
    places = torch.rand(300, 2, generator=generator) * torch.tensor([width + 8.0, height + 8.0]) - 4
    places = torch.cat([places, torch.tensor([[0.0, 0.0], [width - 1.0, height - 1.0], [-1.0, 3.0], [7.0, 1e9]])])
    grid = 2 * places / torch.tensor([width - 1.0, height - 1.0]) - 1
    expected = F.grid_sample(whole, grid[None, None], align_corners=True)[0, :, 0].T
    torch.testing.assert_close(sample_pyramid(levels, places, (left, top), (height, width)), expected,
                               atol=1e-4, rtol=1e-4)  # fmt: skip
    assert sample_pyramid(levels, torch.zeros(0, 2), (0, 0), (64, 96)).shape == (0, 16)


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0, 40.0])
def test_what_serves_on_a_gpu_is_the_same_as_the_kernels(spread: float) -> None:
    generator = torch.Generator().manual_seed(4)
    x, offsets = torch.randn(1, 5, 7, 9, generator=generator), spread * torch.randn(1, 18, 7, 9, generator=generator)
    kernels, sampled = _sampling._looked_up_taps(x, offsets), _sampling._sampled_taps(x, offsets)
    torch.testing.assert_close(sampled, kernels, atol=1e-4, rtol=1e-4)
    levels = [torch.randn(1, 4, *size, generator=generator) for size in ((64, 96), (32, 48), (8, 12), (2, 3))]
    places = torch.tensor([86.0, 58.0]) / 2 + (10 + spread) * torch.randn(40, 2, generator=generator)
    arguments = levels, places, (5, 3), (58, 86)
    torch.testing.assert_close(_sampling._sampled_pyramid(*arguments), sample_pyramid(*arguments), atol=1e-4, rtol=1e-4)
