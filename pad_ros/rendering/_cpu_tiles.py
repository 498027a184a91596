"""Which Gaussians touch which 16x16 tile, front to back (Numba).

Gaussians are sorted by depth once. Each then gets one entry per tile that its ellipse of
alpha >= 1/255 reaches (row by row of tiles, as "AccuTile" in Hanson et al. 2025, "Speedy-Splat"),
and a counting sort by tile keeps the depth order. Entries of one Gaussian lie side by side, so that
gradients written per entry are summed in a fixed order.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np

from ._jit import kernel

TILE = 16
LOG2_E = 1.4426950408889634
LOG2_CUT = -7.994353436858858  # log2(1 / 255)


@kernel
def depth_order(depths, radii):
    """Indices [V] of the visible Gaussians, nearest first; equal depths keep their order (radix sort)."""
    n = depths.shape[0]
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    count = 0
    for i in range(n):
        if radii[i, 0] > 0:
            order[count] = i
            count += 1
    bits = depths.view(np.int32)  # depths are positive: their bit patterns sort like integers
    histogram = np.empty(2048, np.int64)
    for shift in (0, 11, 22):
        histogram[:] = 0
        for j in range(count):
            histogram[(bits[order[j]] >> shift) & 2047] += 1
        position = 0
        for k in range(2048):
            step = histogram[k]
            histogram[k] = position
            position += step
        for j in range(count):
            k = (bits[order[j]] >> shift) & 2047
            other[histogram[k]] = order[j]
            histogram[k] += 1
        order, other = other, order
    return order[:count]


@kernel
def gather(order, means2d, conics, opacities, colors, depths, with_depth, packed, sorted_colors):
    """Per visible Gaussian what the raster loop reads, in depth order.

    packed [V, 8]: centre x, y; log2(alpha) = p5 + p2 dx^2 + p3 dx dy + p4 dy^2; half extents in x, y.
    sorted_colors [V, channels]: the colours, then the depth if `with_depth`.
    """
    channels = colors.shape[1]
    for j in range(order.shape[0]):
        i = order[j]
        a, b, c = np.float64(conics[i, 0]), np.float64(conics[i, 1]), np.float64(conics[i, 2])
        opacity = np.float64(opacities[i])
        # 2 sigma at alpha = 1/255; a hair more, so that rounding never drops a pixel.
        reach = 2.0 * math.log(255.0 * opacity) * 1.0001 + 1e-4
        determinant = a * c - b * b
        packed[j, 0], packed[j, 1] = means2d[i, 0], means2d[i, 1]
        packed[j, 2], packed[j, 3], packed[j, 4] = -0.5 * LOG2_E * a, -LOG2_E * b, -0.5 * LOG2_E * c
        packed[j, 5] = math.log2(opacity)
        packed[j, 6], packed[j, 7] = math.sqrt(reach * c / determinant), math.sqrt(reach * a / determinant)
        for k in range(channels):
            sorted_colors[j, k] = colors[i, k]
        if with_depth:
            sorted_colors[j, channels] = depths[i]


@kernel
def pixel_range(centre, extent, size):
    """First and one past the last pixel of 0..size whose centre lies within centre +- extent."""
    first = math.ceil(max(centre - extent - 0.5, 0.0))
    last = math.floor(min(centre + extent - 0.5, size - 1.0))
    return int(first), int(last) + 1


@kernel
def _tile_span(g, top, bottom, width):
    """Tile columns (first, one past last) that the ellipse reaches between pixel rows top..bottom - 1."""
    a, b, c = np.float64(g[2]), 0.5 * np.float64(g[3]), np.float64(g[4])
    hx, hy = np.float64(g[6]), np.float64(g[7])
    low, high = max(top + 0.5 - g[1], -hy), min(bottom - 0.5 - g[1], hy)
    # x(dy) on the ellipse is at most hx, at dy = b/c hx... : the band's maximum is there or at its nearer edge.
    tip = -b / c * hx
    right_dy, left_dy = min(max(tip, low), high), min(max(-tip, low), high)
    reach = a * hx * hx * (1.0 - b * b / (a * c))  # value of the quadratic form on the ellipse
    spread = (a * c - b * b) / (a * a)
    right = -b / a * right_dy + math.sqrt(max(reach / a - spread * right_dy * right_dy, 0.0))
    left = -b / a * left_dy - math.sqrt(max(reach / a - spread * left_dy * left_dy, 0.0))
    slack = 1e-3
    first, _ = pixel_range(g[0] + left - slack, 0.0, width)
    _, last = pixel_range(g[0] + right + slack, 0.0, width)
    return first // TILE, (last + TILE - 1) // TILE if last > first else first // TILE


@kernel
def count_entries(packed, width, height, offsets):
    """offsets [V + 1]: where the entries of each Gaussian begin; the last is their total."""
    total = 0
    for j in range(packed.shape[0]):
        offsets[j] = total
        g = packed[j]
        y0, y1 = pixel_range(g[1], g[7], height)
        x0, x1 = pixel_range(g[0], g[6], width)
        if y1 <= y0 or x1 <= x0:
            continue
        for row in range(y0 // TILE, (y1 - 1) // TILE + 1):
            first, last = _tile_span(g, max(y0, row * TILE), min(y1, row * TILE + TILE), width)
            total += last - first
    offsets[packed.shape[0]] = total


@kernel
def fill_tiles(packed, width, height, offsets, tile_offsets, tile_gaussians, tile_entries):
    """tile_offsets [tiles + 1]; per tile, front to back: Gaussian (its place in `packed`) and entry, both [E]."""
    columns = (width + TILE - 1) // TILE
    total = offsets[packed.shape[0]]
    entry_tile = np.empty(total, np.int32)
    tile_offsets[:] = 0
    for j in range(packed.shape[0]):
        e = offsets[j]
        if offsets[j + 1] == e:
            continue
        g = packed[j]
        y0, y1 = pixel_range(g[1], g[7], height)
        for row in range(y0 // TILE, (y1 - 1) // TILE + 1):
            first, last = _tile_span(g, max(y0, row * TILE), min(y1, row * TILE + TILE), width)
            for tile in range(row * columns + first, row * columns + last):
                entry_tile[e] = tile
                tile_offsets[tile + 1] += 1
                e += 1
    for tile in range(tile_offsets.shape[0] - 1):
        tile_offsets[tile + 1] += tile_offsets[tile]
    position = tile_offsets[:-1].copy()
    for j in range(packed.shape[0]):
        for e in range(offsets[j], offsets[j + 1]):
            place = position[entry_tile[e]]
            position[entry_tile[e]] = place + 1
            tile_gaussians[place] = j
            tile_entries[place] = e
