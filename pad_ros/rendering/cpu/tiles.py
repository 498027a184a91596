"""Which Gaussians touch which 16x16 tile, front to back (Numba).

Gaussians are sorted by depth once. Each then gets one entry per tile that its ellipse of
alpha >= 1/255 reaches (row by row of tiles, as "AccuTile" in Hanson et al. 2025, "Speedy-Splat"),
and a counting sort by tile keeps the depth order.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np

from ...compute.simd import prefetch
from ...compute.threads import kernel

TILE = 16
GAUSSIANS_AHEAD = 8  # Gaussians between asking for one's data and using them
LOG_255 = 5.541263545158426
LOG2_E = 1.4426950408889634
LOG2_CUT = -7.994353436858858  # log2(1 / 255)


@kernel
def depth_order(depths, visible):
    """Indices [V] of the Gaussians where `visible` > 0, nearest first; equal depths keep their order (radix sort)."""
    n = depths.shape[0]
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    count = 0
    for i in range(n):
        if visible[i] > 0:
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
def _pixel_range(low, high, size):
    """First and one past the last pixel of 0..size with its centre between low and high."""
    first = math.ceil(max(low - 0.5, 0.0))
    last = math.floor(min(high - 0.5, size - 1.0))
    return int(first), int(last) + 1


@kernel
def _tile_box(packed, j, width, height):
    """Tile columns and rows (first, one past last, each) of the ellipse's bounding box; empty if no pixel is in it."""
    x0, x1 = _pixel_range(np.float64(packed[j, 0]) - packed[j, 6], np.float64(packed[j, 0]) + packed[j, 6], width)
    y0, y1 = _pixel_range(np.float64(packed[j, 1]) - packed[j, 7], np.float64(packed[j, 1]) + packed[j, 7], height)
    if x1 <= x0 or y1 <= y0:
        return 0, 0, 0, 0
    return x0 // TILE, (x1 + TILE - 1) // TILE, y0 // TILE, (y1 + TILE - 1) // TILE


@kernel
def _tile_span(packed, j, row, width, height):
    """Tile columns (first, one past last) that the ellipse reaches within a row of tiles."""
    a, b, c = np.float64(packed[j, 2]), 0.5 * np.float64(packed[j, 3]), np.float64(packed[j, 4])
    x, y = np.float64(packed[j, 0]), np.float64(packed[j, 1])
    hx, hy = np.float64(packed[j, 6]), np.float64(packed[j, 7])
    low = max(row * TILE + 0.5 - y, -hy)
    high = min(min(row * TILE + TILE, height) - 0.5 - y, hy)
    # The rightmost point of the ellipse is (hx, tip), the leftmost its opposite. Within the band of rows the
    # extreme is there, or else at the edge of the band that is nearer to it.
    tip = -b / c * hx
    right_dy, left_dy = min(max(tip, low), high), min(max(-tip, low), high)
    ratio, spread = b / a, (a * c - b * b) / (a * a)
    square = hx * hx * (1.0 - b * b / (a * c))  # (x + ratio y)^2 + spread y^2 on the ellipse
    right = math.sqrt(max(square - spread * right_dy * right_dy, 0.0)) - ratio * right_dy
    left = -math.sqrt(max(square - spread * left_dy * left_dy, 0.0)) - ratio * left_dy
    slack = 1e-3 * (1.0 + hx)  # float32 conics of needles
    first, last = _pixel_range(x + left - slack, x + right + slack, width)
    if last <= first:
        return 0, 0
    return first // TILE, (last + TILE - 1) // TILE


