"""Numba kernels of the demo renderer: rasterization, shadow maps, procedural textures, lighting.

No kernel reduces across threads, so the pixels do not depend on how many there are.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

WHITE = 1.0
RASTER_BANDS = 16
NO_FACE = -1


@numba.njit(cache=True, error_model="numpy")
def _raster_rows(xy: Any, nearness: Any, faces: Any, y0: int, y1: int, best: Any, face_of: Any) -> None:
    """Z-buffer for rows y0..y1 of `best`; `nearness` [V] is linear on the screen and larger in front."""
    width = best.shape[1]
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
        top, bottom = min(ay, by, cy), max(ay, by, cy)
        if bottom <= y0 or top >= y1:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= -1e-12:  # seen from behind (y points down)
            continue
        inverse = 1.0 / area
        wa, wb, wc = nearness[a], nearness[b], nearness[c]
        x_first = max(0, int(math.ceil(min(ax, bx, cx) - 0.5)))
        x_last = min(width - 1, int(math.floor(max(ax, bx, cx) - 0.5)))
        for y in range(max(y0, int(math.ceil(top - 0.5))), min(y1 - 1, int(math.floor(bottom - 0.5))) + 1):
            py = y + 0.5
            for x in range(x_first, x_last + 1):
                px = x + 0.5
                u = ((cx - bx) * (py - by) - (cy - by) * (px - bx)) * inverse
                v = ((ax - cx) * (py - cy) - (ay - cy) * (px - cx)) * inverse
                w = 1.0 - u - v
                if u < 0.0 or v < 0.0 or w < 0.0:
                    continue
                near = u * wa + v * wb + w * wc
                if near > best[y, x]:
                    best[y, x] = near
                    face_of[y, x] = f


@numba.njit(cache=True, parallel=True, error_model="numpy")
def rasterize(xy: Any, nearness: Any, faces: Any, height: int, width: int) -> Any:
    """The face in front at every sample [height, width] (int32, NO_FACE where there is none)."""
    best = np.full((height, width), -np.inf, np.float32)
    face_of = np.full((height, width), NO_FACE, np.int32)
    for band in numba.prange(RASTER_BANDS):
        _raster_rows(
            xy, nearness, faces, band * height // RASTER_BANDS, (band + 1) * height // RASTER_BANDS, best, face_of
        )
    return face_of


@numba.njit(cache=True, parallel=True, error_model="numpy")
def shadow_maps(vertices: Any, faces: Any, frames: Any, extent: float, size: int) -> Any:
    """Orthographic depth maps [L, size, size] along light frames [L, 3, 3] (rows: right, down, forward); values
    are minus the depth, larger in front."""
    count = frames.shape[0]
    maps = np.full((count, size, size), -np.inf, np.float32)
    scale = 0.5 * size / extent
    for k in numba.prange(count):
        xy = np.empty((vertices.shape[0], 2))
        near = np.empty(vertices.shape[0])
        for i in range(vertices.shape[0]):
            x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
            xy[i, 0] = scale * (frames[k, 0, 0] * x + frames[k, 0, 1] * y + frames[k, 0, 2] * z) + 0.5 * size
            xy[i, 1] = scale * (frames[k, 1, 0] * x + frames[k, 1, 1] * y + frames[k, 1, 2] * z) + 0.5 * size
            near[i] = -(frames[k, 2, 0] * x + frames[k, 2, 1] * y + frames[k, 2, 2] * z)
        unused = np.empty((size, size), np.int32)
        _raster_rows(xy, near, faces, 0, size, maps[k], unused)
    return maps


@numba.njit(cache=True, error_model="numpy", inline="always")
def _hash(x: int, y: int, z: int) -> float:
    h = (x * 374761393 + y * 668265263 + z * 2147483647) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777215.0


@numba.njit(cache=True, error_model="numpy")
def noise(x: float, y: float, z: float) -> float:
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
def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, error_model="numpy")
def _pattern(m: Any, x: float, y: float, z: float) -> float:
    """How much of the second colour shows at a point of the sub-part's own frame (Pattern gives the numbers)."""
    kind, s, seed = int(m[0]), 1.0 / m[1], m[15]
    if kind == 1:
        n = 0.65 * noise(x * s + seed, y * s, z * s) + 0.35 * noise(x * s * 2.7, y * s * 2.7 + seed, z * s * 2.7)
        return _step(0.42, 0.68, n)
    if kind == 2:
        return _step(0.58, 0.72, noise(x * s + seed, y * s, z * s))
    if kind == 3:
        fine = noise(x * s * 0.06 + seed, y * s, z * s)
        return 0.7 * fine + 0.3 * noise(x * s * 0.3, y * s * 0.4 + seed, z * s * 0.4)
    if kind == 4:
        t = (x + y) * s
        return _step(0.46, 0.5, abs((t - math.floor(t)) * 2 - 1))
    if kind == 5:
        angle = math.atan2(y, x) * round(6.2832 * math.hypot(x, y) * s) / 6.2832
        t, u = angle + z * s, angle - z * s
        return max(_step(0.5, 0.8, abs((t - math.floor(t)) * 2 - 1)), _step(0.5, 0.8, abs((u - math.floor(u)) * 2 - 1)))
    if kind == 6:
        return 0.7 * noise(math.hypot(x, y) * s + seed, z * s, 0.5) + 0.3 * noise(x * s * 0.3, y * s * 0.3 + seed, z)
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
def _albedo(m: Any, decals: Any, local: Any, out: Any) -> None:
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
    fine = 0.6 * noise(x * 26 + seed, y * 26, z * 26) + 0.4 * noise(x * 61, y * 61 + seed, z * 61)
    for k in range(3):
        out[k] *= 1.0 + 2.0 * m[11] * (fine - 0.5)


