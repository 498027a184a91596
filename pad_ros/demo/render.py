"""A small renderer for demo parts: triangles, procedural surfaces, an area light in a bright room.

Deferred shading at several samples per pixel; soft shadows and ambient occlusion come from orthographic depth maps
along fixed light directions (Williams 1978), computed once per scene and lamps.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image
from .lamps import STUDIO, Lamps
from .materials import DECAL_SIZE, Mark, Material
from .meshes import Mesh, join
from .shading import NO_FACE, rasterize, shade, shadow_maps

Array = NDArray[np.float64]
Maps = NDArray[np.float32]

SAMPLES_PER_SIDE = 3  # of a pixel
KEY_LIGHTS, SKY_LIGHTS = 20, 60  # directions that stand for the large lamp and for the room
KEY_DISC_RADIUS = 0.16
GOLDEN_ANGLE = 2.39996


class Geometry(NamedTuple):
    """Triangles on the screen and in space."""

    xy: Array  # [V, 2] px
    nearness: Array  # [V] one over the depth
    faces: NDArray[np.int32]  # [F, 3]
    vertices: Array  # [V, 3] part frame
    normals: Array  # [V, 3]
    local: Array  # [V, 3] own frame of the sub-part


class Looks(NamedTuple):
    """What surfaces look like."""

    face_part: NDArray[np.int32]  # [F] row of materials
    materials: Array  # [P, 17] see `Material.row`
    decals: NDArray[np.float32]  # [D, S, S, 3]
    marks: Array  # [M, 15] see `Mark.row`


class Lights(NamedTuple):
    """Directional lights with their depth maps, and what glossy faces mirror."""

    colours: Array  # [L, 3] irradiance
    frames: Array  # [L, 3, 3] rows: right, down, forward
    maps: Maps  # [L, S, S]
    room: Array  # [12], see `Lamps.row`


@dataclass(frozen=True, eq=False)
class SubPart:
    """One solid of a part: `name` is "group/detail" or "group"; groups are what can be missing, moved, recoloured."""

    name: str
    mesh: Mesh
    transform: Array  # [4, 4] part_from_own, rigid
    material: Material
    label: bool = False  # glued on by hand: its place varies

    @property
    def group(self) -> str:
        return self.name.split("/")[0]


@dataclass(frozen=True, eq=False)
class Scene:
    """Sub-parts made ready for rendering."""

    subparts: tuple[SubPart, ...]
    vertices: Array  # [V, 3] part frame
    normals: Array  # [V, 3]
    local: Array  # [V, 3] own frame of the sub-part
    faces: NDArray[np.int32]  # [F, 3]
    looks: Looks

    @cached_property
    def sky_maps(self) -> Maps:
        """Depth maps [SKY_LIGHTS, S, S] along the directions of the room, computed on first use."""
        return np.asarray(shadow_maps(self.vertices, self.faces, SKY_FRAMES))

    def indices(self, groups: Collection[str]) -> list[int]:
        """The sub-parts that belong to the named groups."""
        return [k for k, subpart in enumerate(self.subparts) if subpart.group in groups]


@dataclass(frozen=True, eq=False)
class Surface:
    """What is in front at every pixel centre."""

    subpart: NDArray[np.int32]  # [H, W], -1 for the background
    points: Array  # [H, W, 3] part frame
    normals: Array  # [H, W, 3]


@dataclass(frozen=True, eq=False)
class Rendering:
    """An image and, per sample, what it shows."""

    image: Image  # [H, W, 3]
    samples: NDArray[np.int32] = field(repr=False)  # [n * H, n * W] sub-part, -1 for the background; n samples per side
    marked: NDArray[np.float32] = field(repr=False)  # [H, W] share of the pixel under stains or scratches

    def coverage(self, subparts: Sequence[int]) -> NDArray[np.float32]:
        """The share of each pixel [H, W] in which one of `subparts` is in front."""
        height, width = self.image.shape[:2]
        hit = np.isin(self.samples, subparts).reshape(height, SAMPLES_PER_SIDE, width, SAMPLES_PER_SIDE)
        return np.asarray(hit.mean(axis=(1, 3), dtype=np.float32))


def build_scene(subparts: Sequence[SubPart], marks: Sequence[Mark] = ()) -> Scene:
    """Joins the meshes, packs the materials."""
    whole = join([s.mesh.transformed(s.transform) for s in subparts])
    decals, rows = [np.zeros((DECAL_SIZE, DECAL_SIZE, 3), np.float32)], []
    for s in subparts:
        rows.append(s.material.row(s.name, len(decals) if s.material.decal else NO_FACE))
        if s.material.decal:
            decals.append(s.material.decal.texels())
    looks = Looks(
        face_part=np.repeat(np.arange(len(subparts), dtype=np.int32), [len(s.mesh.faces) for s in subparts]),
        materials=np.array(rows),
        decals=np.stack(decals),
        marks=np.array([mark.row() for mark in marks]).reshape(-1, 15),
    )
    local = np.concatenate([s.mesh.vertices for s in subparts])
    return Scene(tuple(subparts), whole.vertices, whole.normals, local, whole.faces, looks)


def render(scene: Scene, camera: Camera, pose: Pose, lamps: Lamps = STUDIO) -> Rendering:
    """The scene in front of white; `camera` must be a pinhole that has the whole part in front of it."""
    sampled = camera.resized(camera.width * SAMPLES_PER_SIDE, camera.height * SAMPLES_PER_SIDE)
    xy, nearness = _project(scene, sampled, pose)
    face_of = rasterize(xy, nearness, scene.faces, sampled.height, sampled.width)
    geometry = Geometry(xy, nearness, scene.faces, scene.vertices, scene.normals, scene.local)
    lights = _lights(scene, lamps.for_view(pose))
    image, marked = shade(face_of, SAMPLES_PER_SIDE, geometry, scene.looks, lights, pose.centre)
    return Rendering(image, _subparts(scene, face_of), marked)


def surface(scene: Scene, camera: Camera, pose: Pose) -> Surface:
    """Sub-part, position and normal of what each pixel centre shows: quick, without any shading."""
    xy, nearness = _project(scene, camera, pose)
    face_of = rasterize(xy, nearness, scene.faces, camera.height, camera.width)
    corners = scene.vertices[scene.faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-20)
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], -1) @ pose.rotation
    normals = flat[face_of]
    # the ray from the camera's centre meets the plane of the face
    offset = np.sum((corners[face_of, 0] - pose.centre) * normals, axis=-1)
    cosine = np.sum(rays * normals, axis=-1)
    depth = offset / np.where(np.abs(cosine) < 1e-9, -1e-9, cosine)
    return Surface(_subparts(scene, face_of), pose.centre + depth[..., None] * rays, normals)


def _subparts(scene: Scene, face_of: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.where(face_of == NO_FACE, NO_FACE, scene.looks.face_part[face_of]).astype(np.int32)


def _project(scene: Scene, camera: Camera, pose: Pose) -> tuple[Array, Array]:
    points = pose.transform(scene.vertices)
    return camera.project(points), 1.0 / points[:, 2]


def _frames(directions: Array, spins: Array) -> Array:
    """Light frames [L, 3, 3]; the `spins` [L, 3] turn the texel grids of the maps against each other."""
    right = np.cross(directions, spins)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, np.cross(-directions, right), -directions], axis=1)


SPINS = np.random.default_rng(7).normal(size=(KEY_LIGHTS + SKY_LIGHTS, 3))
SKY_HEIGHTS = 1 - (2 * np.arange(SKY_LIGHTS) + 1) / SKY_LIGHTS
SKY_ANGLES = GOLDEN_ANGLE * np.arange(SKY_LIGHTS)
SKY_RADII = np.sqrt(1 - SKY_HEIGHTS**2)
SKY_FRAMES = _frames(
    np.stack([SKY_RADII * np.cos(SKY_ANGLES), SKY_RADII * np.sin(SKY_ANGLES), SKY_HEIGHTS], axis=1), SPINS[KEY_LIGHTS:]
)
SKY_COLOURS = np.outer((0.62 + 0.25 * SKY_HEIGHTS) * 3.2 / SKY_LIGHTS, [0.96, 0.99, 1.03])  # brighter above than below


@lru_cache(maxsize=2)  # good and defective scene
def _lights(scene: Scene, lamps: Lamps) -> Lights:
    """The large lamp (a disc of directions) and the room."""
    towards = lamps.key()
    k = np.arange(KEY_LIGHTS)
    radius, angle = KEY_DISC_RADIUS * np.sqrt((k + 0.5) / KEY_LIGHTS), GOLDEN_ANGLE * k
    side = np.cross(towards, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    other = np.cross(side, towards)
    disc = towards + np.outer(radius * np.cos(angle), side) + np.outer(radius * np.sin(angle), other)
    frames = _frames(disc / np.linalg.norm(disc, axis=1, keepdims=True), SPINS[:KEY_LIGHTS])
    key_colour = 0.85 / KEY_LIGHTS * np.array([1.0, 0.98, 0.94]) * lamps.key_gain
    return Lights(
        colours=np.concatenate([np.tile(key_colour, (KEY_LIGHTS, 1)), SKY_COLOURS * lamps.room_gain]),
        frames=np.concatenate([frames, SKY_FRAMES]),
        maps=np.concatenate([shadow_maps(scene.vertices, scene.faces, frames), scene.sky_maps]),
        room=lamps.row(),
    )
