"""Renderings shifted by fractions of a pixel, first-order (Numba, eight values at a time).

`m` is a warp [4, 4] of the rendered points; `intrinsics` are fx, fy and the principal point as a pixel index.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from ..compute.simd import LANES, fma, lanes, load, maximum, minimum, select, splat, store
from ..compute.threads import kernel


@kernel
def shift(images, depth, distance, m, intrinsics, moved, top, bottom, left, right):
    """Each pixel less its slope times the motion of the point that it shows, or of one at `distance`.

    Of the rows top..bottom and columns left..right, but for the outermost two columns of the images.
    """
    rgb, features, alpha = images
    width = depth.shape[1]
    left, right = max(left, 2), min(right, width - 2)
    if right - left < LANES:
        return
    u, v = np.empty(right - left, np.float32), np.empty(right - left, np.float32)
    most = max(3, features.shape[2]) * (right - left) + LANES
    wide_u, wide_v = np.empty(most, np.float32), np.empty(most, np.float32)
    for y in range(top, bottom):
        _motion_of_row(alpha, depth, distance, m, intrinsics, y, left, u, v)
        _shifted(rgb, moved[0], y, left, u, v, wide_u, wide_v, True)
        _shifted(features, moved[1], y, left, u, v, wide_u, wide_v, False)
        _shifted(alpha, moved[2], y, left, u, v, wide_u, wide_v, True)


@kernel
def _motion_of_row(alpha, depth, distance, m, intrinsics, y, left, u, v):
    """How far (u, v) px a warp moves the pixels of row y from `left` on."""
    fx, fy, cx, cy = splat(intrinsics[0]), splat(intrinsics[1]), splat(intrinsics[2]), splat(intrinsics[3])
    b = splat((np.float32(y) - intrinsics[3]) / intrinsics[1])
    for i in range(0, u.shape[0] + LANES - 1, LANES):
        i = min(i, u.shape[0] - LANES)
        x = splat(np.float32(left + i)) + lanes()
        at = y * depth.shape[1] + left + i
        z = select(load(alpha, at) > splat(np.float32(0.05)), load(depth, at), splat(distance))
        p, q = (x - cx) / fx * z, b * z
        behind = fma(splat(m[2, 0]), p, fma(splat(m[2, 1]), q, fma(splat(m[2, 2]), z, splat(m[2, 3]))))
        p, q = (fma(splat(m[0, 0]), p, fma(splat(m[0, 1]), q, fma(splat(m[0, 2]), z, splat(m[0, 3])))),
                fma(splat(m[1, 0]), p, fma(splat(m[1, 1]), q, fma(splat(m[1, 2]), z, splat(m[1, 3])))))  # fmt: skip
        store(u, i, fx * p / behind + cx - x)
        store(v, i, fy * q / behind + cy - splat(np.float32(y)))


@kernel
def _shifted(image, out, y, left, u, v, wide_u, wide_v, bounded):
    """Row y of an image [H, W, C] less its slopes times (u, v); the rest is scratch memory."""
    height, width, channels = image.shape
    count = u.shape[0] * channels
    if channels == 0:
        return
    for i in range(u.shape[0]):  # for each channel of a pixel the same, what follows is written over
        for c in range(0, channels, LANES):
            store(wide_u, i * channels + c, splat(u[i]))
            store(wide_v, i * channels + c, splat(v[i]))
    stride = width * channels
    above2, above = (max(y - 2, 0) - y) * stride, (max(y - 1, 0) - y) * stride
    below, below2 = (min(y + 1, height - 1) - y) * stride, (min(y + 2, height - 1) - y) * stride
    # Differences of fourth order: edges are as sharp as a pixel.
    near, far = splat(np.float32(-2 / 3)), splat(np.float32(1 / 12))
    zero, one = splat(np.float32(0)), splat(np.float32(1))
    for i in range(0, count + LANES - 1, LANES):
        i = min(i, count - LANES)
        at = y * stride + left * channels + i
        slope = near * (load(image, at + channels) - load(image, at - channels))
        slope = fma(far, load(image, at + 2 * channels) - load(image, at - 2 * channels), slope)
        fall = near * (load(image, at + below) - load(image, at + above))
        fall = fma(far, load(image, at + below2) - load(image, at + above2), fall)
        value = fma(load(wide_u, i), slope, fma(load(wide_v, i), fall, load(image, at)))
        store(out, at, minimum(maximum(value, zero), one) if bounded else value)
