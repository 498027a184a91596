"""Triangle meshes of the shapes that machine parts are made of.

Every function returns a closed mesh in its own frame, in reference units, with outward normals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CREASE = np.cos(np.radians(38.0))  # neighbouring faces that meet at a smaller angle are shaded as one smooth surface


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
    for axis, degrees in enumerate((rx, ry, rz)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        r = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        r[i, i], r[i, j], r[j, i], r[j, j] = c, -s, s, c
        m[:3, :3] = r @ m[:3, :3]
    m[:3, 3] = x, y, z
    return m


def box(x: float, y: float, z: float, radius: float = 0.02, steps: int = 3) -> Mesh:
    """A box of edge lengths x, y, z about the origin, its edges rounded."""
    half = np.array([x, y, z]) / 2
    radius = min(radius, 0.999 * float(half.min()))
    meshes = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            i, j = (axis + 1) % 3, (axis + 2) % 3
            u, v = (_rounded_samples(half[k], radius, steps) for k in (i, j))
            cube = np.empty((len(u), len(v), 3))
            cube[..., i], cube[..., j], cube[..., axis] = u[:, None], v[None, :], sign * half[axis]
            inner = np.clip(cube, -(half - radius), half - radius)
            normals = cube - inner
            normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
            faces = _grid_faces(len(u), len(v))
            vertices = (inner + radius * normals).reshape(-1, 3)
            meshes.append(Mesh(vertices, normals.reshape(-1, 3), faces if sign > 0 else faces[:, ::-1]))
    return join(meshes)


def lathe(profile: Sequence[tuple[float, float]], segments: int = 40) -> Mesh:
    """The surface swept by a profile of (radius, z) points turned about z, listed with the material on the left
    (bottom to top on the outside)."""
    points = np.array(profile, dtype=np.float64)
    strips = _strips(points, closed=False)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    c, s = np.cos(angle), np.sin(angle)
    meshes = []
    for p, n in strips:
        ring = np.stack([p[:, :1] * c, p[:, :1] * s, np.repeat(p[:, 1:], len(c), axis=1)], axis=-1)  # [2, S, 3]
        normals = np.stack([n[:, :1] * c, n[:, :1] * s, np.repeat(n[:, 1:], len(c), axis=1)], axis=-1)
        meshes.append(Mesh(ring.reshape(-1, 3), normals.reshape(-1, 3), _grid_faces(2, len(c))[:, ::-1]))
    return join(meshes)


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
    meshes = [Mesh(rings.reshape(-1, 3), normals.reshape(-1, 3), _grid_faces(len(path), sides + 1)[:, ::-1])]
    if not closed:
        fan = np.stack([np.zeros(sides), np.arange(1, sides + 1), np.arange(2, sides + 2)], axis=1).astype(np.int32)
        for end, sign in ((0, -1.0), (-1, 1.0)):
            vertices = np.concatenate([path[end][None], rings[end]])
            normal = np.repeat(sign * tangent[end][None], len(vertices), axis=0)
            meshes.append(Mesh(vertices, normal, fan if sign > 0 else fan[:, ::-1]))
    return join(meshes)


def bend(points: Sequence[tuple[float, float, float]], steps: int = 10) -> Array:
    """A smooth path [P, 3] through the given points (Catmull-Rom)."""
    p = np.array(points, dtype=np.float64)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return np.concatenate([*pieces, p[-2:-1]])


def circle(radius: float, segments: int = 40, x: float = 0.0, y: float = 0.0) -> Array:
    """An outline [N, 2] for `extrude`."""
    t = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    return np.stack([x + radius * np.cos(t), y + radius * np.sin(t)], axis=1)


def rounded_rectangle(x: float, y: float, radius: float, steps: int = 6) -> Array:
    """An outline [N, 2] of a rectangle of edges x, y about the origin with round corners."""
    t = np.linspace(0, np.pi / 2, steps)
    corners = [(1, 1), (-1, 1), (-1, -1), (1, -1)]
    pieces = [
        np.stack([sx * (x / 2 - radius) + radius * np.cos(t + k * np.pi / 2),
                  sy * (y / 2 - radius) + radius * np.sin(t + k * np.pi / 2)], axis=1)
        for k, (sx, sy) in enumerate(corners)
    ]  # fmt: skip
    return np.concatenate(pieces)


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
    h = height / 2
    meshes = []
    inset = []
    for loop in loops:
        small = _offset(loop, bevel)
        inset.append(small)
        levels = [(small, -h, -1.0), (loop, bevel - h, 0.0), (loop, h - bevel, 0.0), (small, h, 1.0)]
        for (lower, z0, t0), (upper, z1, t1) in zip(levels, levels[1:], strict=False):
            tilt = (t0 + t1) / 2
            for k, (_, n) in enumerate(_strips(loop, closed=True)):
                m = (k + 1) % len(loop)
                vertices = np.array([[*lower[k], z0], [*lower[m], z0], [*upper[k], z1], [*upper[m], z1]])
                normals = np.array([[*n[0], tilt * 2], [*n[1], tilt * 2], [*n[0], tilt * 2], [*n[1], tilt * 2]])
                normals /= np.linalg.norm(normals, axis=1, keepdims=True)
                meshes.append(Mesh(vertices, normals, np.array([[0, 1, 2], [2, 1, 3]], np.int32)))
    flat = np.concatenate(inset)
    cap = _triangulate(inset)
    for z, sign in ((-h, -1.0), (h, 1.0)):
        vertices = np.column_stack([flat, np.full(len(flat), z)])
        normals = np.tile([0.0, 0.0, sign], (len(flat), 1))
        meshes.append(Mesh(vertices, normals, cap if sign > 0 else cap[:, ::-1]))
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


def _grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([c, b, d], -1).reshape(-1, 3)])


def _strips(points: Array, closed: bool) -> list[tuple[Array, Array]]:
    """Segments of a 2D line as (points [2, 2], normals [2, 2]); normals point right of the direction of travel."""
    following = np.roll(points, -1, axis=0) if closed else points[1:]
    step = following - points[: len(following)]
    flat = np.stack([step[:, 1], -step[:, 0]], axis=1)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    strips = []
    count = len(flat)
    for k in range(count):
        normals = np.repeat(flat[k][None], 2, axis=0)
        for end, other in ((0, k - 1), (1, k + 1)):
            if (closed or 0 <= other < count) and flat[k] @ flat[other % count] > CREASE:
                normals[end] = flat[k] + flat[other % count]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        strips.append((np.stack([points[k], following[k]]), normals))
    return strips


def _offset(loop: Array, distance: float) -> Array:
    """The loop moved to its left (into the material) by `distance`, mitred."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    n0, n1 = (np.stack([-d[:, 1], d[:, 0]], 1) / np.linalg.norm(d, axis=1, keepdims=True) for d in (before, after))
    return loop + distance * (n0 + n1) / np.maximum(1 + np.sum(n0 * n1, axis=1, keepdims=True), 0.3)


