"""Numba kernels of the demo renderer: procedural textures, decals, stains and scratches."""

from __future__ import annotations

import math
from typing import Any

import numba


@numba.njit(cache=True, error_model="numpy", inline="always")
def _hash(x: int, y: int, z: int) -> float:
    h = (x * 374761393 + y * 668265263 + z * 2147483647) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777215.0


@numba.njit(cache=True, error_model="numpy")
def _noise(x: float, y: float, z: float) -> float:
    """Value noise in 0..1 with features of size 1."""
    ix, iy, iz = int(math.floor(x)), int(math.floor(y)), int(math.floor(z))
    fx, fy, fz = x - ix, y - iy, z - iz
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    total = 0.0
    for dz in range(2):
        wz = fz if dz else 1 - fz
        for dy in range(2):
            wy = wz * (fy if dy else 1 - fy)
            total += wy * ((1 - fx) * _hash(ix, iy + dy, iz + dz) + fx * _hash(ix + 1, iy + dy, iz + dz))
    return total


@numba.njit(cache=True, error_model="numpy", inline="always")
def smooth_step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, error_model="numpy")
def _pattern(m: Any, x: float, y: float, z: float) -> float:
    """How much of the second colour shows at a point of the sub-part's own frame (Pattern gives the numbers)."""
    kind, s, seed = int(m[0]), 1.0 / m[1], m[15]
    if kind == 1:
        n = 0.65 * _noise(x * s + seed, y * s, z * s) + 0.35 * _noise(x * s * 2.7, y * s * 2.7 + seed, z * s * 2.7)
        return smooth_step(0.42, 0.68, n)
    if kind == 2:
        return smooth_step(0.58, 0.72, _noise(x * s + seed, y * s, z * s))
    if kind == 3:
        fine = _noise(x * s * 0.06 + seed, y * s, z * s)
        return 0.7 * fine + 0.3 * _noise(x * s * 0.3, y * s * 0.4 + seed, z * s * 0.4)
    if kind == 4:
        t = (x + y) * s
        return smooth_step(0.46, 0.5, abs((t - math.floor(t)) * 2 - 1))
    if kind == 5:
        angle = math.atan2(y, x) * round(6.2832 * math.hypot(x, y) * s) / 6.2832
        t, u = angle + z * s, angle - z * s
        return max(
            smooth_step(0.5, 0.8, abs((t - math.floor(t)) * 2 - 1)),
            smooth_step(0.5, 0.8, abs((u - math.floor(u)) * 2 - 1)),
        )
    if kind == 6:
        return 0.7 * _noise(math.hypot(x, y) * s + seed, z * s, 0.5) + 0.3 * _noise(x * s * 0.3, y * s * 0.3 + seed, z)
    return 0.0


@numba.njit(cache=True, error_model="numpy")
def _decal(texels: Any, u: float, v: float, out: Any) -> None:
    size = texels.shape[0]
    x = min(max(u * size - 0.5, 0.0), size - 1.001)
    y = min(max(v * size - 0.5, 0.0), size - 1.001)
    ix, iy = int(x), int(y)
    fx, fy = x - ix, y - iy
    for k in range(3):
        top = texels[iy, ix, k] * (1 - fx) + texels[iy, ix + 1, k] * fx
        low = texels[iy + 1, ix, k] * (1 - fx) + texels[iy + 1, ix + 1, k] * fx
        out[k] = top * (1 - fy) + low * fy


@numba.njit(cache=True, error_model="numpy")
def albedo_at(m: Any, decals: Any, local: Any, out: Any) -> None:
    """The surface colour [3] at a point of the sub-part's own frame."""
    x, y, z = local[0], local[1], local[2]
    decal = int(m[12])
    if decal >= 0 and z > 0 and abs(x) <= 0.5 * m[13] and abs(y) <= 0.5 * m[14]:
        _decal(decals[decal], x / m[13] + 0.5, 0.5 - y / m[14], out)
    else:
        p = _pattern(m, x, y, z)
        for k in range(3):
            out[k] = m[2 + k] * (1 - p) + m[5 + k] * p
    seed = m[16]
    fine = 0.6 * _noise(x * 26 + seed, y * 26, z * 26) + 0.4 * _noise(x * 61, y * 61 + seed, z * 61)
    for k in range(3):
        out[k] *= 1.0 + 2.0 * m[11] * (fine - 0.5)


@numba.njit(cache=True, error_model="numpy")
def blend_marks(marks: Any, position: Any, normal: Any, colour: Any) -> float:
    """Blends stains and scratches into `colour`; returns how much of it they cover (0..1)."""
    cover = 0.0
    for k in range(marks.shape[0]):
        m = marks[k]
        dx, dy, dz = position[0] - m[1], position[1] - m[2], position[2] - m[3]
        if normal[0] * m[4] + normal[1] * m[5] + normal[2] * m[6] < 0.3:  # the surface faces elsewhere
            continue
        r = m[7]
        if m[0] == 0.0:
            d = math.sqrt(dx * dx + dy * dy + dz * dz)
            if d > 1.6 * r:
                continue
            f = 2.2 / r
            ragged = 0.7 * _noise(dx * f + 9.3, dy * f + m[7] * 700, dz * f)
            ragged += 0.3 * _noise(dx * f * 3, dy * f * 3, dz * f * 3)
            w = 1.0 - smooth_step(0.88, 1.0, d / r + 1.2 * (ragged - 0.5))
            w *= 0.8 + 0.2 * _noise(dx * f * 4, dy * f * 4, dz * f * 4 + 5.1)
        else:
            ex, ey, ez = m[12] - m[1], m[13] - m[2], m[14] - m[3]
            t = min(max((dx * ex + dy * ey + dz * ez) / (ex * ex + ey * ey + ez * ez), 0.0), 1.0)
            qx, qy, qz = dx - t * ex, dy - t * ey, dz - t * ez
            height = qx * m[4] + qy * m[5] + qz * m[6]
            if abs(height) > 0.05:
                continue
            d = math.sqrt(max(qx * qx + qy * qy + qz * qz - height * height, 0.0))
            w = 1.0 - smooth_step(0.6, 1.0, d / (r * (0.55 + 0.45 * math.sin(math.pi * (0.06 + 0.88 * t)))))
        if w > 0:
            cover = max(cover, w)
            for c in range(3):
                colour[c] = colour[c] * (1 - w * m[11]) + m[8 + c] * w * m[11]
    return cover
