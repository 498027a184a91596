"""Numba kernels of the demo renderer: rasterization, shadow maps, procedural textures, lighting.

No kernel reduces across threads, so the pixels do not depend on how many there are. All are in one file, because
Numba renews a cached kernel only when its own file changes.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

WHITE = 1.0
RASTER_BANDS = 16
NO_FACE = -1
SHADOW_EXTENT = 1.25  # half the side of a shadow map: the same for all scenes, so that a defect changes no other place
SHADOW_MAP_SIZE = 320
TEXELS_PER_UNIT = 0.5 * SHADOW_MAP_SIZE / SHADOW_EXTENT


@numba.njit(cache=True, error_model="numpy", inline="always")
def _along(frames: Any, k: int, axis: int, x: float, y: float, z: float) -> float:
    return frames[k, axis, 0] * x + frames[k, axis, 1] * y + frames[k, axis, 2] * z


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
def shadow_maps(vertices: Any, faces: Any, frames: Any) -> Any:
    """Orthographic depth maps [L, SHADOW_MAP_SIZE, SHADOW_MAP_SIZE] along light frames [L, 3, 3] (rows: right, down,
    forward); values are minus the depth, larger in front."""
    count, size = frames.shape[0], SHADOW_MAP_SIZE
    maps = np.full((count, size, size), -np.inf, np.float32)
    for k in numba.prange(count):
        xy = np.empty((vertices.shape[0], 2))
        near = np.empty(vertices.shape[0])
        for i in range(vertices.shape[0]):
            x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
            xy[i, 0] = TEXELS_PER_UNIT * _along(frames, k, 0, x, y, z) + 0.5 * size
            xy[i, 1] = TEXELS_PER_UNIT * _along(frames, k, 1, x, y, z) + 0.5 * size
            near[i] = -_along(frames, k, 2, x, y, z)
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
def _step(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), 0.0), 1.0)
    return t * t * (3 - 2 * t)


@numba.njit(cache=True, error_model="numpy")
def _pattern(m: Any, x: float, y: float, z: float) -> float:
    """How much of the second colour shows at a point of the sub-part's own frame (Pattern gives the numbers)."""
    kind, s, seed = int(m[0]), 1.0 / m[1], m[15]
    if kind == 1:
        n = 0.65 * _noise(x * s + seed, y * s, z * s) + 0.35 * _noise(x * s * 2.7, y * s * 2.7 + seed, z * s * 2.7)
        return _step(0.42, 0.68, n)
    if kind == 2:
        return _step(0.58, 0.72, _noise(x * s + seed, y * s, z * s))
    if kind == 3:
        fine = _noise(x * s * 0.06 + seed, y * s, z * s)
        return 0.7 * fine + 0.3 * _noise(x * s * 0.3, y * s * 0.4 + seed, z * s * 0.4)
    if kind == 4:
        t = (x + y) * s
        return _step(0.46, 0.5, abs((t - math.floor(t)) * 2 - 1))
    if kind == 5:
        angle = math.atan2(y, x) * round(6.2832 * math.hypot(x, y) * s) / 6.2832
        t, u = angle + z * s, angle - z * s
        return max(
            _step(0.5, 0.8, abs((t - math.floor(t)) * 2 - 1)),
            _step(0.5, 0.8, abs((u - math.floor(u)) * 2 - 1)),
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
    fine = 0.6 * _noise(x * 26 + seed, y * 26, z * 26) + 0.4 * _noise(x * 61, y * 61 + seed, z * 61)
    for k in range(3):
        out[k] *= 1.0 + 2.0 * m[11] * (fine - 0.5)


@numba.njit(cache=True, error_model="numpy")
def _marks(marks: Any, position: Any, normal: Any, colour: Any) -> float:
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
            w = 1.0 - _step(0.88, 1.0, d / r + 1.2 * (ragged - 0.5))
            w *= 0.8 + 0.2 * _noise(dx * f * 4, dy * f * 4, dz * f * 4 + 5.1)
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
def _lit(lights: Any, k: int, position: Any, normal: Any) -> float:
    """1 where light k reaches the point by its shadow map, soft over two texels of depth."""
    off = 1.5 / TEXELS_PER_UNIT  # from the surface, so that it does not shade itself
    x, y, z = position[0] + off * normal[0], position[1] + off * normal[1], position[2] + off * normal[2]
    u = int(TEXELS_PER_UNIT * _along(lights.frames, k, 0, x, y, z) + 0.5 * SHADOW_MAP_SIZE)
    v = int(TEXELS_PER_UNIT * _along(lights.frames, k, 1, x, y, z) + 0.5 * SHADOW_MAP_SIZE)
    if u < 0 or v < 0 or u >= SHADOW_MAP_SIZE or v >= SHADOW_MAP_SIZE:
        return 1.0
    behind = lights.maps[k, v, u] + _along(lights.frames, k, 2, x, y, z)
    return 1.0 - _step(0.0, 2.0 / TEXELS_PER_UNIT, behind)


@numba.njit(cache=True, error_model="numpy")
def _room(rx: float, ry: float, z: float, blur: float, room: Any) -> Any:
    """What a mirror shows in direction (rx, ry, z): (the room: floor and bright ceiling, a darker belt, a softbox;
    the large lamp)."""
    x, y = room[0] * rx + room[1] * ry, room[0] * ry - room[1] * rx
    up = 0.55 * _step(0.1 - blur, 0.5 + blur, z) + 0.8 * room[11] * _step(0.02 - blur, 0.25 + blur, -z)
    wall = 0.12 + 0.25 * _step(0.55 - blur, 0.75 + blur, abs(x * 0.8 + y * 0.6))
    key = 5.0 * _step(0.95 - 0.6 * blur, 0.965 + 0.035 * blur, x * room[2] + y * room[3] + z * room[4])
    side = 2.5 * _step(0.93 - 0.6 * blur, 0.95 + 0.05 * blur, -x * 0.8 + y * 0.5 + z * 0.33)
    soft = 1.0 / (1 + 60 * blur * blur)
    return wall + up + side * soft, key * soft


@numba.njit(cache=True, error_model="numpy")
def _light(position: Any, normal: Any, lights: Any, out: Any) -> float:
    """Irradiance [3] from all lights with shadows into `out`; returns the share that is not shadowed (for gloss)."""
    out[:] = 0.0
    full, open_ = 1e-9, 0.0
    for k in range(lights.colours.shape[0]):
        cosine = -_along(lights.frames, k, 2, normal[0], normal[1], normal[2])
        if cosine <= 0:
            continue
        lit = _lit(lights, k, position, normal)
        full += cosine
        open_ += cosine * lit
        for c in range(3):
            out[c] += cosine * lit * lights.colours[k, c]
    return open_ / full


@numba.njit(cache=True, error_model="numpy", inline="always")
def _tone(x: float) -> float:
    """Display level 0..1 (gamma 2) with a soft shoulder: highlights stay below the white of the background."""
    y = math.sqrt(max(x, 0.0))
    return y if y < 0.72 else 0.72 + 0.2 * (1 - math.exp(-(y - 0.72) / 0.2))


@numba.njit(cache=True, parallel=True, error_model="numpy")
def shade(face_of: Any, factor: int, geometry: Any, looks: Any, lights: Any, centre: Any) -> Any:
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
                _interpolate(face, sx + 0.5, sy + 0.5, geometry, position, normal, own)
                part = looks.face_part[face]
                material = looks.materials[part]
                _albedo(material, looks.decals, own, albedo)
                cover += _marks(looks.marks, position, normal, albedo)
                same = last_normal[0] * normal[0] + last_normal[1] * normal[1] + last_normal[2] * normal[2]
                if part != last_part or same < 0.98:  # light varies slowly: once per pixel and surface
                    openness = _light(position, normal, lights, irradiance)
                    last_part = part
                    last_normal[:] = normal
                _reflect(material, position, normal, centre, albedo, irradiance, openness, lights.room, total)
            for c in range(3):
                image[row, column, c] = int(255.0 * total[c] / (factor * factor) + 0.5)
            covered[row, column] = cover / (factor * factor)
    return image, covered


@numba.njit(cache=True, error_model="numpy")
def _interpolate(face: int, px: float, py: float, geometry: Any, position: Any, normal: Any, own: Any) -> None:
    """Position, unit normal and own coordinates of the surface at a screen point, perspective-correct."""
    xy, nearness, vertices = geometry.xy, geometry.nearness, geometry.vertices
    a, b, c = geometry.faces[face, 0], geometry.faces[face, 1], geometry.faces[face, 2]
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
        own[k] = u * geometry.local[a, k] + v * geometry.local[b, k] + w * geometry.local[c, k]
        normal[k] = u * geometry.normals[a, k] + v * geometry.normals[b, k] + w * geometry.normals[c, k]
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