def _triangulate(loops: Sequence[Array]) -> NDArray[np.int32]:
    """Ear clipping of a polygon with holes (Meisters 1975; holes joined to the outline by bridges); indices into the
    concatenated loops."""
    points = np.concatenate(loops)
    starts = np.cumsum([0] + [len(loop) for loop in loops])
    polygon = list(range(len(loops[0])))
    holes = [list(range(starts[k], starts[k + 1])) for k in range(1, len(loops))]
    while holes:  # the shortest bridge to any hole crosses no edge
        gaps = [np.linalg.norm(points[polygon][:, None] - points[hole], axis=2) for hole in holes]
        hole = holes.pop(int(np.argmin([gap.min() for gap in gaps])))
        gap = min(gaps, key=np.min)
        near, turn = divmod(int(gap.argmin()), len(hole))
        polygon = polygon[: near + 1] + hole[turn:] + hole[: turn + 1] + polygon[near:]
    faces = []
    while len(polygon) > 3:
        for k in range(len(polygon)):
            a, b, c = polygon[k - 1], polygon[k], polygon[(k + 1) % len(polygon)]
            if _is_ear(points, polygon, a, b, c):
                faces.append((a, b, c))
                del polygon[k]
                break
        else:
            raise ValueError("the outline crosses itself or runs clockwise")
    faces.append((polygon[0], polygon[1], polygon[2]))
    return np.array(faces, np.int32)


def _cross(a: Array, b: Array, c: Array) -> Array:
    return np.asarray((b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1])
                      - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0]))  # fmt: skip


def _is_ear(points: Array, polygon: list[int], a: int, b: int, c: int) -> bool:
    pa, pb, pc = points[a], points[b], points[c]
    if _cross(pa, pb, pc) <= 1e-15:
        return False
    others = points[[index for index in polygon if not _same(points[index], (pa, pb, pc))]]
    if len(others) == 0:
        return True
    inside = (_cross(pa, pb, others) >= 0) & (_cross(pb, pc, others) >= 0) & (_cross(pc, pa, others) >= 0)
    return not bool(inside.any())


def _same(point: Array, corners: tuple[Array, ...]) -> bool:
    return any(bool(np.all(point == corner)) for corner in corners)
