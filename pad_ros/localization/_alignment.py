"""Direct alignment of a rendering with a query: one linearisation, and Gauss-Newton steps on it.

Only the part's window is looked at. A rendered pixel is one row of 12 numbers: its 3D point in the camera frame of the
rendering, its colour, and the colour's slopes along the axes of the normalised image plane. The Jacobian by the twist,
[3, 6], is the product of these slopes with [2, 6], so that no row of it is ever stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import Array, Camera, Pose
from ..images import Image
from ..kernels import for_each, kernel, thread_count
from ..rendering._simd import LANES, fma, load, splat, store
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]  # (x0, y0, x1, y1), exclusive ends

MIN_PIXELS = 200  # of the part and its margin, below which nothing can be said
MIN_POINTS = 50  # for one linearisation
MIN_SCALE = 0.01  # smallest robust standard deviation, colour in 0..1: sensor noise and quantisation
HUBER = 1.345  # 95 % efficiency for Gaussian residuals
LOSS_CAP = 0.15  # of one pixel, colour in 0..1: a defect counts no more than a badly rendered edge
SAMPLES = 4000  # pixels at least that the scale of the residuals is taken from
CHUNK = 4096  # pixels per task; fixed, so that sums do not depend on the number of threads
BLOCK = 256  # pixels between sampling and summing: their numbers stay in the cache
SEEN_MARGIN = 4  # px around the rendered part that the loss is taken over
MARGIN = 0.1  # of the window's longer side: how far beyond the rendered part the query is looked at


def seen_window(rendering: ReferenceRendering) -> Box | None:
    """The window of the rendered part with a margin that leaves room to move; None where none of it is in sight."""
    solid = rendering.alpha > 0.5
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    if len(rows) == 0:
        return None
    height, width = solid.shape
    grow = 2 * SEEN_MARGIN + round(MARGIN * max(rows[-1] - rows[0], columns[-1] - columns[0]))
    return (max(int(columns[0]) - grow, 0), max(int(rows[0]) - grow, 0),
            min(int(columns[-1]) + 1 + grow, width), min(int(rows[-1]) + 1 + grow, height))  # fmt: skip


def nudged(rendering: ReferenceRendering, warp: Array) -> ReferenceRendering:
    """The rendering after the part moved by a warp [4, 4] of a fraction of a pixel: first-order, not rendered anew.

    Depths stay as they are.
    """
    part = rendering.inside
    alpha, depth = rendering.alpha[part], rendering.depth[part]
    solid = alpha > 0.5
    distance = float(depth[solid].mean()) if solid.any() else 1.0
    c = rendering.camera
    lens = np.array([c.fx, c.fy, c.cx - 0.5 - (part[1].start or 0), c.cy - 0.5 - (part[0].start or 0)], np.float32)
    picture = np.concatenate([rendering.rgb[part], rendering.features[part], alpha[..., None]], axis=2)
    moved = np.empty_like(picture)
    bands = np.linspace(0, len(alpha), 2 * thread_count() + 1).astype(np.int64)
    m = warp.astype(np.float32)
    for_each(lambda i: _nudge(picture, depth, distance, m, lens, moved, bands[i], bands[i + 1]), len(bands) - 1)
    rgb, features, alphas = rendering.rgb.copy(), rendering.features.copy(), rendering.alpha.copy()
    rgb[part] = np.clip(moved[..., :3], 0, 1)
    features[part] = moved[..., 3:-1]
    alphas[part] = np.clip(moved[..., -1], 0, 1)
    return replace(rendering, rgb=rgb, features=features, alpha=alphas, pose=Pose(warp @ rendering.pose.matrix))


@dataclass(frozen=True, eq=False)
class Window:
    """Query and rendering in the window of the rendered part."""

    query: Floats  # [h, w, 3] in 0..1
    rgb: Floats  # [h, w, 3]
    alpha: Floats  # [h, w]
    depth: Floats  # [h, w]
    camera: Camera  # of the window

    @staticmethod
    def of(image: Image, rendering: ReferenceRendering) -> Window | None:
        """None where none of the part is in sight."""
        box = seen_window(rendering)
        if box is None:
            return None
        x0, y0, x1, y1 = box
        part = np.s_[y0:y1, x0:x1]
        query = np.multiply(image[part], np.float32(1 / 255), dtype=np.float32)
        camera = rendering.camera.cropped(x0, y0, x1 - x0, y1 - y0)
        rgb, alpha, depth = (np.ascontiguousarray(a[part]) for a in (rendering.rgb, rendering.alpha, rendering.depth))
        return Window(query, rgb, alpha, depth, camera)

    def loss(self) -> float:
        """Mean absolute difference, each pixel's capped, over the rendered part and a margin around it."""
        size = 2 * SEEN_MARGIN + 1
        seen = cv2.dilate((self.alpha > 0.5).astype(np.uint8), np.ones((size, size), np.uint8))
        total, count = _capped_difference(self.query, self.rgb, seen)
        return float(total / count) if count >= MIN_PIXELS else float("inf")

    def shrunk(self, level: float) -> Window:
        """At a fraction of the resolution."""
        if level == 1.0:
            return self
        size = (max(round(self.camera.width * level), 16), max(round(self.camera.height * level), 16))
        query, rgb, alpha, weighted = (
            cv2.resize(a, size, interpolation=cv2.INTER_AREA)
            for a in (self.query, self.rgb, self.alpha, self.depth * self.alpha)
        )
        depth = weighted / np.maximum(alpha, np.float32(1e-6))
        return Window(query, rgb, alpha, depth, self.camera.resized(*size))


