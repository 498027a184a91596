"""Generated scenes to compare: a table with objects, before and after some of them changed, with exact masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging import images
from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image
from . import meshes as g
from .lamps import STUDIO, Lamps
from .materials import Decal, Material, Pattern, label, recoloured
from .meshes import at
from .part_kit import CAMERA_ANGLE_X
from .render import Scene, SubPart, build_scene, render, surface

Mask = NDArray[np.bool_]

KINDS = ("appeared", "vanished", "moved", "repainted")
OBJECTS = 9
TABLE_SIDE = 5.4  # the cameras must have all of it in front of them
DISTANCE = 3.6  # of the cameras from the middle of the table
PLACES = 1.25  # half the side of the square that objects stand in
GAP = 0.16  # between two objects
OTHER_LIGHT = Lamps(key_direction=(0.2, -0.62, 0.76), key_gain=(0.9, 1.0, 1.15), room_gain=(0.85, 0.9, 1.0))
PAINTS = ((0.75, 0.15, 0.12), (0.12, 0.45, 0.2), (0.1, 0.25, 0.65), (0.9, 0.7, 0.1), (0.85, 0.85, 0.82),
          (0.2, 0.2, 0.22), (0.5, 0.2, 0.55), (0.1, 0.55, 0.6), (0.9, 0.45, 0.1))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Thing:
    """An object on the table: `place` [4, 4] puts it there; `radius` and `height`: what it needs."""

    name: str
    mesh: g.Mesh
    material: Material
    place: NDArray[np.float64]
    radius: float

    @property
    def middle(self) -> NDArray[np.float64]:
        """Centre of its bounding box [3]."""
        vertices = self.mesh.transformed(self.place).vertices
        return np.asarray(0.5 * (vertices.min(axis=0) + vertices.max(axis=0)))

    def subpart(self) -> SubPart:
        return SubPart(self.name, self.mesh, self.place, self.material)


@dataclass(frozen=True)
class Change:
    """What happened to one object; middle [3]: where it is now, of one that vanished where it was."""

    name: str
    kind: str
    middle: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class ScenePair:
    """The same table twice; `changes` says what is between them."""

    before: tuple[Thing, ...]
    after: tuple[Thing, ...]
    changes: tuple[Change, ...]
    table: SubPart
    after_lamps: Lamps = STUDIO

    @cached_property
    def scenes(self) -> tuple[Scene, Scene]:
        """(before, after), made ready for rendering."""
        first, second = (
            build_scene([self.table, *(t.subpart() for t in these)]) for these in (self.before, self.after)
        )
        return first, second

    def photograph(self, pose: Pose, camera: Camera, after: bool) -> Image:
        """[H, W, 3] of the table before or after the changes."""
        return render(self.scenes[after], camera, pose, self.after_lamps if after else STUDIO).image

    def changed(self, pose: Pose, camera: Camera) -> Mask:
        """Where [H, W] an object that changed shows after the changes, or did before."""
        names = {change.name for change in self.changes}
        seen = [np.isin(surface(scene, camera, pose).subpart, scene.indices(names)) for scene in self.scenes]
        return np.asarray(seen[0] | seen[1])


def make_pair(seed: int, kinds: Sequence[str] = KINDS, after_lamps: Lamps = STUDIO) -> ScenePair:
    """A table with objects, and one change of each of `kinds`, each to another object."""
    rng = np.random.default_rng(seed)
    things = [_thing(k, rng) for k in range(OBJECTS)]
    placed: list[Thing] = []
    for thing in things:
        placed.append(_put(thing, placed, rng))
    table = _table(rng)  # the same, whatever changes
    before, after, changes = list(placed), list(placed), []
    for thing, kind in zip(rng.permutation(np.array(placed, object))[: len(kinds)], kinds, strict=True):
        if kind == "appeared":
            before.remove(thing)
        elif kind == "vanished":
            after.remove(thing)
        else:
            moved = _put(thing, placed, rng) if kind == "moved" else _repainted(thing, rng)
            after[after.index(thing)] = moved
            placed.append(moved)
        x, y, z = map(float, (thing if kind == "vanished" else next(t for t in after if t.name == thing.name)).middle)
        changes.append(Change(thing.name, kind, (x, y, z)))
    return ScenePair(tuple(before), tuple(after), tuple(changes), table, after_lamps)


def _thing(k: int, rng: np.random.Generator) -> Thing:
    """Something of about a tenth of the table's size, standing on z = 0 at the origin."""
    size, tall = rng.uniform(0.16, 0.26), rng.uniform(0.2, 0.5)
    forms = (
        g.box(1.5 * size, 1.5 * size, tall, 0.02), g.cylinder(size, tall), g.sphere(size),
        g.ring(0.55 * size, 1.1 * size, 0.5 * tall), g.extrude(g.gear_outline(9, 0.75 * size, 1.1 * size), 0.5 * tall),
        g.lathe([(0, -tall / 2), (size, -tall / 2), (0.25 * size, tall / 2), (0, tall / 2)]),
    )  # fmt: skip
    mesh = forms[k % len(forms)]
    first, second = rng.choice(len(PAINTS), 2, replace=False)
    pattern = Pattern(int(rng.choice([Pattern.PLAIN, Pattern.MOTTLED, Pattern.SPECKLED, Pattern.STRIPES])))
    paint = Material(PAINTS[first], PAINTS[second], pattern, rng.uniform(0.06, 0.12), rng.uniform(0.4, 0.7))
    if k % len(forms) == 0:
        words = label([f"BOX {rng.integers(100)}"], 1.2 * size, 1.2 * size, PAINTS[second], PAINTS[first])
        paint = replace(paint, pattern=Pattern.PLAIN, decal=words)
    radius = float(np.linalg.norm(mesh.vertices[:, :2], axis=1).max())
    return Thing(f"thing{k}", mesh, paint, at(z=-float(mesh.vertices[:, 2].min())), radius)


