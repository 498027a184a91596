"""Compositing the Gaussians of each tile, forward and backward (Numba, eight pixels at a time).

Kerbl et al. 2023, "3D Gaussian Splatting", with gsplat's constants: alpha at most 0.999, Gaussians
below 1/255 skipped, and a pixel closes before its transmittance falls to 1e-4.

The backward pass also runs front to back: what lies behind a Gaussian is the pixel's final colour less
what has been composited so far, so one number per pixel replaces the stack of colours. A closed pixel is
marked by a negative transmittance.

A tile is cut into strips of 8 columns. Its scratch memory holds, strip after strip and row after row, one
block of vectors: transmittance, (backward: what is still to come,) and one per channel.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from ...compute.simd import (
    LANES,
    any_lane,
    exp2,
    fma,
    lanes,
    load,
    maximum,
    minimum,
    negative_abs,
    prefetch,
    select,
    splat,
    store,
    totals,
)
from ...compute.threads import kernel
from .tiles import LOG2_CUT, TILE

STRIPS = TILE // LANES
ENTRIES_AHEAD = 6  # entries between asking for a Gaussian's data and using them
MOMENTS = 8  # floats of an entry's gradient before those of its colours


def entry_stride(channels: int) -> int:
    """Floats per entry in `v_entries`: the moments, then the colours, padded to whole vectors."""
    return MOMENTS + -(-channels // LANES) * LANES


@kernel
def _rows(packed, j, top):
    """Rows (first, one past last) within the tile that starts at pixel row `top`."""
    first = max(np.ceil(packed[j, 1] - packed[j, 7] - np.float32(0.5) - top), np.float32(0.0))
    last = min(np.floor(packed[j, 1] + packed[j, 7] - np.float32(0.5) - top), np.float32(TILE - 1.0))
    return int(first), int(last) + 1


@kernel
def _open_pixels(scratch, block, left, top, width, height):
    """All 0, transmittance 1 inside the image; pixels of the tile beyond its edges are closed from the start."""
    scratch[:] = 0.0
    for s in range(STRIPS):
        inside = np.float32(width - left - s * LANES)
        in_row = select(splat(inside) > lanes(), splat(np.float32(1.0)), splat(np.float32(-1.0)))
        for r in range(TILE):
            p = (s * TILE + r) * block
            store(scratch, p, in_row if top + r < height else splat(np.float32(-1.0)))


@kernel
def _all_closed(scratch, block):
    for p in range(0, scratch.shape[0], block):  # noqa: SIM110 (Numba)
        if any_lane(load(scratch, p) > splat(np.float32(0.0))):
            return False
    return True


@kernel
def raster_forward(
    begin, end, tile_offsets, tile_gaussians, packed, colors, background, image, transmittances, stops
):  # fmt: skip
    """Fill image [H, W, C], transmittances [H, W] and stops [tiles] (end of the list's used part)."""
    height, width, channels = image.shape
    columns = (width + TILE - 1) // TILE
    block = (1 + channels) * LANES
    scratch = np.empty(STRIPS * TILE * block, np.float32)
    one, cut, closing = splat(np.float32(1.0)), splat(np.float32(LOG2_CUT)), splat(np.float32(1e-4))
    zero, ceiling = splat(np.float32(0.0)), splat(np.float32(0.999))
    for tile in range(begin, end):
        top, left = (tile // columns) * TILE, (tile % columns) * TILE
        _open_pixels(scratch, block, left, top, width, height)
        stop = tile_offsets[tile]
        while stop < tile_offsets[tile + 1]:
            j = tile_gaussians[stop]
            stop += 1
            ahead = tile_gaussians[min(stop + ENTRIES_AHEAD, tile_offsets[tile + 1] - 1)]
            prefetch(packed, ahead)
            prefetch(colors, ahead)
            r0, r1 = _rows(packed, j, np.float32(top))
            qy, qxy = splat(packed[j, 4]), splat(packed[j, 3])
            y = np.float32(top + r0 + 0.5) - packed[j, 1]
            for s in range(STRIPS):
                x = np.float32(left + s * LANES + 0.5) - packed[j, 0]
                if x > packed[j, 6] or x + np.float32(LANES - 1) < -packed[j, 6]:
                    continue
                dx = splat(x) + lanes()
                base = fma(splat(packed[j, 2]) * dx, dx, splat(packed[j, 5]))
                slope = qxy * dx
                dy = splat(y) - one
                p = (s * TILE + r0 - 1) * block
                for _ in range(r0, r1):
                    p += block
                    dy = dy + one
                    log_alpha = fma(fma(qy, dy, slope), dy, base)
                    reached = log_alpha > cut
                    if not any_lane(reached):
                        continue
                    t = load(scratch, p)
                    alpha = minimum(exp2(maximum(log_alpha, cut)), ceiling)
                    behind = t * (one - alpha)
                    passed = reached & (behind > closing)
                    store(scratch, p, select(passed, behind, select(reached, negative_abs(t), t)))
                    if not any_lane(passed):
                        continue
                    weight = select(passed, alpha * t, zero)
                    for c in range(channels):
                        q = p + (1 + c) * LANES
                        store(scratch, q, fma(weight, splat(colors[j, c]), load(scratch, q)))
            if stop & 15 == 0 and _all_closed(scratch, block):
                break
        stops[tile] = stop
        for r in range(min(TILE, height - top)):
            for k in range(min(TILE, width - left)):
                p = ((k // LANES) * TILE + r) * block + k % LANES
                t_final = abs(scratch[p])
                transmittances[top + r, left + k] = t_final
                for c in range(channels):
                    image[top + r, left + k, c] = scratch[p + (1 + c) * LANES] + t_final * background[c]


@kernel
def _load_gradients(scratch, block, left, top, image, transmittances, v_image, v_alpha):
    """Put the gradients of the tile's pixels into their blocks, and the loss-weighted colour to come."""
    height, width, channels = image.shape
    for r in range(min(TILE, height - top)):
        for k in range(min(TILE, width - left)):
            p = ((k // LANES) * TILE + r) * block + k % LANES
            rest = -transmittances[top + r, left + k] * v_alpha[top + r, left + k]
            for c in range(channels):
                v = v_image[top + r, left + k, c]
                scratch[p + (2 + c) * LANES] = v
                rest += v * image[top + r, left + k, c]  # the image includes the background
            scratch[p + LANES] = rest


@kernel
def raster_backward(
    begin, end, tile_offsets, tile_gaussians, packed, colors, image, transmittances, stops,
    v_image, v_alpha, v_entries,
):  # fmt: skip
    """Fill v_entries [E * stride]: what every tile adds to the gradients of its Gaussians.

    Per entry the sums over pixels of v = d loss / d sigma times 1, dx, dx^2, dy, dx dy, dy^2 (sigma: exponent of
    the Gaussian; dx, dy: pixel less centre), two zeros, and the gradients of the colours.
    """
    height, width, channels = image.shape
    columns = (width + TILE - 1) // TILE
    stride = MOMENTS + (channels + LANES - 1) // LANES * LANES
    block = (2 + channels) * LANES
    scratch = np.empty(STRIPS * TILE * block, np.float32)
    v_color = np.empty((stride - MOMENTS) * LANES, np.float32)
    one, cut, closing = splat(np.float32(1.0)), splat(np.float32(LOG2_CUT)), splat(np.float32(1e-4))
    zero, ceiling = splat(np.float32(0.0)), splat(np.float32(0.999))
    for tile in range(begin, end):
        top, left = (tile // columns) * TILE, (tile % columns) * TILE
        _open_pixels(scratch, block, left, top, width, height)
        _load_gradients(scratch, block, left, top, image, transmittances, v_image, v_alpha)
        for n in range(tile_offsets[tile], stops[tile]):
            j = tile_gaussians[n]
            ahead = tile_gaussians[min(n + ENTRIES_AHEAD, stops[tile] - 1)]
            prefetch(packed, ahead)
            prefetch(colors, ahead)
            r0, r1 = _rows(packed, j, np.float32(top))
            qy, qxy = splat(packed[j, 4]), splat(packed[j, 3])
            y = np.float32(top + r0 + 0.5) - packed[j, 1]
            for q in range(0, v_color.shape[0], LANES):
                store(v_color, q, zero)
            m0, mx, mxx, my, mxy, myy = zero, zero, zero, zero, zero, zero
            for s in range(STRIPS):
                x = np.float32(left + s * LANES + 0.5) - packed[j, 0]
                if x > packed[j, 6] or x + np.float32(LANES - 1) < -packed[j, 6]:
                    continue
                dx = splat(x) + lanes()
                base = fma(splat(packed[j, 2]) * dx, dx, splat(packed[j, 5]))
                slope = qxy * dx
                dy = splat(y) - one
                column0, column1 = zero, zero  # sums down the columns, where dx is constant
                p = (s * TILE + r0 - 1) * block
                for _ in range(r0, r1):
                    p += block
                    dy = dy + one
                    log_alpha = fma(fma(qy, dy, slope), dy, base)
                    reached = log_alpha > cut
                    if not any_lane(reached):
                        continue
                    t = load(scratch, p)
                    raw = exp2(maximum(log_alpha, cut))
                    alpha = minimum(raw, ceiling)
                    through = one - alpha
                    behind = t * through
                    passed = reached & (behind > closing)
                    store(scratch, p, select(passed, behind, select(reached, negative_abs(t), t)))
                    if not any_lane(passed):
                        continue
                    weight = select(passed, alpha * t, zero)
                    gain = zero
                    for c in range(channels):
                        v = load(scratch, p + (2 + c) * LANES)
                        gain = fma(v, splat(colors[j, c]), gain)
                        store(v_color, c * LANES, fma(weight, v, load(v_color, c * LANES)))
                    rest = load(scratch, p + LANES) - weight * gain
                    store(scratch, p + LANES, rest)
                    v_sigma = alpha * rest / through - weight * gain
                    v_sigma = select(passed & (raw <= ceiling), v_sigma, zero)
                    v_dy = v_sigma * dy
                    column0 = column0 + v_sigma
                    column1 = column1 + v_dy
                    myy = fma(v_dy, dy, myy)
                column0_dx = column0 * dx
                m0, mx, mxx = m0 + column0, mx + column0_dx, fma(column0_dx, dx, mxx)
                my, mxy = my + column1, fma(column1, dx, mxy)
            e = n * stride
            store(v_entries, e, totals(m0, mx, mxx, my, mxy, myy, zero, zero))
            for c in range(0, stride - MOMENTS, LANES):
                q = c * LANES
                sums = totals(
                    load(v_color, q), load(v_color, q + LANES), load(v_color, q + 2 * LANES),
                    load(v_color, q + 3 * LANES), load(v_color, q + 4 * LANES), load(v_color, q + 5 * LANES),
                    load(v_color, q + 6 * LANES), load(v_color, q + 7 * LANES),
                )  # fmt: skip
                store(v_entries, e + MOMENTS + c, sums)
        for e in range(stops[tile] * stride, tile_offsets[tile + 1] * stride, LANES):
            store(v_entries, e, zero)


@kernel
def reduce_entries(
    begin, end, order, offsets, places, v_entries, packed, opacities, with_depth,
    v_means2d, v_conics, v_opacities, v_colors, v_depths,
):  # fmt: skip
    """Sum the entries of visible Gaussians begin..end into gradients per Gaussian (zeroed before)."""
    channels = v_colors.shape[1]
    stride = MOMENTS + (channels + with_depth + LANES - 1) // LANES * LANES
    sums, zero = np.empty(stride, np.float32), splat(np.float32(0.0))
    for j in range(begin, end):
        for k in range(0, stride, LANES):
            store(sums, k, zero)
        for e in range(offsets[j], offsets[j + 1]):
            place = places[e] * stride
            for k in range(0, stride, LANES):
                store(sums, k, load(sums, k) + load(v_entries, place + k))
        i = order[j]
        a, b, c = packed[j, 2], np.float32(0.5) * packed[j, 3], packed[j, 4]
        scale = np.float32(1.3862943611198906)  # packed holds -log2(e) / 2 times the conic
        v_means2d[i, 0] = scale * (a * sums[1] + b * sums[3])
        v_means2d[i, 1] = scale * (b * sums[1] + c * sums[3])
        v_conics[i, 0], v_conics[i, 1], v_conics[i, 2] = np.float32(0.5) * sums[2], sums[4], np.float32(0.5) * sums[5]
        v_opacities[i] = -sums[0] / opacities[i]
        for k in range(channels):
            v_colors[i, k] = sums[MOMENTS + k]
        if with_depth:
            v_depths[i] = sums[MOMENTS + channels]
