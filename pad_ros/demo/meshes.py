"""Triangle meshes of the shapes that machine parts are made of.

Every function returns a closed mesh in its own frame, in reference units, with outward normals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mapbox_earcut
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

CREASE_COSINE = np.cos(np.radians(38.0))  # neighbours that meet at a smaller angle are shaded as one smooth surface


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles with a normal per vertex (vertices on sharp edges are doubled)."""

    vertices: Array  # [V, 3]
    normals: Array  # [V, 3] unit
    faces: NDArray[np.int32]  # [F, 3]

    def transformed(self, matrix: Array) -> Mesh:
        """The mesh moved by a rigid 4x4 matrix."""
        return Mesh(self.vertices @ matrix[:3, :3].T + matrix[:3, 3], self.normals @ matrix[:3, :3].T, self.faces)


def join(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.normals for mesh in meshes]),
        np.concatenate([mesh.faces + offset for mesh, offset in zip(meshes, offsets, strict=False)]).astype(np.int32),
    )


def at(x: float = 0, y: float = 0, z: float = 0, rx: float = 0, ry: float = 0, rz: float = 0) -> Array:
    """Rigid matrix [4, 4]: turned about x, then y, then z (degrees), then moved to (x, y, z)."""
    m = np.eye(4)
    m[:3, :3] = Rotation.from_euler("xyz", (rx, ry, rz), degrees=True).as_matrix()
    m[:3, 3] = x, y, z
    return m


def box(x: float, y: float, z: float, radius: float = 0.02, steps: int = 3) -> Mesh:
    """A box of edge lengths x, y, z about the origin, its edges rounded."""
    half = np.array([x, y, z]) / 2
    radius = min(radius, 0.999 * float(half.min()))
    meshes = []
    for axis, sign in [(axis, sign) for axis in range(3) for sign in (-1, 1)]:
        i, j = (axis + 1) % 3, (axis + 2) % 3
        u, v = (_rounded_samples(half[k], radius, steps) for k in (i, j))
        cube = np.empty((len(u), len(v), 3))
        cube[..., i], cube[..., j], cube[..., axis] = u[:, None], v, sign * half[axis]
        inner = np.clip(cube, -(half - radius), half - radius)
        normals = (cube - inner) / np.linalg.norm(cube - inner, axis=-1, keepdims=True)
        vertices = inner + radius * normals
        faces = grid_faces(len(u), len(v))[:, ::sign]
        meshes.append(Mesh(vertices.reshape(-1, 3), normals.reshape(-1, 3), faces))
    return join(meshes)


def lathe(profile: Sequence[tuple[float, float]], segments: int = 40) -> Mesh:
    """The surface swept by a profile of (radius, z) points turned about z, listed with the material on the left
    (bottom to top on the outside)."""
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    around = np.stack([np.cos(angle), np.sin(angle), np.ones_like(angle)], axis=-1)
    faces = grid_faces(2, segments + 1)[:, ::-1]
    strips = zip(*_strips(np.array(profile, dtype=np.float64), closed=False))
    swept = [[pairs[:, None, [0, 0, 1]] * around for pairs in strip] for strip in strips]  # [2, S, 3] each
    return join([Mesh(ring.reshape(-1, 3), normals.reshape(-1, 3), faces) for ring, normals in swept])


def cylinder(radius: float, height: float, chamfer: float = 0.015, segments: int = 40) -> Mesh:
    """A cylinder along z about the origin."""
    h, c = height / 2, min(chamfer, 0.45 * radius, 0.45 * height)
    profile = [(0, -h), (radius - c, -h), (radius, c - h), (radius, h - c), (radius - c, h), (0, h)]
    return lathe(profile, segments)


def ring(inner: float, outer: float, height: float, chamfer: float = 0.012, segments: int = 40) -> Mesh:
    """A flat ring or pipe along z about the origin."""
    h, c = height / 2, min(chamfer, 0.3 * (outer - inner), 0.45 * height)
    profile = [(inner, c - h), (inner + c, -h), (outer - c, -h), (outer, c - h), (outer, h - c), (outer - c, h),
               (inner + c, h), (inner, h - c), (inner, c - h)]  # fmt: skip
    return lathe(profile, segments)


