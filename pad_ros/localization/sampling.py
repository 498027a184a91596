"""Feature maps looked up at scattered places: kernels on the CPU, PyTorch's own sampling on a GPU.

The kernels' maps are [h, w, C], so that one place is one run of memory; what nobody asks for is not computed.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..compute.threads import in_bands, kernel

Floats = NDArray[np.float32]


def deformable_conv3x3(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """3x3 convolution whose nine taps are moved by `offsets` (Dai et al., ICCV 2017), padded by 1, stride 1.

    x: [1, C, h, w]; offsets: [1, 18, h, w], (dy, dx) px for each tap in row order; weight: [O, C, 3, 3]; bias [O].
    Values are bilinear, zero outside. Returns [1, O, h, w].
    """
    _, channels, height, width = x.shape
    matrix = weight.permute(2, 3, 1, 0).reshape(9 * channels, -1)
    product = (_sampled_taps(x, offsets) if x.is_cuda else _looked_up_taps(x, offsets)) @ matrix
    if bias is not None:
        product += bias
    return product.reshape(1, height, width, -1).permute(0, 3, 1, 2)


def _looked_up_taps(x: Tensor, offsets: Tensor) -> Tensor:
    """What the nine taps of each pixel see, [h * w, 9 * C]."""
    _, channels, height, width = x.shape
    source = x[0].permute(1, 2, 0).contiguous().numpy()
    moved = offsets[0].permute(1, 2, 0).contiguous().numpy()
    taps = np.empty((height, width, 9, channels), np.float32)
    in_bands(lambda a, b: _gather_taps(source, moved, taps, a, b), height)
    return torch.from_numpy(taps).reshape(height * width, -1)


def _sampled_taps(x: Tensor, offsets: Tensor) -> Tensor:
    """The same by PyTorch."""
    _, channels, height, width = x.shape
    steps = torch.arange(9, device=x.device)
    down, across = (torch.arange(n, device=x.device, dtype=x.dtype) for n in (height, width))
    moved = offsets.reshape(9, 2, height, width)
    rows = moved[:, 0] + down[:, None] + (steps // 3 - 1)[:, None, None]
    columns = moved[:, 1] + across + (steps % 3 - 1)[:, None, None]
    places = torch.stack([columns, rows], dim=-1).reshape(-1, 2)
    found = _bilinear(x, places).reshape(9, height * width, channels)
    return found.permute(1, 0, 2).reshape(height * width, -1)


def _bilinear(x: Tensor, places: Tensor) -> Tensor:
    """Values [N, C] of x [1, C, h, w] at `places` [N, 2], pixel indices (x, y); zero outside."""
    size = torch.tensor([x.shape[3], x.shape[2]], device=x.device, dtype=x.dtype)
    grid = ((2 * places + 1) / size - 1).to(x.dtype)[None, None]
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0, :, 0].T


def sample_pyramid(levels: list[Tensor], places: Tensor, corner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Features [N, L * C] at `places` [N, 2], pixel indices (x, y) in an image of `size` (h, w).

    levels: L maps [1, C, h, w], each enlarged to the size of the first (bilinear, corners aligned) and all together
    brought to unit length at every pixel; then interpolated between pixels, zero outside the image. corner: (x, y) of
    the image in the first level.
    """
    if levels[0].is_cuda:
        return _sampled_pyramid(levels, places, corner, size)
    maps = [level[0].permute(1, 2, 0).contiguous().numpy() for level in levels]
    channels = maps[0].shape[2]
    found = np.zeros((len(places), len(maps) * channels), np.float32)
    where = places.contiguous().numpy()
    in_bands(lambda a, b: _gather_pyramid(*maps, where, *corner, *size, found, a, b), len(where))
    return torch.from_numpy(found)


def _sampled_pyramid(levels: list[Tensor], places: Tensor, corner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """`sample_pyramid` by PyTorch."""
    full = levels[0].shape[2:]
    enlarged = [F.interpolate(level, size=full, mode="bilinear", align_corners=True) for level in levels[1:]]
    whole = F.normalize(torch.cat([levels[0], *enlarged], dim=1), dim=1)
    (left, top), (height, width) = corner, size
    return _bilinear(whole[:, :, top : top + height, left : left + width], places)


@kernel
def _gather_taps(source, offsets, taps, begin, end):  # type: ignore[no-untyped-def]
    height, width, channels = source.shape
    for r in range(begin, end):
        for c in range(width):
            for k in range(9):
                y = r + k // 3 - 1 + offsets[r, c, 2 * k]
                x = c + k % 3 - 1 + offsets[r, c, 2 * k + 1]
                out = taps[r, c, k]
                out[:] = 0
                if not (-1 < y < height and -1 < x < width):
                    continue
                y0, x0 = int(np.floor(y)), int(np.floor(x))
                for dy in range(2):
                    for dx in range(2):
                        yy, xx = y0 + dy, x0 + dx
                        if 0 <= yy < height and 0 <= xx < width:
                            weight = np.float32((1 - abs(y - yy)) * (1 - abs(x - xx)))
                            row = source[yy, xx]
                            for i in range(channels):
                                out[i] += weight * row[i]


@kernel
def _gather_pyramid(  # type: ignore[no-untyped-def]
    first, second, third, fourth, places, left, top, height, width, found, begin, end
):
    channels = first.shape[2]
    pixel = np.empty(4 * channels, np.float32)
    for n in range(begin, end):
        x, y = places[n, 0], places[n, 1]
        if not (-1 < x < width and -1 < y < height):
            continue
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        for dy in range(2):
            for dx in range(2):
                xx, yy = x0 + dx, y0 + dy
                weight = (1 - abs(x - xx)) * (1 - abs(y - yy))
                if weight <= 0 or not (0 <= xx < width and 0 <= yy < height):
                    continue
                pixel[:channels] = first[top + yy, left + xx]
                _enlarged(second, top + yy, left + xx, first, pixel[channels : 2 * channels])
                _enlarged(third, top + yy, left + xx, first, pixel[2 * channels : 3 * channels])
                _enlarged(fourth, top + yy, left + xx, first, pixel[3 * channels :])
                square = np.float32(0)
                for i in range(4 * channels):
                    square += pixel[i] * pixel[i]
                factor = np.float32(weight / max(np.sqrt(square), 1e-12))
                for i in range(4 * channels):
                    found[n, i] += factor * pixel[i]


@kernel
def _enlarged(level, row, column, full, out):  # type: ignore[no-untyped-def]
    """out [C]: the value of `level` at a pixel of the map `full` that it is enlarged to."""
    height, width, channels = level.shape
    y = row * (height - 1) / max(full.shape[0] - 1, 1)
    x = column * (width - 1) / max(full.shape[1] - 1, 1)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = np.float32(y - y0), np.float32(x - x0)
    one = np.float32(1)
    a, b = (one - fy) * (one - fx), (one - fy) * fx
    c, d = fy * (one - fx), fy * fx
    for i in range(channels):
        out[i] = a * level[y0, x0, i] + b * level[y0, x1, i] + c * level[y1, x0, i] + d * level[y1, x1, i]
