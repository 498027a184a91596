"""Compositing the Gaussians of each tile, forward and backward (Numba, eight pixels at a time).

Kerbl et al. 2023, "3D Gaussian Splatting", with gsplat's constants: alpha at most 0.999, Gaussians
below 1/255 skipped, and a pixel closes before its transmittance falls to 1e-4.

The backward pass also runs front to back: what lies behind a Gaussian is the pixel's final colour less
what has been composited so far, so one number per pixel replaces the stack of colours. A closed pixel is
marked by a negative transmittance.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from ._cpu_tiles import LOG2_CUT, TILE
from ._jit import kernel
from ._simd import LANES, any_lane, exp2, fma, lanes, load, minimum, negative_abs, select, splat, store, total

PIXELS = TILE * TILE
STRIPS = TILE // LANES  # a tile is cut into strips of 8 columns; scratch holds strip after strip, row after row
STRIP = TILE * LANES


@kernel
def _rows(g, top):
    """Rows (first, one past last) within the tile that starts at pixel row `top`."""
    first = max(np.ceil(g[1] - g[7] - np.float32(0.5) - top), np.float32(0.0))
    last = min(np.floor(g[1] + g[7] - np.float32(0.5) - top), np.float32(TILE - 1.0))
    return int(first), int(last) + 1


@kernel
def _open_pixels(transmittance, left, top, width, height):
    """Transmittance 1 inside the image; pixels of the tile beyond its edges are closed from the start."""
    for s in range(STRIPS):
        for r in range(TILE):
            for k in range(LANES):
                inside = left + s * LANES + k < width and top + r < height
                transmittance[s * STRIP + r * LANES + k] = 1.0 if inside else -1.0


@kernel
def _all_closed(transmittance):
    for p in range(0, PIXELS, LANES):  # noqa: SIM110 (Numba)
        if any_lane(load(transmittance, p) > splat(np.float32(0.0))):
            return False
    return True


@kernel
def raster_forward(
    begin, end, tile_offsets, tile_gaussians, packed, colors, background, image, transmittances, stops
):  # fmt: skip
    """Fill image [H, W, C], transmittances [H, W] and stops [tiles] (end of the list's used part)."""
    height, width, channels = image.shape
    columns = (width + TILE - 1) // TILE
    t_tile = np.empty(PIXELS, np.float32)
    c_tile = np.empty(channels * PIXELS, np.float32)
    one, cut, closing = splat(np.float32(1.0)), splat(np.float32(LOG2_CUT)), splat(np.float32(1e-4))
    zero, ceiling = splat(np.float32(0.0)), splat(np.float32(0.999))
    for tile in range(begin, end):
        top, left = (tile // columns) * TILE, (tile % columns) * TILE
        _open_pixels(t_tile, left, top, width, height)
        c_tile[:] = 0.0
        stop = tile_offsets[tile]
        while stop < tile_offsets[tile + 1]:
            j = tile_gaussians[stop]
            stop += 1
            g = packed[j]
            r0, r1 = _rows(g, np.float32(top))
            color = colors[j]
            qy, qxy = splat(g[4]), splat(g[3])
            for s in range(STRIPS):
                x = np.float32(left + s * LANES + 0.5) - g[0]
                if x > g[6] or x + np.float32(LANES - 1) < -g[6]:
                    continue
                dx = splat(x) + lanes()
                base = fma(splat(g[2]) * dx, dx, splat(g[5]))
                slope = qxy * dx
                for r in range(r0, r1):
                    p = s * STRIP + r * LANES
                    dy = splat(np.float32(top + r + 0.5) - g[1])
                    log_alpha = fma(fma(qy, dy, slope), dy, base)
                    reached = log_alpha > cut
                    if not any_lane(reached):
                        continue
                    t = load(t_tile, p)
                    alpha = minimum(exp2(log_alpha), ceiling)
                    behind = t * (one - alpha)
                    passed = reached & (behind > closing)
                    store(t_tile, p, select(passed, behind, select(reached, negative_abs(t), t)))
                    if any_lane(passed):
                        weight = select(passed, alpha * t, zero)
                        for c in range(channels):
                            q = c * PIXELS + p
                            store(c_tile, q, fma(weight, splat(color[c]), load(c_tile, q)))
            if stop & 15 == 0 and _all_closed(t_tile):
                break
        stops[tile] = stop
        for r in range(min(TILE, height - top)):
            for k in range(min(TILE, width - left)):
                p = (k // LANES) * STRIP + r * LANES + k % LANES
                t_final = abs(t_tile[p])
                transmittances[top + r, left + k] = t_final
                for c in range(channels):
                    image[top + r, left + k, c] = c_tile[c * PIXELS + p] + t_final * background[c]


@kernel
def raster_backward(
    begin, end, tile_offsets, tile_gaussians, tile_entries, packed, colors, background, image, transmittances, stops,
    v_image, v_alpha, v_entries,
):  # fmt: skip
    """Fill v_entries [E, 6 + C] (zeroed before): gradients of centre, conic, opacity and colour per entry."""
    height, width, channels = image.shape
    columns = (width + TILE - 1) // TILE
    t_tile, rest_tile = np.empty(PIXELS, np.float32), np.empty(PIXELS, np.float32)
    v_tile = np.empty(channels * PIXELS, np.float32)
    v_color = np.empty(channels * LANES, np.float32)
    one, cut, closing = splat(np.float32(1.0)), splat(np.float32(LOG2_CUT)), splat(np.float32(1e-4))
    zero, ceiling = splat(np.float32(0.0)), splat(np.float32(0.999))
    for tile in range(begin, end):
        top, left = (tile // columns) * TILE, (tile % columns) * TILE
        _open_pixels(t_tile, left, top, width, height)
        rest_tile[:] = 0.0
        v_tile[:] = 0.0
        for r in range(min(TILE, height - top)):
            for k in range(min(TILE, width - left)):
                p = (k // LANES) * STRIP + r * LANES + k % LANES
                # Loss-weighted colour of everything still to come, background included.
                rest = -transmittances[top + r, left + k] * v_alpha[top + r, left + k]
                for c in range(channels):
                    v = v_image[top + r, left + k, c]
                    v_tile[c * PIXELS + p] = v
                    rest += v * image[top + r, left + k, c]
                rest_tile[p] = rest
        for n in range(tile_offsets[tile], stops[tile]):
            j = tile_gaussians[n]
            g = packed[j]
            r0, r1 = _rows(g, np.float32(top))
            color = colors[j]
            qy, qxy = splat(g[4]), splat(g[3])
            touched = False
            v_color[:] = 0.0
            m0, mx, my = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            mxx, mxy, myy = np.float32(0.0), np.float32(0.0), np.float32(0.0)
            for s in range(STRIPS):
                x = np.float32(left + s * LANES + 0.5) - g[0]
                if x > g[6] or x + np.float32(LANES - 1) < -g[6]:
                    continue
                dx = splat(x) + lanes()
                base = fma(splat(g[2]) * dx, dx, splat(g[5]))
                slope = qxy * dx
                # Per column: sums over the rows of the gradient of sigma times 1, dy, dy^2.
                a0, a1, a2 = zero, zero, zero
                for r in range(r0, r1):
                    p = s * STRIP + r * LANES
                    dy = splat(np.float32(top + r + 0.5) - g[1])
                    log_alpha = fma(fma(qy, dy, slope), dy, base)
                    reached = log_alpha > cut
                    if not any_lane(reached):
                        continue
                    t = load(t_tile, p)
                    raw = exp2(log_alpha)
                    alpha = minimum(raw, ceiling)
                    behind = t * (one - alpha)
                    passed = reached & (behind > closing)
                    store(t_tile, p, select(passed, behind, select(reached, negative_abs(t), t)))
                    if not any_lane(passed):
                        continue
                    touched = True
                    weight = select(passed, alpha * t, zero)
                    gain = zero
                    for c in range(channels):
                        v = load(v_tile, c * PIXELS + p)
                        gain = fma(v, splat(color[c]), gain)
                        store(v_color, c * LANES, fma(weight, v, load(v_color, c * LANES)))
                    rest = load(rest_tile, p) - weight * gain
                    store(rest_tile, p, rest)
                    v_sigma = alpha * (rest / (one - alpha) - t * gain)
                    v_sigma = select(passed & (raw <= ceiling), v_sigma, zero)
                    a0 = a0 + v_sigma
                    v_dy = v_sigma * dy
                    a1 = a1 + v_dy
                    a2 = fma(v_dy, dy, a2)
                m0 += total(a0)
                mx += total(a0 * dx)
                mxx += total(a0 * dx * dx)
                my += total(a1)
                mxy += total(a1 * dx)
                myy += total(a2)
            if not touched:
                continue
            v = v_entries[tile_entries[n]]
            scale = np.float32(-1.3862943611198906)  # packed holds -log2(e)/2 times the conic
            a, b, c2 = g[2] * scale, g[3] * scale * np.float32(0.5), g[4] * scale
            v[0] = -(a * mx + b * my)
            v[1] = -(b * mx + c2 * my)
            v[2], v[3], v[4] = np.float32(0.5) * mxx, mxy, np.float32(0.5) * myy
            v[5] = -m0
            for c in range(channels):
                v[6 + c] = total(load(v_color, c * LANES))


@kernel
def reduce_entries(
    begin, end, order, offsets, v_entries, opacities, with_depth, v_means2d, v_conics, v_opacities, v_colors, v_depths
):  # fmt: skip
    """Sum the entries of visible Gaussians begin..end into gradients per Gaussian (zeroed before)."""
    channels = v_colors.shape[1]
    for j in range(begin, end):
        i = order[j]
        for e in range(offsets[j], offsets[j + 1]):
            v = v_entries[e]
            v_means2d[i, 0] += v[0]
            v_means2d[i, 1] += v[1]
            v_conics[i, 0] += v[2]
            v_conics[i, 1] += v[3]
            v_conics[i, 2] += v[4]
            v_opacities[i] += v[5]
            for c in range(channels):
                v_colors[i, c] += v[6 + c]
            if with_depth:
                v_depths[i] += v[6 + channels]
        v_opacities[i] /= opacities[i]  # so far: opacity times the gradient