def _put(thing: Thing, others: Sequence[Thing], rng: np.random.Generator) -> Thing:
    """The object at a free place."""
    while True:
        x, y = rng.uniform(-PLACES, PLACES, 2)
        gaps = [np.hypot(x - o.place[0, 3], y - o.place[1, 3]) - o.radius - thing.radius for o in others]
        if min(gaps, default=1.0) > GAP:
            return replace(thing, place=at(x, y, thing.place[2, 3], rz=rng.uniform(0, 360)))


def _repainted(thing: Thing, rng: np.random.Generator) -> Thing:
    """The object in a colour far from its own."""
    own = np.array(thing.material.colour)
    far = [paint for paint in PAINTS if np.linalg.norm(np.array(paint) - own) > 0.5]
    return replace(thing, material=recoloured(thing.material, far[rng.integers(len(far))]))


def _table(rng: np.random.Generator) -> SubPart:
    coarse, fine = (rng.uniform(-1, 1, (n, n, 1)) for n in (24, 90))
    tint = np.array(PAINTS[rng.integers(len(PAINTS))]) * 0.15 + 0.5
    sizes = [cv2.resize(part, (256, 256), interpolation=cv2.INTER_NEAREST)[..., None] for part in (coarse, fine)]
    texels = 255 * np.clip(tint + 0.14 * sizes[0] + 0.1 * sizes[1], 0, 1)
    cloth = Decal(texels.astype(np.uint8), TABLE_SIDE, TABLE_SIDE, (0.5, 0.5, 0.5))
    top = Material((0.5, 0.5, 0.5), roughness=0.8, decal=cloth)
    return SubPart("table", g.box(TABLE_SIDE, TABLE_SIDE, 0.04), at(z=-0.02), top)


def camera_of(width: int = 320, height: int = 240) -> Camera:
    return Camera.from_fov(width, height, CAMERA_ANGLE_X)


def poses(count: int, seed: int) -> list[Pose]:
    """Cameras from 40 to 62 degrees above the table, all around it."""
    rng, found = np.random.default_rng(seed), []
    for k in range(count):
        elevation = np.radians(40 + 22 * ((k * 0.618 + 0.1 * rng.random()) % 1))
        angle = 2 * np.pi * (k + 0.5 * rng.random()) / count
        direction = np.array([np.cos(angle) * np.cos(elevation), np.sin(angle) * np.cos(elevation), np.sin(elevation)])
        aim = np.array([*rng.uniform(-0.2, 0.2, 2), 0.1])
        found.append(Pose.look_at(DISTANCE * direction, aim, np.array([0.0, 0.0, 1.0])))
    return found


def write_pair(pair: ScenePair, folder: Path, counts: tuple[int, int] = (36, 12), seed: int = 0,
               camera: Camera | None = None) -> None:  # fmt: skip
    """before/ with poses in a transforms.json, after/ without, truth/ with masks of after and changes.json."""
    camera, frames = camera or camera_of(), []
    for k, pose in enumerate(poses(counts[0], seed)):
        images.save(folder / "before" / f"{k:03}.png", pair.photograph(pose, camera, after=False))
        frames.append({"file_path": f"{k:03}.png", "transform_matrix": pose.to_opengl_camera_to_world().tolist()})
    angle = {"camera_angle_x": float(2 * np.arctan(0.5 * camera.width / camera.fx)), "frames": frames}
    (folder / "before" / "transforms.json").write_text(json.dumps(angle))
    for k, pose in enumerate(poses(counts[1], seed + 1)):
        mask = pair.changed(pose, camera)
        images.save(folder / "after" / f"{k:03}.png", pair.photograph(pose, camera, after=True))
        images.save(folder / "truth" / f"{k:03}.png", np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2))
    (folder / "truth" / "changes.json").write_text(json.dumps([vars(change) for change in pair.changes], indent=1))