@numba.njit(cache=True, error_model="numpy")
def _marks(marks: Any, position: Any, normal: Any, colour: Any) -> float:
    """Blends stains and scratches into `colour`; returns how much of it they cover (0..1)."""
    cover = 0.0
    for k in range(marks.shape[0]):
        m = marks[k]
        dx, dy, dz = position[0] - m[1], position[1] - m[2], position[2] - m[3]
        facing = normal[0] * m[4] + normal[1] * m[5] + normal[2] * m[6]
        if facing < 0.3:
            continue
        r = m[7]
        if m[0] == 0.0:
            d = math.sqrt(dx * dx + dy * dy + dz * dz)
            if d > 1.6 * r:
                continue
            f = 2.2 / r
            ragged = 0.7 * noise(dx * f + 9.3, dy * f + m[7] * 700, dz * f) + 0.3 * noise(
                dx * f * 3, dy * f * 3, dz * f * 3
            )
            w = 1.0 - _step(0.88, 1.0, d / r + 1.2 * (ragged - 0.5))
            w *= 0.8 + 0.2 * noise(dx * f * 4, dy * f * 4, dz * f * 4 + 5.1)
        else:
            ex, ey, ez = m[12] - m[1], m[13] - m[2], m[14] - m[3]
            t = min(max((dx * ex + dy * ey + dz * ez) / (ex * ex + ey * ey + ez * ez), 0.0), 1.0)
            qx, qy, qz = dx - t * ex, dy - t * ey, dz - t * ez
            height = qx * m[4] + qy * m[5] + qz * m[6]
            if abs(height) > 0.05:
                continue
            d = math.sqrt(max(qx * qx + qy * qy + qz * qz - height * height, 0.0))
            w = 1.0 - _step(0.6, 1.0, d / (r * (0.55 + 0.45 * math.sin(math.pi * (0.06 + 0.88 * t)))))
        if w > 0:
            cover = max(cover, w)
            for c in range(3):
                colour[c] = colour[c] * (1 - w * m[11]) + m[8 + c] * w * m[11]
    return cover