def sphere(radius: float, segments: int = 32) -> Mesh:
    """A sphere about the origin."""
    t = np.linspace(-np.pi / 2, np.pi / 2, segments // 2 + 1)
    return lathe([(radius * max(np.cos(a), 0.0), radius * np.sin(a)) for a in t], segments)


def torus(major: float, minor: float, segments: int = 48, sides: int = 16) -> Mesh:
    """A torus about z."""
    t = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    path = np.stack([major * np.cos(t), major * np.sin(t), 0 * t], axis=1)
    return sweep(path, minor, sides, closed=True)


def sweep(path: Array, radius: float, sides: int = 14, closed: bool = False) -> Mesh:
    """A round tube of `radius` along a smooth path [P, 3]; open ends are closed with flat caps."""
    path = np.asarray(path, dtype=np.float64)
    if closed:
        path = np.concatenate([path, path[:1]])
        tangent = np.gradient(np.concatenate([path[-2:-1], path, path[1:2]]), axis=0)[1:-1]
    else:
        tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.empty_like(path)
    side[0] = np.cross(tangent[0], np.eye(3)[np.argmin(np.abs(tangent[0]))])
    for k in range(1, len(path)):  # parallel transport: no twist
        side[k] = side[k - 1] - tangent[k] * (side[k - 1] @ tangent[k])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(tangent, side)
    t = np.linspace(0, 2 * np.pi, sides + 1)
    normals = side[:, None] * np.cos(t)[:, None] + other[:, None] * np.sin(t)[:, None]  # [P, S, 3]
    rings = path[:, None] + radius * normals
    meshes = [Mesh(rings.reshape(-1, 3), normals.reshape(-1, 3), grid_faces(len(path), sides + 1)[:, ::-1])]
    if not closed:
        fan = np.asarray(np.arange(sides)[:, None] * [0, 1, 1] + [0, 1, 2], dtype=np.int32)
        for end, sign in ((0, -1), (-1, 1)):
            vertices = np.concatenate([path[end][None], rings[end]])
            meshes.append(Mesh(vertices, np.tile(sign * tangent[end], (len(vertices), 1)), fan[:, ::sign]))
    return join(meshes)


def bend(points: Sequence[tuple[float, float, float]], steps: int = 10) -> Array:
    """A smooth path [P, 3] through the given points (Catmull-Rom)."""
    p = np.array(points, dtype=np.float64)
    knots = np.arange(len(p))
    path = CubicHermiteSpline(knots, p, np.gradient(p, axis=0))
    return np.asarray(path(np.linspace(0, knots[-1], steps * knots[-1] + 1)))


def circle(radius: float, segments: int = 40, x: float = 0.0, y: float = 0.0) -> Array:
    """An outline [N, 2] for `extrude`."""
    t = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    return np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], axis=1)


def rounded_rectangle(x: float, y: float, radius: float, steps: int = 6) -> Array:
    """An outline [N, 2] of a rectangle of edges x, y about the origin with round corners."""
    t = np.linspace(0, np.pi / 2, steps) + np.pi / 2 * np.arange(4)[:, None]
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])[:, None] * (x / 2 - radius, y / 2 - radius)
    return (corners + radius * np.stack([np.cos(t), np.sin(t)], axis=2)).reshape(-1, 2)


def gear_outline(teeth: int, root: float, tip: float) -> Array:
    """The outline [N, 2] of a spur gear."""
    pitch = 2 * np.pi / teeth
    shape = ((-0.32, root), (-0.17, tip), (0.17, tip), (0.32, root))
    return np.array([(r * np.cos(k * pitch + a * pitch), r * np.sin(k * pitch + a * pitch))
                     for k in range(teeth) for a, r in shape])  # fmt: skip


