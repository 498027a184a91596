"""A generated part on a table with a pattern, clutter behind it: photographs as somebody takes them on a bench."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pad_ros.demo.materials import Decal, Material, Pattern
from pad_ros.demo.meshes import at, box
from pad_ros.demo.part_kit import CAMERA_ANGLE_X
from pad_ros.demo.parts import make_part
from pad_ros.demo.render import SubPart, build_scene, render
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.images import Image

PART, SIZE = "toy", 240
CAMERA = Camera.from_fov(SIZE, SIZE, CAMERA_ANGLE_X)
TABLE_SIDE = 5.4  # the cameras must have all of it in front of them
MISSING = "load"


@dataclass(frozen=True)
class Table:
    """What the part stands on and in front of; another seed is another place."""

    seed: int = 0

    def subparts(self, bottom: float) -> list[SubPart]:
        rng = np.random.default_rng(self.seed)
        pattern = rng.integers(60, 200, (40, 40, 3)).astype(np.uint8)
        fine = cv2.resize(pattern, (256, 256), interpolation=cv2.INTER_NEAREST)
        picture = np.clip(fine + rng.normal(0, 12, fine.shape), 0, 255).astype(np.uint8)
        top = Material((0.5, 0.5, 0.5), roughness=0.8, decal=Decal(picture, TABLE_SIDE, TABLE_SIDE, (0.5, 0.5, 0.5)))
        found = [SubPart("table", box(TABLE_SIDE, TABLE_SIDE, 0.04), at(z=bottom - 0.02), top)]
        for k in range(5):
            angle, far, height = 2 * np.pi * (k + rng.random()) / 5, rng.uniform(1.7, 2.1), rng.uniform(0.3, 0.9)
            colour, second = rng.uniform(0.1, 0.9, (2, 3))
            paint = Material(tuple(colour), tuple(second), Pattern.STRIPES, rng.uniform(0.05, 0.15), 0.6)
            where = at(far * np.cos(angle), far * np.sin(angle), bottom + height / 2, rz=rng.uniform(0, 90))
            found.append(SubPart(f"clutter{k}", box(0.35, 0.35, height), where, paint))
        return found


def poses(count: int, seed: int = 0) -> list[Pose]:
    """Cameras from 35 to 65 degrees above the table all around."""
    rng = np.random.default_rng(seed)
    distance, found = make_part(PART).distance, []
    for k in range(count):
        elevation, angle = np.radians(35 + 30 * ((k * 0.618 + rng.random() * 0.1) % 1)), 2 * np.pi * k / count
        direction = np.array([np.cos(angle) * np.cos(elevation), np.sin(angle) * np.cos(elevation), np.sin(elevation)])
        aim = rng.uniform(-0.1, 0.1, 3)
        found.append(Pose.look_at(1.1 * distance * direction, aim, np.array([0.0, 0.0, 1.0])))
    return found


def photographs(views: Sequence[Pose], table: Table = Table(), without: str = "") -> list[Image]:
    """The part, or what is left of it without a group of its sub-parts, on the table."""
    part = make_part(PART)
    bottom = float(build_scene(part.subparts).vertices[:, 2].min())
    kept = [subpart for subpart in part.subparts if subpart.group != without]
    scene = build_scene([*kept, *table.subparts(bottom)])
    return [render(scene, CAMERA, pose).image for pose in views]


def write_views(folder: Path, count: int) -> None:
    """A data set of `count` views with poses, as `pad train` reads it."""
    frames = []
    for k, (pose, image) in enumerate(zip(views := poses(count), photographs(views), strict=True)):
        images.save(folder / "train" / "good" / f"{k}.png", image)
        entry = {"file_path": f"train/good/{k}.png", "transform_matrix": pose.to_opengl_camera_to_world().tolist()}
        frames.append(entry)
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": CAMERA_ANGLE_X, "frames": frames}))