@numba.njit(cache=True, error_model="numpy")
def _lit(maps: Any, frames: Any, k: int, position: Any, normal: Any, extent: float) -> float:
    """1 where light k reaches the point by its shadow map, soft over two texels of depth."""
    size = maps.shape[1]
    texel = 2.0 * extent / size
    x = position[0] + 1.5 * texel * normal[0]
    y = position[1] + 1.5 * texel * normal[1]
    z = position[2] + 1.5 * texel * normal[2]
    scale = 0.5 * size / extent
    u = int(scale * (frames[k, 0, 0] * x + frames[k, 0, 1] * y + frames[k, 0, 2] * z) + 0.5 * size)
    v = int(scale * (frames[k, 1, 0] * x + frames[k, 1, 1] * y + frames[k, 1, 2] * z) + 0.5 * size)
    if u < 0 or v < 0 or u >= size or v >= size:
        return 1.0
    behind = maps[k, v, u] + (frames[k, 2, 0] * x + frames[k, 2, 1] * y + frames[k, 2, 2] * z)
    return 1.0 - _step(0.0, 2.0 * texel, behind)


@numba.njit(cache=True, error_model="numpy")
def _room(rx: float, ry: float, z: float, blur: float, room: Any) -> Any:
    """What a mirror shows in direction (rx, ry, z): (the room: bright floor and ceiling, a darker belt, a softbox;
    the large lamp)."""
    x, y = room[0] * rx + room[1] * ry, room[0] * ry - room[1] * rx
    up = 0.55 * _step(0.1 - blur, 0.5 + blur, z) + 0.8 * _step(0.02 - blur, 0.25 + blur, -z)
    wall = 0.12 + 0.25 * _step(0.55 - blur, 0.75 + blur, abs(x * 0.8 + y * 0.6))
    key = 5.0 * _step(0.95 - 0.6 * blur, 0.965 + 0.035 * blur, x * room[2] + y * room[3] + z * room[4])
    side = 2.5 * _step(0.93 - 0.6 * blur, 0.95 + 0.05 * blur, -x * 0.8 + y * 0.5 + z * 0.33)
    soft = 1.0 / (1 + 60 * blur * blur)
    return wall + up + side * soft, key * soft


@numba.njit(cache=True, error_model="numpy")
def _light(position: Any, normal: Any, lights: Any, frames: Any, maps: Any, extent: float, out: Any) -> float:
    """Irradiance [3] from all lights with shadows into `out`; returns the share that is not shadowed (for gloss)."""
    out[:] = 0.0
    full, open_ = 1e-9, 0.0
    for k in range(lights.shape[0]):
        cosine = -(normal[0] * frames[k, 2, 0] + normal[1] * frames[k, 2, 1] + normal[2] * frames[k, 2, 2])
        if cosine <= 0:
            continue
        lit = _lit(maps, frames, k, position, normal, extent)
        full += cosine
        open_ += cosine * lit
        for c in range(3):
            out[c] += cosine * lit * lights[k, c]
    return open_ / full


@numba.njit(cache=True, error_model="numpy", inline="always")
def _tone(x: float) -> float:
    """Display level 0..1 (gamma 2) with a soft shoulder: highlights stay below the white of the background."""
    y = math.sqrt(max(x, 0.0))
    return y if y < 0.72 else 0.72 + 0.2 * (1 - math.exp(-(y - 0.72) / 0.2))


