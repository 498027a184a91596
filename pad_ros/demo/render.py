"""A small renderer for demo parts: triangles, procedural surfaces, an area light in a bright room.

Deferred shading at several samples per pixel; soft shadows and ambient occlusion come from orthographic depth maps
along fixed light directions (Williams 1978), computed once per scene. The light stands still in the part's frame.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image
from .materials import DECAL_SIZE, Mark, Material
from .meshes import Mesh
from .shading import NO_FACE, rasterize, shade, shadow_maps

Array = NDArray[np.float64]

SAMPLES = 3  # per pixel side
SHADOW_SIZE = 320
EXTENT = 1.25  # half the side of a shadow map: the same for all scenes, so that a defect changes nothing elsewhere
KEY_LIGHTS, SKY_LIGHTS = 20, 60
KEY_DIRECTION = np.array([0.45, -0.55, 0.704])  # towards the area light


@dataclass(frozen=True, eq=False)
class SubPart:
    """One solid of a part: `name` is "group/detail" or "group"; groups are what can be missing, moved, recoloured."""

    name: str
    mesh: Mesh
    transform: Array  # [4, 4] part_from_own, rigid
    material: Material

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
    face_part: NDArray[np.int32]  # [F] index into subparts
    materials: Array  # [P, 16]
    decals: NDArray[np.float32]  # [D, S, S, 3]
    marks: Array  # [M, 15]

    @cached_property
    def lights(self) -> Lights:
        """Computed on first use: the geometry alone is often enough."""
        return _lights(self.vertices, self.faces)

    def indices(self, groups: Collection[str]) -> list[int]:
        """The sub-parts that belong to the named groups."""
        return [k for k, subpart in enumerate(self.subparts) if subpart.group in groups]


@dataclass(frozen=True, eq=False)
class Lights:
    """Directional lights with their depth maps."""

    colours: Array  # [L, 3] irradiance
    frames: Array  # [L, 3, 3] rows: right, down, forward
    maps: NDArray[np.float32]  # [L, S, S]


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
    samples: NDArray[np.int32] = field(repr=False)  # [H * SAMPLES, W * SAMPLES] sub-part, -1 for the background
    marked: NDArray[np.float32] = field(repr=False)  # [H, W] share of the pixel under stains or scratches

    def coverage(self, subparts: Sequence[int]) -> NDArray[np.float32]:
        """The share of each pixel [H, W] in which one of `subparts` is in front."""
        hit = np.isin(self.samples, np.asarray(subparts, dtype=np.int32)).astype(np.float32)
        height, width = self.image.shape[:2]
        return np.asarray(hit.reshape(height, SAMPLES, width, SAMPLES).mean(axis=(1, 3)))


def build_scene(subparts: Sequence[SubPart], marks: Sequence[Mark] = ()) -> Scene:
    """Joins the meshes, packs the materials."""
    moved = [s.mesh.transformed(s.transform) for s in subparts]
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in moved])
    vertices = np.concatenate([mesh.vertices for mesh in moved])
    faces = np.concatenate([mesh.faces + offset for mesh, offset in zip(moved, offsets, strict=False)]).astype(np.int32)
    decals, rows = [np.zeros((DECAL_SIZE, DECAL_SIZE, 3), np.float32)], []
    for s in subparts:
        rows.append(s.material.row(s.name, len(decals) if s.material.decal else NO_FACE))
        if s.material.decal:
            decals.append(s.material.decal.texels())
    return Scene(
        subparts=tuple(subparts),
        vertices=vertices,
        normals=np.concatenate([mesh.normals for mesh in moved]),
        local=np.concatenate([s.mesh.vertices for s in subparts]),
        faces=faces,
        face_part=np.repeat(np.arange(len(moved), dtype=np.int32), [len(mesh.faces) for mesh in moved]),
        materials=np.array(rows),
        decals=np.stack(decals),
        marks=np.array([mark.row() for mark in marks]).reshape(-1, 15),
    )


def render(scene: Scene, camera: Camera, pose: Pose) -> Rendering:
    """The scene before white; `camera` must be a pinhole that has the whole part in front of it."""
    sampled = camera.resized(camera.width * SAMPLES, camera.height * SAMPLES)
    xy, nearness = _project(scene, sampled, pose)
    face_of = rasterize(xy, nearness, scene.faces, sampled.height, sampled.width)
    image, marked = shade(
        face_of, SAMPLES, xy, nearness, scene.faces, scene.face_part, scene.vertices, scene.normals, scene.local,
        scene.materials, scene.decals, scene.marks, pose.centre, scene.lights.colours, scene.lights.frames,
        scene.lights.maps, EXTENT,
    )  # fmt: skip
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
    return np.where(face_of == NO_FACE, NO_FACE, scene.face_part[face_of]).astype(np.int32)


def _project(scene: Scene, camera: Camera, pose: Pose) -> tuple[Array, Array]:
    points = pose.transform(scene.vertices)
    return camera.project(points), 1.0 / points[:, 2]


def _lights(vertices: Array, faces: NDArray[np.int32]) -> Lights:
    """An area light (a disc of directions) and a sky brighter above than below; the same ones for every scene."""
    rng = np.random.default_rng(7)
    k = np.arange(KEY_LIGHTS)
    radius, angle = 0.16 * np.sqrt((k + 0.5) / KEY_LIGHTS), 2.39996 * k
    side = np.cross(KEY_DIRECTION, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    other = np.cross(side, KEY_DIRECTION)
    key = KEY_DIRECTION + np.outer(radius * np.cos(angle), side) + np.outer(radius * np.sin(angle), other)
    k = np.arange(SKY_LIGHTS)
    z = 1 - (2 * k + 1) / SKY_LIGHTS
    sky = np.stack([np.sqrt(1 - z * z) * np.cos(2.39996 * k), np.sqrt(1 - z * z) * np.sin(2.39996 * k), z], axis=1)
    directions = np.concatenate([key / np.linalg.norm(key, axis=1, keepdims=True), sky])
    brightness = np.concatenate([np.full(KEY_LIGHTS, 0.85 / KEY_LIGHTS), (0.62 + 0.25 * z) * 4 / SKY_LIGHTS * 0.8])
    tint = np.concatenate([np.tile([1.0, 0.98, 0.94], (KEY_LIGHTS, 1)), np.tile([0.96, 0.99, 1.03], (SKY_LIGHTS, 1))])
    frames = []
    for towards in directions:
        spin = rng.normal(size=3)  # turns the texel grids against each other
        right = np.cross(towards, spin)
        right /= np.linalg.norm(right)
        frames.append(np.stack([right, np.cross(-towards, right), -towards]))
    stacked = np.stack(frames)
    return Lights(brightness[:, None] * tint, stacked, shadow_maps(vertices, faces, stacked, EXTENT, SHADOW_SIZE))
