"""Defects on demo parts: what a variant of the part differs in, and which pixels show it.

A defect is proposed where the camera sees the part, then kept or thrown away by `Limits` alone: by how large and how
strong it is in the picture, never by what some detector makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..imaging.images import Image
from .materials import Colour, Mark, recoloured
from .meshes import Array, Mesh, at, faceted, grid_faces, sphere
from .part_kit import Part
from .render import Rendering, Scene, SubPart, Surface

Mask = NDArray[np.bool_]  # [H, W]

MASK_COVERAGE = 0.3  # a pixel belongs to a defect from this share of it on
STAIN_COLOURS: tuple[Colour, ...] = ((0.1, 0.07, 0.04), (0.42, 0.19, 0.07), (0.82, 0.82, 0.78), (0.1, 0.24, 0.12),
                                     (0.55, 0.5, 0.3))  # fmt: skip
WRONG_COLOURS: tuple[Colour, ...] = ((0.75, 0.1, 0.1), (0.1, 0.3, 0.7), (0.9, 0.72, 0.12), (0.15, 0.55, 0.25),
                                     (0.12, 0.12, 0.13), (0.72, 0.72, 0.72), (0.8, 0.4, 0.1))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Variant:
    """A part with a defect: other sub-parts, marks on the surface, and the groups that differ."""

    subparts: tuple[SubPart, ...]
    marks: tuple[Mark, ...] = ()
    changed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Limits:
    """The rule for a defect in a picture of `size` x `size` pixels.

    Its mask has MIN_AREA to MAX_AREA pixels at 400 x 400 (in proportion at other sizes), and at least MIN_SEEN pixels
    and MIN_SHARE of the mask differ from the good part by MIN_CONTRAST levels or more in some channel.
    """

    size: int
    MIN_AREA = 50
    MAX_AREA = 700
    MIN_SEEN = 40
    MIN_SHARE = 0.25
    MIN_CONTRAST = 15

    def _scale(self) -> float:
        return (self.size / 400) ** 2

    def area_fits(self, pixels: int) -> bool:
        return self.MIN_AREA * self._scale() <= pixels <= self.MAX_AREA * self._scale()

    def visible(self, mask: Mask, good: Image, bad: Image) -> bool:
        difference = np.abs(good.astype(np.int16) - bad).max(axis=2)
        seen = int(np.count_nonzero(difference[mask] >= self.MIN_CONTRAST))
        return seen >= max(self.MIN_SEEN * self._scale(), self.MIN_SHARE * np.count_nonzero(mask))


def defect_mask(changed: frozenset[str], good: Rendering, good_scene: Scene, bad: Rendering, bad_scene: Scene) -> Mask:
    """Pixels that show a changed group in the good or in the defective part, or a mark."""
    share = np.maximum(good.coverage(good_scene.indices(changed)), bad.coverage(bad_scene.indices(changed)))
    return np.asarray(np.maximum(share, bad.marked) >= MASK_COVERAGE)


def propose(kind: str, part: Part, seen: Surface, rng: np.random.Generator) -> Variant | None:
    """A variant of the part with a defect of the given kind somewhere in view; None if this draw finds no place."""
    return _PROPOSALS[kind](part, seen, rng)


def _burrs(part: Part, seen: Surface, rng: np.random.Generator) -> Variant | None:
    """A jagged fin along an edge, or a cluster of lumps on a face."""
    if rng.random() < 0.6:
        edge = _random_edge(seen, rng)
        if edge is None:
            return None
        point, outward, tangent, index = edge
        mesh = _fin(rng, length=rng.uniform(0.08, 0.26), height=rng.uniform(0.025, 0.06))
        solids = [(mesh, _frame(point, tangent, outward))]
    else:
        point, normal, index = _random_point(seen, rng)
        first = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
        frame = _frame(point, first / np.linalg.norm(first), normal)
        size = rng.uniform(0.022, 0.05)
        solids = []
        for _ in range(rng.integers(1, 4)):
            x, y = 1.6 * size * rng.normal(size=2)
            solids.append((_lump(rng, size * rng.uniform(0.5, 1.0)), frame @ at(x, y, rz=rng.uniform(0, 360))))
    tone = float(rng.choice([1.0, rng.uniform(0.7, 0.9), rng.uniform(1.15, 1.4)]))
    burr = replace(part.subparts[index].material, decal=None).tinted((tone, tone, tone))
    added = [SubPart(f"burr/{k}", mesh, frame, burr) for k, (mesh, frame) in enumerate(solids)]
    return Variant((*part.subparts, *added), changed=frozenset({"burr"}))


def _missing(part: Part, seen: Surface, rng: np.random.Generator) -> Variant | None:
    """A group that is not there."""
    return _changed(part, str(rng.choice(part.loose)), lambda s: ())


def _shifted(part: Part, seen: Surface, rng: np.random.Generator) -> Variant | None:
    """A group moved along the face on which it stands, and turned a little."""
    group = str(rng.choice(part.loose))
    first = next(s for s in part.subparts if s.group == group).transform
    angle, step = rng.uniform(0, 2 * np.pi), rng.uniform(0.035, 0.1)
    move = at(step * np.cos(angle), step * np.sin(angle), rz=rng.uniform(-18, 18))
    shift = first @ move @ np.linalg.inv(first)
    return _changed(part, group, lambda s: (replace(s, transform=shift @ s.transform),))


def _wrong_colour(part: Part, seen: Surface, rng: np.random.Generator) -> Variant | None:
    """A group in another colour, otherwise alike."""
    group = str(rng.choice(part.loose))
    colour = WRONG_COLOURS[rng.integers(len(WRONG_COLOURS))]
    return _changed(part, group, lambda s: (replace(s, material=recoloured(s.material, colour)),))


def _changed(part: Part, group: str, change: Callable[[SubPart], tuple[SubPart, ...]]) -> Variant:
    """The part with each solid of a group replaced by what `change` makes of it."""
    subparts = [new for s in part.subparts for new in (change(s) if s.group == group else (s,))]
    return Variant(tuple(subparts), changed=frozenset({group}))


def _stains(part: Part, seen: Surface, rng: np.random.Generator) -> Variant | None:
    """One to three blotches of oil, rust or paint close together."""
    point, normal, _ = _random_point(seen, rng)
    colour = STAIN_COLOURS[rng.integers(len(STAIN_COLOURS))]
    radius, opacity = rng.uniform(0.035, 0.085), rng.uniform(0.6, 0.95)
    marks = [Mark(point, normal, radius, colour, opacity)]
    for _ in range(rng.integers(0, 3)):
        centre = point + _along(normal, rng) * radius * rng.uniform(1.0, 1.7)
        marks.append(Mark(centre, normal, radius * rng.uniform(0.2, 0.5), colour, opacity))
    return Variant(part.subparts, tuple(marks))


def _scratches(part: Part, seen: Surface, rng: np.random.Generator) -> Variant | None:
    """A thin line with a bend or two."""
    point, normal, _ = _random_point(seen, rng)
    heading = _along(normal, rng)
    colour: Colour = (0.9, 0.9, 0.9) if rng.random() < 0.6 else (0.06, 0.06, 0.06)
    half_width, opacity = rng.uniform(0.007, 0.012), rng.uniform(0.75, 0.95)
    marks = []
    for _ in range(rng.integers(1, 4)):
        end = point + heading * rng.uniform(0.1, 0.22)
        marks.append(Mark(point, normal, half_width, colour, opacity, end))
        turn = rng.uniform(-0.5, 0.5)
        heading = np.cos(turn) * heading + np.sin(turn) * np.cross(normal, heading)
        point = end
    return Variant(part.subparts, tuple(marks))


_PROPOSALS: dict[str, Callable[[Part, Surface, np.random.Generator], Variant | None]] = {
    "Burrs": _burrs,
    "Missing": _missing,
    "Stains": _stains,
    "Scratches": _scratches,
    "WrongColour": _wrong_colour,
    "Shifted": _shifted,
}
KINDS = tuple(_PROPOSALS)


def _random_point(seen: Surface, rng: np.random.Generator) -> tuple[Array, Array, int]:
    """Position, normal and sub-part of a random pixel on the part."""
    rows, columns = np.nonzero(seen.subpart >= 0)
    k = int(rng.integers(len(rows)))
    where = rows[k], columns[k]
    return seen.points[where], seen.normals[where], int(seen.subpart[where])


def _random_edge(seen: Surface, rng: np.random.Generator) -> tuple[Array, Array, Array, int] | None:
    """Position, outward direction, direction along and sub-part of a random convex edge in view."""
    p, n, part = seen.points, seen.normals, seen.subpart
    step = p[:, 1:] - p[:, :-1]
    turn = n[:, 1:] - n[:, :-1]
    same = (part[:, 1:] == part[:, :-1]) & (part[:, 1:] >= 0)
    convex = same & (np.linalg.norm(step, axis=2) < 0.03) & (np.sum(step * turn, axis=2) > 0)
    rows, columns = np.nonzero(convex & (np.sum(n[:, 1:] * n[:, :-1], axis=2) < 0.8))
    if len(rows) == 0:
        return None
    k = int(rng.integers(len(rows)))
    a, b = n[rows[k], columns[k]], n[rows[k], columns[k] + 1]
    outward, tangent = a + b, np.cross(a, b)
    outward /= np.linalg.norm(outward)
    return p[rows[k], columns[k]], outward, tangent / np.linalg.norm(tangent), int(part[rows[k], columns[k]])


def _fin(rng: np.random.Generator, length: float, height: float) -> Mesh:
    """A thin jagged ridge along x with its foot just below z = 0."""
    count = max(5, round(length / 0.02))
    x = np.linspace(-length / 2, length / 2, count)
    ramp = np.sin(np.pi * (0.1 + 0.8 * np.linspace(0, 1, count)))
    z = height * ramp * rng.uniform(0.45, 1.0, count)
    lean = 0.5 * height * rng.normal(size=count)
    foot = np.full(count, 0.3 * height)
    profile = [(foot, -foot), (lean, z), (-foot, -foot), (foot, -foot)]
    rings = np.stack([np.stack([x, across, up], axis=1) for across, up in profile], axis=1)
    index = np.arange(4 * count).reshape(count, 4)
    faces = np.concatenate([index[:1, :3], index[-1:, [0, 2, 1]], grid_faces(count, 4)]).astype(np.int32)
    return faceted(Mesh(rings.reshape(-1, 3), np.zeros((4 * count, 3)), faces))


def _lump(rng: np.random.Generator, radius: float) -> Mesh:
    """A flattened irregular blob about the origin."""
    ball = sphere(radius, 20)
    v = ball.vertices / radius
    bumps = sum(
        rng.uniform(0.05, 0.14) * np.sin(v @ (3.0 * rng.normal(size=3)) + rng.uniform(0, 6.3)) for _ in range(4)
    )
    vertices = ball.vertices * (1 + np.asarray(bumps))[:, None] * [1.0, rng.uniform(0.6, 1.0), 0.7]
    return faceted(Mesh(vertices, ball.normals, ball.faces))


def _frame(origin: Array, x: Array, z: Array) -> Array:
    """Rigid matrix [4, 4] of a frame with these axes (unit, at right angles)."""
    frame = np.eye(4)
    frame[:3] = np.stack([x, np.cross(z, x), z, origin], axis=1)
    return frame


def _along(normal: Array, rng: np.random.Generator) -> Array:
    """A random unit direction [3] within the face of this normal."""
    step = rng.normal(size=3)
    step -= normal * (step @ normal)
    return np.asarray(step / np.linalg.norm(step))