@numba.njit(cache=True, parallel=True, error_model="numpy")
def shade(face_of: Any, factor: int, xy: Any, nearness: Any, faces: Any, face_part: Any, vertices: Any, normals: Any,
          local: Any, materials: Any, decals: Any, marks: Any, centre: Any, lights: Any, frames: Any, maps: Any,
          extent: float, room: Any) -> Any:  # fmt: skip
    """Colours [H, W, 3] (uint8) and the share of each pixel that marks cover [H, W], from faces at
    factor x factor samples per pixel. `centre` [3] is the camera's."""
    height, width = face_of.shape[0] // factor, face_of.shape[1] // factor
    image = np.empty((height, width, 3), np.uint8)
    covered = np.zeros((height, width), np.float32)
    for row in numba.prange(height):
        position, normal, own = np.empty(3), np.empty(3), np.empty(3)
        albedo, irradiance, total = np.empty(3), np.empty(3), np.empty(3)
        last_normal = np.empty(3)
        for column in range(width):
            total[:] = 0.0
            cover = 0.0
            last_part = -1
            openness = 1.0
            for sample in range(factor * factor):
                sy, sx = row * factor + sample // factor, column * factor + sample % factor
                face = face_of[sy, sx]
                if face < 0:
                    for c in range(3):
                        total[c] += WHITE
                    continue
                _interpolate(
                    face, sx + 0.5, sy + 0.5, xy, nearness, faces, vertices, normals, local, position, normal, own
                )
                part = face_part[face]
                material = materials[part]
                _albedo(material, decals, own, albedo)
                cover += _marks(marks, position, normal, albedo)
                same = last_normal[0] * normal[0] + last_normal[1] * normal[1] + last_normal[2] * normal[2]
                if part != last_part or same < 0.98:  # light varies slowly: once per pixel and surface
                    openness = _light(position, normal, lights, frames, maps, extent, irradiance)
                    last_part = part
                    last_normal[:] = normal
                _reflect(material, position, normal, centre, albedo, irradiance, openness, room, total)
            for c in range(3):
                image[row, column, c] = int(255.0 * total[c] / (factor * factor) + 0.5)
            covered[row, column] = cover / (factor * factor)
    return image, covered


@numba.njit(cache=True, error_model="numpy")
def _interpolate(face: int, px: float, py: float, xy: Any, nearness: Any, faces: Any, vertices: Any, normals: Any,
                 local: Any, position: Any, normal: Any, own: Any) -> None:  # fmt: skip
    """Position, unit normal and own coordinates of the surface at a screen point, perspective-correct."""
    a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
    ax, ay, bx, by, cx, cy = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
    inverse = 1.0 / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    u = ((cx - bx) * (py - by) - (cy - by) * (px - bx)) * inverse
    v = ((ax - cx) * (py - cy) - (ay - cy) * (px - cx)) * inverse
    u, v, w = u * nearness[a], v * nearness[b], (1.0 - u - v) * nearness[c]
    s = 1.0 / (u + v + w)
    u, v, w = u * s, v * s, w * s
    length = 0.0
    for k in range(3):
        position[k] = u * vertices[a, k] + v * vertices[b, k] + w * vertices[c, k]
        own[k] = u * local[a, k] + v * local[b, k] + w * local[c, k]
        normal[k] = u * normals[a, k] + v * normals[b, k] + w * normals[c, k]
        length += normal[k] * normal[k]
    length = 1.0 / math.sqrt(max(length, 1e-20))
    for k in range(3):
        normal[k] *= length


@numba.njit(cache=True, error_model="numpy")
def _reflect(m: Any, position: Any, normal: Any, centre: Any, albedo: Any, irradiance: Any, openness: float,
             room: Any, total: Any) -> None:  # fmt: skip
    """Adds what one sample sends to the camera: Lambert's law, and the mirrored room with Schlick's Fresnel term."""
    vx, vy, vz = centre[0] - position[0], centre[1] - position[1], centre[2] - position[2]
    s = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz)
    vx, vy, vz = vx * s, vy * s, vz * s
    cosine = max(normal[0] * vx + normal[1] * vy + normal[2] * vz, 0.02)
    rx, ry, rz = 2 * cosine * normal[0] - vx, 2 * cosine * normal[1] - vy, 2 * cosine * normal[2] - vz
    around, lamp = _room(rx, ry, rz, m[9], room)
    unhidden = 0.25 + 0.75 * openness
    grazing = (1.0 - cosine) ** 5 * (1.0 - m[9])
    metal = m[10]
    for c in range(3):
        f0 = m[8] * (1 - metal) + metal * min(albedo[c] * 0.9, 1.0)
        mirror = f0 + (1.0 - f0) * grazing * (0.5 + 0.5 * metal)
        diffuse = albedo[c] * irradiance[c] * (1.0 - metal * (0.95 - 0.8 * m[9]))
        mirrored = (around * room[8 + c] + lamp * room[5 + c]) * unhidden
        total[c] += _tone(diffuse + mirror * mirrored)