def extrude(outline: Array, height: float, holes: Sequence[Array] = (), bevel: float = 0.01) -> Mesh:
    """A plate of `height` along z about the origin with the given counter-clockwise outline [N, 2], through holes
    and bevelled edges."""
    loops = [np.asarray(outline, dtype=np.float64)] + [np.asarray(hole)[::-1] for hole in holes]
    inset = [_offset(loop, bevel) for loop in loops]
    h = height / 2
    meshes = []
    for loop, small in zip(loops, inset):
        _, flat = _strips(loop, closed=True)
        quads = np.asarray(4 * np.arange(len(loop))[:, None, None] + [[0, 1, 2], [2, 1, 3]], np.int32).reshape(-1, 3)
        levels = ((small, -h), (loop, bevel - h), (loop, h - bevel), (small, h))
        rings = [np.insert(xy, 2, z, axis=1) for xy, z in levels]
        for lower, upper, tilt in zip(rings, rings[1:], (-1.0, 0.0, 1.0)):
            band = np.stack([lower, upper], axis=1)
            corners = np.stack([band, np.roll(band, -1, axis=0)], axis=2)  # [N, lower and upper, both ends, 3]
            normals = np.repeat(np.insert(flat, 2, tilt, axis=2)[:, None], 2, axis=1)
            normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
            meshes.append(Mesh(corners.reshape(-1, 3), normals.reshape(-1, 3), quads))
    cap = _triangulate(inset)
    for z, sign in ((-h, -1), (h, 1)):
        vertices = np.insert(np.concatenate(inset), 2, z, axis=1)
        meshes.append(Mesh(vertices, np.tile([0.0, 0.0, sign], (len(vertices), 1)), cap[:, ::sign]))
    return join(meshes)


def faceted(mesh: Mesh) -> Mesh:
    """The mesh with flat faces: every triangle has its own normal."""
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    corners, normals = corners[lengths > 1e-14], normals[lengths > 1e-14]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    faces = np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3)
    return Mesh(corners.reshape(-1, 3), np.repeat(normals, 3, axis=0), faces)


def _rounded_samples(half: float, radius: float, steps: int) -> Array:
    # tan spaces the samples evenly in angle after projection onto the rounding
    bevel = half - radius + radius * np.tan(np.linspace(0, np.pi / 4, steps + 1))
    return np.concatenate([-bevel[::-1], bevel])


def grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    """Triangles [F, 3] between neighbouring vertices of a grid of rows x columns."""
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([c, b, d], -1).reshape(-1, 3)])


def _strips(points: Array, closed: bool) -> tuple[Array, Array]:
    """Segments of a 2D line: ends [S, 2, 2] and normals at the ends [S, 2, 2], right of the direction of travel."""
    following = np.roll(points, -1, axis=0) if closed else points[1:]
    start = points[: len(following)]
    flat = (following - start)[:, ::-1] * [1, -1]
    flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    normals = np.repeat(flat[:, None], 2, axis=1)
    for end, shift in ((0, 1), (-1, -1)):
        neighbour = np.roll(flat, shift, axis=0)
        smooth = np.sum(flat * neighbour, axis=1) > CREASE_COSINE
        smooth[end] &= closed
        normals[smooth, end] += neighbour[smooth]
    return np.stack([start, following], axis=1), normals / np.linalg.norm(normals, axis=2, keepdims=True)


def _offset(loop: Array, distance: float) -> Array:
    """The loop moved to its left (into the material) by `distance`, mitred."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    n0, n1 = (np.stack([-d[:, 1], d[:, 0]], 1) / np.linalg.norm(d, axis=1, keepdims=True) for d in (before, after))
    return loop + distance * (n0 + n1) / np.maximum(1 + np.sum(n0 * n1, axis=1, keepdims=True), 0.3)


def _triangulate(loops: Sequence[Array]) -> NDArray[np.int32]:
    """Triangles [F, 3] of a polygon with clockwise holes, as indices into the concatenated loops."""
    ends = np.cumsum([len(loop) for loop in loops])
    faces = mapbox_earcut.triangulate_float64(np.concatenate(loops), ends.astype(np.uint32)).reshape(-1, 3)
    (ax, ay), (bx, by), (cx, cy) = np.concatenate(loops)[faces].transpose(1, 2, 0)
    covered = np.sum((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    enclosed = sum(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) for x, y in (loop.T for loop in loops))
    if not np.isclose(covered, enclosed):
        raise ValueError("the outline crosses itself or runs clockwise")
    return np.asarray(faces, dtype=np.int32)