@kernel
def gather(
    begin, end, order, means2d, conics, radii, opacities, colors, depths, with_depth, packed, sorted_colors,
):  # fmt: skip
    """For visible Gaussians begin..end what the raster loop reads, in depth order.

    packed [V, 8]: centre x, y; log2(alpha) = p5 + p2 dx^2 + p3 dx dy + p4 dy^2; half extents in x, y.
    sorted_colors [V, channels]: the colours, then the depth if `with_depth`.
    """
    channels = colors.shape[1]
    for j in range(begin, end):
        i = order[j]
        ahead = order[min(j + GAUSSIANS_AHEAD, end - 1)]
        prefetch(means2d, ahead)
        prefetch(conics, ahead)
        prefetch(radii, ahead)
        prefetch(colors, ahead)
        a, b, c = np.float64(conics[i, 0]), np.float64(conics[i, 1]), np.float64(conics[i, 2])
        log_opacity = math.log(np.float64(opacities[i]))
        # 2 sigma at alpha = 1/255; slightly more, so that rounding never drops a pixel.
        reach = 2.0 * (LOG_255 + log_opacity) * 1.0001 + 1e-4
        # In float32 the conic of a very long needle has lost its determinant; the radii then bound it.
        stretch = reach / max(a * c - b * b, 1e-9 * a * c)
        packed[j, 0], packed[j, 1] = means2d[i, 0], means2d[i, 1]
        packed[j, 2], packed[j, 3], packed[j, 4] = -0.5 * LOG2_E * a, -LOG2_E * b, -0.5 * LOG2_E * c
        packed[j, 5] = LOG2_E * log_opacity
        packed[j, 6] = min(math.sqrt(c * stretch), radii[i, 0])
        packed[j, 7] = min(math.sqrt(a * stretch), radii[i, 1])
        for k in range(channels):
            sorted_colors[j, k] = colors[i, k]
        if with_depth:
            sorted_colors[j, channels] = depths[i]


@kernel
def sort_by_tile(order, packed, width, height):
    """Which Gaussians reach each tile, in `order` [V] (rows of `packed`): an entry for each one and tile.

    (offsets [V + 1]: which entries each Gaussian has; tile_offsets [tiles + 1]: which places belong to each tile;
    tile_gaussians [E]: the Gaussian at each place; places [E]: the place of each entry).
    """
    columns, count = (width + TILE - 1) // TILE, order.shape[0]
    boxes, most = np.empty((count, 4), np.int32), 0
    for j in range(count):
        prefetch(packed, order[min(j + GAUSSIANS_AHEAD, count - 1)])
        x0, x1, y0, y1 = _tile_box(packed, order[j], width, height)
        boxes[j, 0], boxes[j, 1], boxes[j, 2], boxes[j, 3] = x0, x1, y0, y1
        most += (x1 - x0) * (y1 - y0)
    entry_tile, entry_gaussian = np.empty(most, np.int32), np.empty(most, np.int32)
    offsets, tile_offsets = np.empty(count + 1, np.int64), np.zeros(columns * (-(-height // TILE)) + 1, np.int64)
    e = 0
    for j in range(count):
        i, x0, x1, y0, y1 = order[j], boxes[j, 0], boxes[j, 1], boxes[j, 2], boxes[j, 3]
        offsets[j] = e
        for row in range(y0, y1):
            first, last = x0, x1
            if x1 - x0 > 1 and y1 - y0 > 1:
                first, last = _tile_span(packed, i, row, width, height)
                first, last = max(first, x0), min(last, x1)  # its slack may reach beyond the box
            for tile in range(row * columns + first, row * columns + last):
                entry_tile[e], entry_gaussian[e] = tile, i
                tile_offsets[tile + 1] += 1
                e += 1
    offsets[count] = e
    for tile in range(tile_offsets.shape[0] - 1):
        tile_offsets[tile + 1] += tile_offsets[tile]
    position = tile_offsets[:-1].copy()
    tile_gaussians, places = np.empty(e, np.int32), np.empty(e, np.int32)
    for k in range(e):
        place = position[entry_tile[k]]
        position[entry_tile[k]] = place + 1
        tile_gaussians[place] = entry_gaussian[k]
        places[k] = place
    return offsets, tile_offsets, tile_gaussians, places
