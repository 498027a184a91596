"""The loops of `alignment` over pixels (Numba); the sums eight pixels at a time.

Rows of 12 numbers stand for rendered pixels: point, colour, the colour's slopes; `m` is a warp [4, 4]; `intrinsics`
are fx, fy and the principal point as a pixel index.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..compute.simd import LANES, fma, load, splat, store
from ..compute.threads import kernel

Floats = NDArray[np.float32]

LOSS_CAP = 0.15  # of one pixel, colour in 0..1: a defect counts no more than a badly rendered edge
BLOCK = 256  # pixels between sampling and summing: their numbers stay in the cache
SUMS = 27 * LANES  # floats that `_accumulate` adds to
MIN_RESIDUAL_SCALE = 0.01  # smallest robust standard deviation, colour in 0..1: sensor noise and quantisation
HUBER_CUTOFF = 1.345  # 95 % efficiency for Gaussian residuals
RESIDUAL_SCRATCH = 3 + LANES
DAMPING = 1e-4  # of the diagonal


@kernel
def capped_difference(query: Floats, rgb: Floats, seen: NDArray[np.uint8]) -> tuple[float, int]:
    total, count = 0.0, 0
    for y in range(seen.shape[0]):
        for x in range(seen.shape[1]):
            if seen[y, x]:
                d = abs(query[y, x, 0] - rgb[y, x, 0])
                d += abs(query[y, x, 1] - rgb[y, x, 1])
                d += abs(query[y, x, 2] - rgb[y, x, 2])
                total += min(d / np.float32(3), np.float32(LOSS_CAP))
                count += 1
    return total, count


@kernel
def steep_and_samples(rgb, alpha, depth, intrinsics, share, most, samples):
    """Rows of pixels that are more part than background, but for the outermost of the window.

    Steep ones, whose squared slope exceeds `share` of the mean [M, 12]; the k of which these are every k-th, so that
    they are at most `most`; and at least `samples` of them all, where there are so many [S, 12].
    """
    height, width = alpha.shape
    half = np.float32(0.5)
    squared = np.full((height, width), np.float32(-1))
    fx, fy = half * intrinsics[0], half * intrinsics[1]
    total, solid = 0.0, 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if alpha[y, x] > half:
                squared[y, x] = 0
                for c in range(3):
                    u, v = fx * (rgb[y, x + 1, c] - rgb[y, x - 1, c]), fy * (rgb[y + 1, x, c] - rgb[y - 1, x, c])
                    squared[y, x] += u * u + v * v
                total += squared[y, x]
                solid += 1
    limit = np.float32(share * total / max(solid, 1))
    count = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            count += squared[y, x] > limit
    every, step = max((count + most - 1) // most, 1), max(solid // samples, 1)
    steep = np.empty(((count + every - 1) // every, 12), np.float32)
    some = np.empty(((solid + step - 1) // step, 12), np.float32)
    i, k = 0, 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if squared[y, x] >= 0:
                if i % step == 0:
                    _row(rgb, depth, intrinsics, y, x, some[i // step])
                i += 1
                if squared[y, x] > limit:
                    if k % every == 0:
                        _row(rgb, depth, intrinsics, y, x, steep[k // every])
                    k += 1
    return steep, every, some


@kernel
def _row(rgb, depth, intrinsics, y, x, out):
    z = depth[y, x]
    out[0], out[1], out[2] = (x - intrinsics[2]) / intrinsics[0] * z, (y - intrinsics[3]) / intrinsics[1] * z, z
    half = np.float32(0.5)
    for c in range(3):
        out[3 + c] = rgb[y, x, c]
        out[6 + c] = half * intrinsics[0] * (rgb[y, x + 1, c] - rgb[y, x - 1, c])
        out[9 + c] = half * intrinsics[1] * (rgb[y + 1, x, c] - rgb[y - 1, x, c])


@kernel
def _residual(query, pixels, i, m, intrinsics, out):
    """out [3]: the query where point i lies, moved by m (bilinear), less its rendered colour; False outside it.

    The rest of out [RESIDUAL_SCRATCH] is scratch memory. The query's last column is left out.
    """
    height, width, _ = query.shape
    x, y, z = pixels[i, 0], pixels[i, 1], pixels[i, 2]
    inverse = np.float32(1) / (m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3])
    u = intrinsics[0] * (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) * inverse + intrinsics[2]
    v = intrinsics[1] * (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) * inverse + intrinsics[3]
    if not (u >= 0 and v >= 0 and u < width - 2 and v < height - 1):
        return False
    column, row = int(u), int(v)
    a, b = u - np.float32(column), v - np.float32(row)
    at = 3 * (row * width + column)  # two pixels from here on are six of eight numbers
    top, bottom = load(query, at), load(query, at + 3 * width)
    store(out, 3, fma(splat(b), bottom - top, top))
    for c in range(3):
        out[c] = out[3 + c] + a * (out[6 + c] - out[3 + c]) - pixels[i, 3 + c]
    return True


@kernel
def _absolute_residuals(query: Floats, pixels: Floats, warp: Floats, intrinsics: Floats) -> Floats:
    """Of the pixels that lie in the query, all channels."""
    out = np.empty(3 * pixels.shape[0], np.float32)
    r = np.empty(RESIDUAL_SCRATCH, np.float32)
    count = 0
    for i in range(pixels.shape[0]):
        if _residual(query, pixels, i, warp, intrinsics, r):
            for c in range(3):
                out[count] = abs(r[c])
                count += 1
    return out[:count]


@kernel
def _weigh(query, pixels, begin, end, warp, intrinsics, cutoff, out):
    """Fill out [8 * BLOCK] for pixels begin..end: x, y, 1 / z, weighted products of the slopes, of slopes and residual.

    The last vector is filled up with zeros. Returns how many numbers of each kind there are.
    """
    r = np.empty(RESIDUAL_SCRATCH, np.float32)
    one = np.float32(1)
    for i in range(begin, end):
        k = i - begin
        uu, uv, vv, ur, vr = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        if _residual(query, pixels, i, warp, intrinsics, r):
            for c in range(3):
                size = abs(r[c])
                weight = one if size <= cutoff else cutoff / size
                gu, gv = pixels[i, 6 + c], pixels[i, 9 + c]
                wu, wv = weight * gu, weight * gv
                uu += wu * gu
                uv += wu * gv
                vv += wv * gv
                ur += wu * r[c]
                vr += wv * r[c]
        inverse = one / pixels[i, 2]
        out[k], out[BLOCK + k], out[2 * BLOCK + k] = pixels[i, 0] * inverse, pixels[i, 1] * inverse, inverse
        out[3 * BLOCK + k], out[4 * BLOCK + k], out[5 * BLOCK + k] = uu, uv, vv
        out[6 * BLOCK + k], out[7 * BLOCK + k] = ur, vr
    count = end - begin
    while count % LANES:
        for kind in range(8):
            out[kind * BLOCK + count] = 0
        count += 1
    return count


@kernel
def _accumulate(query, pixels, begin, end, warp, intrinsics, cutoff, sums):
    """sums [27, 8]: the upper triangle of J^T W J, then J^T W r, of pixels begin..end, spread over eight lanes."""
    block, rows = np.empty(8 * BLOCK, np.float32), np.empty(24 * LANES, np.float32)
    one, zero = splat(np.float32(1)), splat(np.float32(0))
    for first in range(begin, end, BLOCK):
        count = _weigh(query, pixels, first, min(first + BLOCK, end), warp, intrinsics, cutoff, block)
        for i in range(0, count, LANES):
            x, y, inverse = load(block, i), load(block, BLOCK + i), load(block, 2 * BLOCK + i)
            uu, uv, vv = load(block, 3 * BLOCK + i), load(block, 4 * BLOCK + i), load(block, 5 * BLOCK + i)
            ur, vr = load(block, 6 * BLOCK + i), load(block, 7 * BLOCK + i)
            # How the point's place in the normalised image plane, its x and its y, moves with the twist.
            store(rows, 0, zero - x * y)
            store(rows, 8, fma(x, x, one))
            store(rows, 16, zero - y)
            store(rows, 24, inverse)
            store(rows, 32, zero)
            store(rows, 40, zero - x * inverse)
            store(rows, 48, zero - fma(y, y, one))
            store(rows, 56, x * y)
            store(rows, 64, x)
            store(rows, 72, zero)
            store(rows, 80, inverse)
            store(rows, 88, zero - y * inverse)
            entry = 0
            for k in range(6):
                a, b = load(rows, k * LANES), load(rows, (6 + k) * LANES)
                store(rows, (12 + k) * LANES, fma(uu, a, uv * b))
                store(rows, (18 + k) * LANES, fma(uv, a, vv * b))
                store(sums, (21 + k) * LANES, fma(ur, a, fma(vr, b, load(sums, (21 + k) * LANES))))
                for m in range(k + 1):
                    p, q = load(rows, (12 + m) * LANES), load(rows, (18 + m) * LANES)
                    store(sums, entry, fma(a, p, fma(b, q, load(sums, entry))))
                    entry += LANES


@kernel
def residual_scale(query, samples, warp, intrinsics):
    """Robust standard deviation; the median over all pixels is that of flat areas, edges have more."""
    known = _absolute_residuals(query, samples, warp, intrinsics)
    return max(1.4826 * np.median(known), MIN_RESIDUAL_SCALE) if len(known) else MIN_RESIDUAL_SCALE


@kernel
def normal_equations(query, pixels, warp, intrinsics, scale):
    """Huber-weighted J^T W J [6, 6] and J^T W r [6] at a `warp` (float32)."""
    sums = np.zeros(SUMS, np.float32)
    _accumulate(query, pixels, 0, pixels.shape[0], warp, intrinsics, np.float32(HUBER_CUTOFF * scale), sums)
    total = sums.reshape(27, LANES).astype(np.float64).sum(axis=1)
    hessian = np.empty((6, 6))
    entry = 0
    for k in range(6):
        for m in range(k + 1):
            hessian[k, m] = hessian[m, k] = total[entry]
            entry += 1
    return hessian, total[21:]


@kernel
def _damped(hessian):
    """A copy with a larger diagonal, and whether it can be solved with."""
    damped = hessian.copy()
    for k in range(6):
        damped[k, k] *= 1 + DAMPING
    return damped, np.linalg.det(damped) > 0


@kernel
def _inverse_motion(twist):
    """The inverse of the rigid motion [4, 4] by a twist, as `Pose.retract` takes it (Rodrigues' formula)."""
    x, y, z = twist[0], twist[1], twist[2]
    angle = np.sqrt(x * x + y * y + z * z)
    a, b = 1.0 - angle**2 / 6, 0.5 - angle**2 / 24
    if angle > 1e-3:
        a, b = np.sin(angle) / angle, (1 - np.cos(angle)) / angle**2
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    back = np.eye(4)
    back[:3, :3] = np.eye(3) - a * cross + b * (cross @ cross)
    back[:3, 3] = -(back[:3, :3].copy() @ twist[3:])
    return back


@kernel
def motion(samples, warp, intrinsics):
    """How many pixels a warp [4, 4] moves the points of every fourth row, on average."""
    total, count = 0.0, 0
    for i in range(0, samples.shape[0], 4):
        x, y, z = np.float64(samples[i, 0]), np.float64(samples[i, 1]), np.float64(samples[i, 2])
        depth = warp[2, 0] * x + warp[2, 1] * y + warp[2, 2] * z + warp[2, 3]
        total += abs((warp[0, 0] * x + warp[0, 1] * y + warp[0, 2] * z + warp[0, 3]) / depth - x / z)
        total += abs((warp[1, 0] * x + warp[1, 1] * y + warp[1, 2] * z + warp[1, 3]) / depth - y / z)
        count += 2
    return total / max(count, 1) * intrinsics[0]


@kernel
def solve(query, pixels, samples, intrinsics, warp, steps, precision):
    """See `Linearisation.solve`."""
    for _ in range(steps):
        moved = warp.astype(np.float32)
        scale = residual_scale(query, samples, moved, intrinsics)
        hessian, gradient = normal_equations(query, pixels, moved, intrinsics, scale)
        damped, solvable = _damped(hessian)
        if not solvable:
            break
        back = _inverse_motion(np.linalg.solve(damped, gradient))
        warp = warp @ back
        if motion(samples, back, intrinsics) < precision:
            break
    return warp
