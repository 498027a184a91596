"""Gaussians for inference: they stay as they are, seen from pose after pose, and what does not change is computed once.

The same image as `rasterizer.project` and `rasterizer.composite` give, up to rounding, without gradients. Eight
Gaussians at a time in float32, as [blocks, rows, 8]: mean, covariance, log2 of the opacity, squared reach in standard
deviations, and the spherical harmonics. Neighbours in space are neighbours in memory.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...compute.simd import LANES, fma, load, maximum, minimum, select, splat, sqrt, store
from ...compute.threads import for_each, kernel
from ..gaussians import Gaussians
from .project import _rotation
from .raster import raster_forward
from .rasterizer import PinholeView, by_tiles
from .tiles import LOG2_E, LOG_255, depth_order, sort_by_tile

Floats = NDArray[np.float32]

MEAN, COVARIANCE, OPACITY, REACH, HARMONICS = 0, 3, 9, 10, 11  # first rows of a block
PACKED_COLUMNS = 8  # see `tiles.gather`
BLOCKS_PER_TASK = 256


@dataclass(frozen=True, eq=False)
class FixedGaussians:
    """blocks: float32 [B, rows, 8]; features: float32 [8 B, F], blended like the colours."""

    blocks: Floats
    features: Floats
    degree: int

    @staticmethod
    def of(g: Gaussians, features: Floats) -> FixedGaussians:
        """features: [N, F]."""
        order = _along_a_curve(g.means)
        count, rows = -(-len(g) // LANES), HARMONICS + 3 * (g.sh_degree + 1) ** 2
        values = np.zeros((count * LANES, rows), np.float32)
        values[:, REACH] = -1  # what only fills the last block is out of sight
        opacity = np.maximum(g.opacities[order].astype(np.float64), 1e-30)
        # 2 sigma at alpha = 1/255; slightly more, so that rounding never drops a pixel.
        reach = np.where(opacity >= 1 / 255, 2 * (LOG_255 + np.log(opacity)) * 1.0001 + 1e-4, -1)
        shown = values[: len(g)]
        shown[:, MEAN : MEAN + 3] = g.means[order]
        _covariances(g.quats[order], g.scales[order], shown[:, COVARIANCE : COVARIANCE + 6])
        shown[:, OPACITY], shown[:, REACH] = np.log2(opacity), reach
        shown[:, HARMONICS:] = g.sh[order, : (g.sh_degree + 1) ** 2].reshape(len(g), rows - HARMONICS)
        blended = np.zeros((len(values), features.shape[1]), np.float32)
        blended[: len(g)] = features[order]
        blocks = np.ascontiguousarray(values.reshape(count, LANES, rows).transpose(0, 2, 1))
        return FixedGaussians(blocks, blended, g.sh_degree)

    def render(self, view: PinholeView, background: Floats) -> tuple[Floats, Floats]:
        """(colours, features and accumulated depth [h, w, 3 + F + 1], transmittance [h, w]); background [3 + F]."""
        n, channels = len(self.features), 3 + self.features.shape[1] + 1
        packed, colors = np.empty((n, PACKED_COLUMNS), np.float32), np.empty((n, channels), np.float32)
        depths = np.empty(n, np.float32)
        colors[:, 3:-1] = self.features
        pose, intrinsics, centre = (x.astype(np.float32) for x in (view.viewmat, view.intrinsics, view.centre))
        near, far, eps2d = (np.float32(x) for x in (view.near, view.far, view.eps2d))

        def project(task: int) -> None:
            begin, end = task * BLOCKS_PER_TASK, min((task + 1) * BLOCKS_PER_TASK, len(self.blocks))
            _project(begin, end, self.blocks, self.degree, pose, intrinsics, centre, view.width, view.height,
                     near, far, eps2d, packed, colors, depths)  # fmt: skip

        for_each(project, -(-len(self.blocks) // BLOCKS_PER_TASK))
        order = depth_order(depths, depths)
        _, tile_offsets, tile_gaussians, _ = sort_by_tile(order, packed, view.width, view.height)
        image = np.empty((view.height, view.width, channels), np.float32)
        transmittances = np.empty((view.height, view.width), np.float32)
        stops = np.empty(len(tile_offsets) - 1, np.int64)
        behind = np.append(background, np.float32(0))
        by_tiles(lambda begin, end: raster_forward(
            begin, end, tile_offsets, tile_gaussians, packed, colors, behind, image, transmittances, stops,
        ), tile_offsets)  # fmt: skip
        return image, transmittances


def _along_a_curve(means: Floats) -> NDArray[np.intp]:
    """An order [N] in which what follows each other lies close together (Morton's curve)."""
    low = means.min(axis=0, keepdims=True) if len(means) else means
    span = max(float((means - low).max()), 1e-12) if len(means) else 1.0
    cells = ((means - low) * np.float32(1023 / span)).astype(np.uint32)
    key = np.zeros(len(means), np.uint32)
    for bit in range(10):
        for axis in range(3):
            key |= ((cells[:, axis] >> np.uint32(bit)) & np.uint32(1)) << np.uint32(3 * bit + axis)
    return np.argsort(key, kind="stable")


@kernel
def _covariances(quats, scales, out):
    """xx, xy, xz, yy, yz, zz [N, 6]."""
    for i in range(quats.shape[0]):
        r, _, _ = _rotation(quats, i)
        a, b, c = np.float64(scales[i, 0]) ** 2, np.float64(scales[i, 1]) ** 2, np.float64(scales[i, 2]) ** 2
        out[i, 0] = r[0] * r[0] * a + r[1] * r[1] * b + r[2] * r[2] * c
        out[i, 1] = r[0] * r[3] * a + r[1] * r[4] * b + r[2] * r[5] * c
        out[i, 2] = r[0] * r[6] * a + r[1] * r[7] * b + r[2] * r[8] * c
        out[i, 3] = r[3] * r[3] * a + r[4] * r[4] * b + r[5] * r[5] * c
        out[i, 4] = r[3] * r[6] * a + r[4] * r[7] * b + r[5] * r[8] * c
        out[i, 5] = r[6] * r[6] * a + r[7] * r[7] * b + r[8] * r[8] * c


@kernel
def _project(
    begin, end, blocks, degree, pose, intrinsics, centre, width, height, near, far, eps2d, packed, colors, depths,
):  # fmt: skip
    """Fill packed [N, 8], the colours and the depth of colors [N, 3 + F + 1], and depths [N] (0: not in sight).

    The arithmetic is that of `project.project_forward` and `harmonics.colors_forward`.
    """
    rows = blocks.shape[1]
    last = colors.shape[1] - 1
    out, basis = np.empty((12, LANES), np.float32), np.empty((16, LANES), np.float32)
    zero, one, half = splat(np.float32(0)), splat(np.float32(1)), splat(np.float32(0.5))
    r00, r01, r02, t0 = splat(pose[0, 0]), splat(pose[0, 1]), splat(pose[0, 2]), splat(pose[0, 3])
    r10, r11, r12, t1 = splat(pose[1, 0]), splat(pose[1, 1]), splat(pose[1, 2]), splat(pose[1, 3])
    r20, r21, r22, t2 = splat(pose[2, 0]), splat(pose[2, 1]), splat(pose[2, 2]), splat(pose[2, 3])
    fx, fy, cx, cy = splat(intrinsics[0]), splat(intrinsics[1]), splat(intrinsics[2]), splat(intrinsics[3])
    left, right, top, bottom = splat(intrinsics[4]), splat(intrinsics[5]), splat(intrinsics[6]), splat(intrinsics[7])
    added = splat(eps2d)
    by_a, by_b = splat(np.float32(-0.5 * LOG2_E)), splat(np.float32(LOG2_E))
    for block in range(begin, end):
        p = block * rows * LANES
        mx, my, mz = load(blocks, p), load(blocks, p + LANES), load(blocks, p + 2 * LANES)
        z = fma(r20, mx, fma(r21, my, fma(r22, mz, t2)))
        rz = one / z
        x = fma(r00, mx, fma(r01, my, fma(r02, mz, t0))) * rz
        y = fma(r10, mx, fma(r11, my, fma(r12, mz, t1))) * rz
        u, v = fma(fx, x, cx), fma(fy, y, cy)
        x, y = minimum(maximum(x, left), right), minimum(maximum(y, top), bottom)
        jx, jy = fx * rz, fy * rz
        b0, b1, b2 = jx * (r00 - x * r20), jx * (r01 - x * r21), jx * (r02 - x * r22)
        c0, c1, c2 = jy * (r10 - y * r20), jy * (r11 - y * r21), jy * (r12 - y * r22)
        q = p + COVARIANCE * LANES
        s00, s01, s02 = load(blocks, q), load(blocks, q + LANES), load(blocks, q + 2 * LANES)
        s11, s12, s22 = load(blocks, q + 3 * LANES), load(blocks, q + 4 * LANES), load(blocks, q + 5 * LANES)
        d0 = fma(s00, b0, fma(s01, b1, s02 * b2))
        d1 = fma(s01, b0, fma(s11, b1, s12 * b2))
        d2 = fma(s02, b0, fma(s12, b1, s22 * b2))
        xx = fma(b0, d0, fma(b1, d1, fma(b2, d2, added)))
        xy = fma(c0, d0, fma(c1, d1, c2 * d2))
        d0 = fma(s00, c0, fma(s01, c1, s02 * c2))
        d1 = fma(s01, c0, fma(s11, c1, s12 * c2))
        d2 = fma(s02, c0, fma(s12, c1, s22 * c2))
        yy = fma(c0, d0, fma(c1, d1, fma(c2, d2, added)))
        determinant = fma(xx, yy, zero - xy * xy)
        reach = load(blocks, p + REACH * LANES)
        known = (z > splat(near)) & (z <= splat(far)) & (determinant > zero) & (reach > zero)
        known = known & (splat(np.float32(1e30)) > determinant)
        inverse = one / determinant
        wide, tall = sqrt(xx * maximum(reach, zero)), sqrt(yy * maximum(reach, zero))
        known = known & (u + wide > zero) & (splat(np.float32(width)) > u - wide)
        known = known & (v + tall > zero) & (splat(np.float32(height)) > v - tall)
        store(out, 0, u)
        store(out, LANES, v)
        store(out, 2 * LANES, by_a * yy * inverse)
        store(out, 3 * LANES, by_b * xy * inverse)
        store(out, 4 * LANES, by_a * xx * inverse)
        store(out, 5 * LANES, load(blocks, p + OPACITY * LANES))
        store(out, 6 * LANES, wide)
        store(out, 7 * LANES, tall)
        store(out, 8 * LANES, select(known, z, zero))

        x, y, z = mx - splat(centre[0]), my - splat(centre[1]), mz - splat(centre[2])
        distance = maximum(sqrt(fma(x, x, fma(y, y, z * z))), splat(np.float32(1e-12)))
        _basis(degree, x / distance, y / distance, z / distance, basis)
        red = green = blue = half
        for k in range((degree + 1) * (degree + 1)):
            weight, q = load(basis, k * LANES), p + (HARMONICS + 3 * k) * LANES
            red = fma(weight, load(blocks, q), red)
            green = fma(weight, load(blocks, q + LANES), green)
            blue = fma(weight, load(blocks, q + 2 * LANES), blue)
        store(out, 9 * LANES, maximum(red, zero))
        store(out, 10 * LANES, maximum(green, zero))
        store(out, 11 * LANES, maximum(blue, zero))

        for lane in range(LANES):
            i = block * LANES + lane
            depths[i] = out[8, lane]
            if out[8, lane] > 0:
                for k in range(PACKED_COLUMNS):
                    packed[i, k] = out[k, lane]
                colors[i, 0], colors[i, 1], colors[i, 2] = out[9, lane], out[10, lane], out[11, lane]
                colors[i, last] = out[8, lane]


@kernel
def _scaled(factor, vector):
    return splat(np.float32(factor)) * vector


@kernel
def _basis(degree, x, y, z, b):
    """As `harmonics._basis`, of eight directions, into b [16, 8]."""
    store(b, 0, splat(np.float32(0.2820947917738781)))
    if degree < 1:
        return
    store(b, 1 * LANES, _scaled(-0.48860251190292, y))
    store(b, 2 * LANES, _scaled(0.48860251190292, z))
    store(b, 3 * LANES, _scaled(-0.48860251190292, x))
    if degree < 2:
        return
    c, s, zz = x * x - y * y, (x + x) * y, z * z
    store(b, 4 * LANES, _scaled(0.5462742152960395, s))
    store(b, 5 * LANES, _scaled(-1.092548430592079, z * y))
    store(b, 6 * LANES, _scaled(0.9461746957575601, zz) - splat(np.float32(0.3153915652525201)))
    store(b, 7 * LANES, _scaled(-1.092548430592079, z * x))
    store(b, 8 * LANES, _scaled(0.5462742152960395, c))
    if degree < 3:
        return
    t = splat(np.float32(0.4570457994644658)) - _scaled(2.285228997322329, zz)
    store(b, 9 * LANES, _scaled(-0.5900435899266435, fma(x, s, y * c)))
    store(b, 10 * LANES, _scaled(1.445305721320277, z * s))
    store(b, 11 * LANES, t * y)
    store(b, 12 * LANES, z * (_scaled(1.865881662950577, zz) - splat(np.float32(1.119528997770346))))
    store(b, 13 * LANES, t * x)
    store(b, 14 * LANES, _scaled(1.445305721320277, z * c))
    store(b, 15 * LANES, _scaled(-0.5900435899266435, x * c - y * s))
