"""The loops of `_alignment` over pixels (Numba); the sums eight pixels at a time.

Rows of 12 numbers stand for rendered pixels: point, colour, the colour's slopes; `m` is a warp [4, 4], `lens` fx, fy
and the principal point as a pixel index.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..kernels import kernel
from ..rendering._simd import LANES, fma, load, splat, store

Floats = NDArray[np.float32]

LOSS_CAP = 0.15  # of one pixel, colour in 0..1: a defect counts no more than a badly rendered edge
BLOCK = 256  # pixels between sampling and summing: their numbers stay in the cache
SUMS = 27 * LANES  # floats that `_accumulate` adds to
MIN_SCALE = 0.01  # smallest robust standard deviation, colour in 0..1: sensor noise and quantisation
HUBER = 1.345  # 95 % efficiency for Gaussian residuals
DAMPING = 1e-4  # of the diagonal


@kernel
def nudge(pictures, depth, distance, m, lens, moved, top, bottom, left, right):
    """Each pixel less its slope times the motion of the point that it shows, or of one at `distance`."""
    rgb, features, alpha = pictures
    new_rgb, new_features, new_alpha = moved
    height, width = depth.shape
    one = np.float32(1)
    for y in range(top, bottom):
        y0, y1, y3, y4 = max(y - 2, 0), max(y - 1, 0), min(y + 1, height - 1), min(y + 2, height - 1)
        for x in range(left, right):
            x0, x1, x3, x4 = max(x - 2, 0), max(x - 1, 0), min(x + 1, width - 1), min(x + 2, width - 1)
            around = alpha[y, x, 0] + alpha[y, x0, 0] + alpha[y, x1, 0] + alpha[y, x3, 0] + alpha[y, x4, 0]
            if around + alpha[y0, x, 0] + alpha[y1, x, 0] + alpha[y3, x, 0] + alpha[y4, x, 0] == 0:
                continue
            z = depth[y, x] if alpha[y, x, 0] > np.float32(0.05) else distance
            a, b = (np.float32(x) - lens[2]) / lens[0] * z, (np.float32(y) - lens[3]) / lens[1] * z
            inverse = one / (m[2, 0] * a + m[2, 1] * b + m[2, 2] * z + m[2, 3])
            u = lens[0] * (m[0, 0] * a + m[0, 1] * b + m[0, 2] * z + m[0, 3]) * inverse + lens[2] - np.float32(x)
            v = lens[1] * (m[1, 0] * a + m[1, 1] * b + m[1, 2] * z + m[1, 3]) * inverse + lens[3] - np.float32(y)
            for c in range(3):
                value = _moved(rgb, y, x, c, u, v, y0, y1, y3, y4, x0, x1, x3, x4)
                new_rgb[y, x, c] = min(max(value, np.float32(0)), one)
            for c in range(features.shape[2]):
                new_features[y, x, c] = _moved(features, y, x, c, u, v, y0, y1, y3, y4, x0, x1, x3, x4)
            value = _moved(alpha, y, x, 0, u, v, y0, y1, y3, y4, x0, x1, x3, x4)
            new_alpha[y, x, 0] = min(max(value, np.float32(0)), one)


@kernel
def _moved(p, y, x, c, u, v, y0, y1, y3, y4, x0, x1, x3, x4):
    # Differences of fourth order: edges are as sharp as a pixel.
    near, far = np.float32(2 / 3), np.float32(1 / 12)
    slope = near * (p[y, x3, c] - p[y, x1, c]) - far * (p[y, x4, c] - p[y, x0, c])
    fall = near * (p[y3, x, c] - p[y1, x, c]) - far * (p[y4, x, c] - p[y0, x, c])
    return p[y, x, c] - u * slope - v * fall


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
def solid_pixels(rgb: Floats, alpha: Floats, depth: Floats, lens: Floats) -> Floats:
    """The rows [M, 12] of the pixels that are more part than background, but for the outermost of the window."""
    height, width = alpha.shape
    half = np.float32(0.5)
    count = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            count += alpha[y, x] > half
    out = np.empty((count, 12), np.float32)
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    i = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if alpha[y, x] > half:
                z = depth[y, x]
                out[i, 0], out[i, 1], out[i, 2] = (x - cx) / fx * z, (y - cy) / fy * z, z
                for c in range(3):
                    out[i, 3 + c] = rgb[y, x, c]
                    out[i, 6 + c] = half * fx * (rgb[y, x + 1, c] - rgb[y, x - 1, c])
                    out[i, 9 + c] = half * fy * (rgb[y + 1, x, c] - rgb[y - 1, x, c])
                i += 1
    return out


@kernel
def steep_pixels(pixels, share, most):
    """Every k-th, so that they are at most `most`, of the rows whose squared slope exceeds `share` of the mean; k."""
    squared = np.empty(pixels.shape[0], np.float32)
    total = 0.0
    for i in range(pixels.shape[0]):
        s = 0.0
        for c in range(6, 12):
            s += pixels[i, c] * pixels[i, c]
        squared[i] = s
        total += s
    limit = np.float32(share * total / pixels.shape[0])
    count = 0
    for i in range(pixels.shape[0]):
        count += squared[i] > limit
    every = max((count + most - 1) // most, 1)
    out = np.empty(((count + every - 1) // every, 12), np.float32)
    k = 0
    for i in range(pixels.shape[0]):
        if squared[i] > limit:
            if k % every == 0:
                out[k // every] = pixels[i]
            k += 1
    return out, every


@kernel
def _residual(query, pixels, i, m, lens, out):
    """out [3]: the query where point i lies, moved by m (bilinear), less its rendered colour; False outside it."""
    height, width, _ = query.shape
    x, y, z = pixels[i, 0], pixels[i, 1], pixels[i, 2]
    inverse = np.float32(1) / (m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3])
    u = lens[0] * (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) * inverse + lens[2]
    v = lens[1] * (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) * inverse + lens[3]
    if not (u >= 0 and v >= 0 and u < width - 1 and v < height - 1):
        return False
    column, row = int(u), int(v)
    a, b = u - np.float32(column), v - np.float32(row)
    one = np.float32(1)
    w00, w01, w10, w11 = (one - b) * (one - a), (one - b) * a, b * (one - a), b * a
    for c in range(3):
        value = w00 * query[row, column, c] + w01 * query[row, column + 1, c]
        value += w10 * query[row + 1, column, c] + w11 * query[row + 1, column + 1, c]
        out[c] = value - pixels[i, 3 + c]
    return True


@kernel
def _absolute_residuals(query: Floats, pixels: Floats, warp: Floats, lens: Floats) -> Floats:
    """Of the pixels that lie in the query, all channels."""
    out = np.empty(3 * pixels.shape[0], np.float32)
    r = np.empty(3, np.float32)
    count = 0
    for i in range(pixels.shape[0]):
        if _residual(query, pixels, i, warp, lens, r):
            for c in range(3):
                out[count] = abs(r[c])
                count += 1
    return out[:count]


@kernel
def _weigh(query, pixels, begin, end, warp, lens, cutoff, out):
    """Fill out [8 * BLOCK] for pixels begin..end: x, y, 1 / z, weighted products of the slopes, of slopes and residual.

    The last vector is filled up with zeros. Returns how many numbers of each kind there are.
    """
    r = np.empty(3, np.float32)
    one = np.float32(1)
    for i in range(begin, end):
        k = i - begin
        uu, uv, vv, ur, vr = np.float32(0), np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        if _residual(query, pixels, i, warp, lens, r):
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
def _accumulate(query, pixels, begin, end, warp, lens, cutoff, sums):
    """sums [27, 8]: the upper triangle of J^T W J, then J^T W r, of pixels begin..end, spread over eight lanes."""
    block, rows = np.empty(8 * BLOCK, np.float32), np.empty(24 * LANES, np.float32)
    one, zero = splat(np.float32(1)), splat(np.float32(0))
    for first in range(begin, end, BLOCK):
        count = _weigh(query, pixels, first, min(first + BLOCK, end), warp, lens, cutoff, block)
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
def residual_scale(query, samples, warp, lens):
    """Robust standard deviation; the median over all pixels is that of flat areas, edges have more."""
    known = _absolute_residuals(query, samples, warp, lens)
    return max(1.4826 * np.median(known), MIN_SCALE) if len(known) else MIN_SCALE


@kernel
def normal_equations(query, pixels, warp, lens, scale):
    """Huber-weighted J^T W J [6, 6] and J^T W r [6] at a `warp` (float32)."""
    sums = np.zeros(SUMS, np.float32)
    _accumulate(query, pixels, 0, pixels.shape[0], warp, lens, np.float32(HUBER * scale), sums)
    total = sums.reshape(27, LANES).astype(np.float64).sum(axis=1)
    hessian = np.empty((6, 6))
    entry = 0
    for k in range(6):
        for m in range(k + 1):
            hessian[k, m] = hessian[m, k] = total[entry]
            entry += 1
    return hessian, total[21:]


@kernel
def _solved(hessian, gradient):
    """The solution [6] of the damped equations by Cholesky's decomposition; False where there is none."""
    lower, x = np.zeros((6, 6)), np.zeros(6)
    for k in range(6):
        for m in range(k + 1):
            rest = hessian[k, m] * (1 + DAMPING if k == m else 1.0)
            for i in range(m):
                rest -= lower[k, i] * lower[m, i]
            if k != m:
                lower[k, m] = rest / lower[m, m]
            elif rest > 0:
                lower[k, k] = np.sqrt(rest)
            else:
                return False, x
    for k in range(6):
        x[k] = (gradient[k] - lower[k, :k] @ x[:k]) / lower[k, k]
    for k in range(5, -1, -1):
        x[k] = (x[k] - lower[k + 1 :, k].copy() @ x[k + 1 :]) / lower[k, k]
    return True, x


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
def motion(samples, warp, lens):
    """How many pixels a warp [4, 4] moves the points of every fourth row, on average."""
    total, count = 0.0, 0
    for i in range(0, samples.shape[0], 4):
        x, y, z = np.float64(samples[i, 0]), np.float64(samples[i, 1]), np.float64(samples[i, 2])
        depth = warp[2, 0] * x + warp[2, 1] * y + warp[2, 2] * z + warp[2, 3]
        total += abs((warp[0, 0] * x + warp[0, 1] * y + warp[0, 2] * z + warp[0, 3]) / depth - x / z)
        total += abs((warp[1, 0] * x + warp[1, 1] * y + warp[1, 2] * z + warp[1, 3]) / depth - y / z)
        count += 2
    return total / max(count, 1) * lens[0]


@kernel
def solve(query, pixels, samples, lens, warp, steps, precision):
    """See `Linearisation.solve`."""
    for _ in range(steps):
        moved = warp.astype(np.float32)
        scale = residual_scale(query, samples, moved, lens)
        hessian, gradient = normal_equations(query, pixels, moved, lens, scale)
        solvable, step = _solved(hessian, gradient)
        if not solvable:
            break
        back = _inverse_motion(step)
        warp = warp @ back
        if motion(samples, back, lens) < precision:
            break
    return warp