@dataclass(frozen=True, eq=False)
class Linearisation:
    """Rendered pixels with their points and slopes, and the query that they are to be found in."""

    query: Floats  # [h, w, 3]
    pixels: Floats  # [M, 12]: point, colour, slope along x, slope along y
    lens: Floats  # [4] fx, fy, and the principal point as a pixel index (centres at whole numbers)

    @staticmethod
    def of(window: Window) -> Linearisation | None:
        """None where too little of the part is in sight."""
        c = window.camera
        lens = np.array([c.fx, c.fy, c.cx - 0.5, c.cy - 0.5], np.float32)
        pixels = _solid_pixels(window.rgb, window.alpha, window.depth, lens)
        if len(pixels) < MIN_POINTS:
            return None
        return Linearisation(window.query, pixels, lens)

    def solve(self, warp: Array, steps: int, precision: float) -> Array:
        """The warp [4, 4] of the rendered points that fits the query best, from `warp` on.

        Inverse compositional Gauss-Newton: the Jacobian stays, the warp takes the inverse of each step. It ends
        where a step moves the points by less than `precision` pixels.
        """
        for _ in range(steps):
            hessian, gradient = self._normal_equations(warp, HUBER * self._scale(warp))
            hessian[np.diag_indices(6)] *= 1 + 1e-4
            try:
                step: Array = np.linalg.solve(hessian, gradient).astype(np.float64)
            except np.linalg.LinAlgError:
                break
            back = _inverse_motion(step)
            warp = warp @ back
            if self.motion(back) < precision:
                break
        return warp

    def motion(self, warp: Array) -> float:
        """How many pixels a warp [4, 4] moves the points, on average."""
        points = self.pixels[:: max(len(self.pixels) // 500, 1), :3].astype(np.float64)
        moved = points @ warp[:3, :3].T + warp[:3, 3]
        flow = moved[:, :2] / moved[:, 2:] - points[:, :2] / points[:, 2:]
        return float(np.abs(flow).mean() * float(self.lens[0]))

    def covariance(self) -> Array | None:
        """Inverse of the normal equations at no warp, for neighbouring pixels whose errors are correlated."""
        scale = self._scale(np.eye(4))
        hessian, _ = self._normal_equations(np.eye(4), HUBER * scale)
        correlated = 3 * 9  # three channels, and a patch of about 3x3 pixels, err together
        try:
            return np.asarray(np.linalg.inv(hessian) * scale**2 * correlated)
        except np.linalg.LinAlgError:
            return None

    def _scale(self, warp: Array) -> float:
        """Robust standard deviation; the median over all pixels is that of flat areas, edges have more."""
        step = max(len(self.pixels) // SAMPLES, 1)
        known = _absolute_residuals(self.query, self.pixels, warp.astype(np.float32), self.lens, step)
        return max(1.4826 * float(np.median(known)), MIN_SCALE) if len(known) else MIN_SCALE

    def _normal_equations(self, warp: Array, cutoff: float) -> tuple[Array, Array]:
        """Huber-weighted J^T W J [6, 6] and J^T W r [6]."""
        count = (len(self.pixels) + CHUNK - 1) // CHUNK
        sums = np.zeros((count, 27 * LANES), np.float32)
        moved, cut = warp.astype(np.float32), np.float32(cutoff)

        def task(i: int) -> None:
            first, last = i * CHUNK, min((i + 1) * CHUNK, len(self.pixels))
            _accumulate(self.query, self.pixels, first, last, moved, self.lens, cut, sums[i])

        for_each(task, count)
        total = sums.astype(np.float64).sum(axis=0).reshape(27, LANES).sum(axis=1)
        hessian = np.zeros((6, 6))
        hessian[np.tril_indices(6)] = total[:21]
        return hessian + np.tril(hessian, -1).T, total[21:]


def _inverse_motion(twist: Array) -> Array:
    """The inverse of the rigid motion [4, 4] by a twist, as `Pose.retract` takes it."""
    matrix = np.eye(4)
    rotation, _ = cv2.Rodrigues(twist[:3])
    matrix[:3, :3], matrix[:3, 3] = rotation.T, -rotation.T @ twist[3:]
    return matrix


@kernel
def _nudge(
    picture: Floats, depth: Floats, distance: float, m: Floats, lens: Floats, out: Floats, first: int, last: int
) -> None:
    """Each pixel less its slope times the motion of the point that it shows, or of one at `distance`."""
    height, width, channels = picture.shape
    near, far, one = np.float32(2 / 3), np.float32(1 / 12), np.float32(1)
    for y in range(first, last):
        for x in range(width):
            z = depth[y, x] if picture[y, x, channels - 1] > np.float32(0.05) else np.float32(distance)
            a, b = (np.float32(x) - lens[2]) / lens[0] * z, (np.float32(y) - lens[3]) / lens[1] * z
            inverse = one / (m[2, 0] * a + m[2, 1] * b + m[2, 2] * z + m[2, 3])
            u = lens[0] * (m[0, 0] * a + m[0, 1] * b + m[0, 2] * z + m[0, 3]) * inverse + lens[2] - np.float32(x)
            v = lens[1] * (m[1, 0] * a + m[1, 1] * b + m[1, 2] * z + m[1, 3]) * inverse + lens[3] - np.float32(y)
            x0, x1, x3, x4 = max(x - 2, 0), max(x - 1, 0), min(x + 1, width - 1), min(x + 2, width - 1)
            y0, y1, y3, y4 = max(y - 2, 0), max(y - 1, 0), min(y + 1, height - 1), min(y + 2, height - 1)
            # Differences of fourth order: edges are as sharp as a pixel.
            for c in range(channels):
                slope = near * (picture[y, x3, c] - picture[y, x1, c]) - far * (picture[y, x4, c] - picture[y, x0, c])
                fall = near * (picture[y3, x, c] - picture[y1, x, c]) - far * (picture[y4, x, c] - picture[y0, x, c])
                out[y, x, c] = picture[y, x, c] - u * slope - v * fall


@kernel
def _capped_difference(query: Floats, rgb: Floats, seen: NDArray[np.uint8]) -> tuple[float, int]:
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
def _solid_pixels(rgb: Floats, alpha: Floats, depth: Floats, lens: Floats) -> Floats:
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
def _residual(query, pixels, i, m, lens, out):  # type: ignore[no-untyped-def]
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
def _absolute_residuals(query: Floats, pixels: Floats, warp: Floats, lens: Floats, step: int) -> Floats:
    """Of every `step`-th pixel that lies in the query, all channels."""
    out = np.empty(3 * (pixels.shape[0] // step + 1), np.float32)
    r = np.empty(3, np.float32)
    count = 0
    for i in range(0, pixels.shape[0], step):
        if _residual(query, pixels, i, warp, lens, r):
            for c in range(3):
                out[count] = abs(r[c])
                count += 1
    return out[:count]


@kernel
def _weigh(query, pixels, begin, end, warp, lens, cutoff, out):  # type: ignore[no-untyped-def]
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
def _accumulate(query, pixels, begin, end, warp, lens, cutoff, sums):  # type: ignore[no-untyped-def]
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
