"""Demo data sets in the MAD layout: reference views of a good part, queries with and without defects, truth."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..imaging import images
from ..imaging.geometry import Array, Camera, Pose
from .defects import KINDS, Limits, Mask, defect_mask, propose
from .part_kit import Part
from .parts import make_part
from .render import Rendering, Scene, build_scene, render, surface

CAMERA_ANGLE_X = 0.6911112070083618  # that of MAD and of the NeRF synthetic scenes
DEMO_QUERIES: Mapping[str, int] = {"good": 4, **dict.fromkeys(KINDS, 2)}
NEAREST, FARTHEST = np.radians(2.0), np.radians(12.0)  # of a query from the nearest reference view
MAX_DRAWS = 2000

Progress = Callable[[int, int], None]  # images done, images in all


def make_dataset(
    out: Path,
    part: str = "bracket",
    *,
    views: int = 60,
    size: int = 400,
    queries: Mapping[str, int] = DEMO_QUERIES,
    seed: int = 0,
    lowest: float = -90.0,
    progress: Progress | None = None,
) -> None:
    """Writes a data set of the named part (see `parts.PARTS`) into the folder `out`, which must be new or empty.

    views: reference views, spread evenly from above to 30 degrees below the part's equator.
    size: images are `size` x `size` pixels. queries: how many test images of "good" and of each defect of
    `defects.KINDS`; a query lies 2 to 12 degrees from the nearest reference view, rolled by up to 20 degrees, at 0.92
    to 1.08 of the distance, off the centre of the image, beside a reference view of at least `lowest` degrees of
    elevation. Which defects are kept, `defects.Limits` says. The same arguments give the same files on any number of
    threads. Raises InputError for an unknown part or defect, a folder in use, or sizes that make no sense.
    """
    unknown = sorted(set(queries) - {"good", *KINDS})
    if unknown:
        raise InputError(f"no such defect: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if views < 3 or not images.MIN_SIDE <= size <= 4096:
        raise InputError(
            f"a data set needs at least 3 views (not {views}) of {images.MIN_SIDE} to 4096 px (not {size})"
        )
    model = make_part(part)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is in use; name a new folder or empty that one")
    camera = Camera.from_fov(size, size, CAMERA_ANGLE_X)
    scene = build_scene(model.subparts)
    reference = reference_poses(views, model.distance)
    above = [pose for pose in reference if pose.centre[2] >= model.distance * np.sin(np.radians(lowest))]
    total, done = views + sum(queries.values()), 0

    def save(relative: str, rendering: Rendering) -> None:
        nonlocal done
        images.save(out / relative, rendering.image)
        done += 1
        if progress is not None:
            progress(done, total)

    for k, pose in enumerate(reference):
        save(f"train/good/{k}.png", render(scene, camera, pose))
    truth: list[tuple[str, Pose]] = []
    for kind, count in queries.items():
        for k in range(count):
            rng = np.random.default_rng([seed, zlib.crc32(f"{part}/{kind}".encode()), k])
            name = f"test/{kind}/{k}.png"
            if kind == "good":
                pose = query_pose(scene, camera, model.distance, reference, above, rng)
                save(name, render(scene, camera, pose))
            else:
                pose, rendering, mask = _defective(kind, model, scene, camera, reference, above, rng)
                target = out / f"ground_truth/{kind}/{k}_mask.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(target), mask.astype(np.uint8) * 255)
                save(name, rendering)
            truth.append((name, pose))
    _write_poses(out / "test_poses.json", truth)
    _write_poses(out / "transforms.json", [(f"train/good/{k}.png", pose) for k, pose in enumerate(reference)])


def make_foreign(out: Path, part: str = "bracket", *, size: int = 400, seed: int = 0) -> None:
    """Writes one image of another part than `part`, for a query that must not pass."""
    other = make_part("toy" if part != "toy" else "gearbox")
    scene, camera = build_scene(other.subparts), Camera.from_fov(size, size, CAMERA_ANGLE_X)
    poses = reference_poses(24, other.distance)
    pose = query_pose(scene, camera, other.distance, poses, poses, np.random.default_rng([seed, 1]))
    images.save(out, render(scene, camera, pose).image)


def make_black(out: Path, *, size: int = 400) -> None:
    """Writes an image in which nothing can be seen."""
    images.save(out, np.zeros((size, size, 3), np.uint8))


def reference_poses(count: int, distance: float) -> list[Pose]:
    """Cameras on a Fibonacci spiral at `distance`, from straight above to 30 degrees below, looking at the origin."""
    z = 0.98 - 1.48 * (np.arange(count) + 0.5) / count
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    r = np.sqrt(1 - z * z)
    centres = distance * np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)
    return [Pose.look_at(centre, np.zeros(3), np.array([0.0, 0.0, 1.0])) for centre in centres]


def query_pose(
    scene: Scene,
    camera: Camera,
    distance: float,
    reference: Sequence[Pose],
    near: Sequence[Pose],
    rng: np.random.Generator,
) -> Pose:
    """A random pose beside one of the reference views `near` that has the whole part in the image."""
    known = np.stack([pose.centre / np.linalg.norm(pose.centre) for pose in reference])
    starts = np.stack([pose.centre / np.linalg.norm(pose.centre) for pose in near])
    margin = 0.01 * camera.width
    for _ in range(MAX_DRAWS):
        axis = rng.normal(size=3)
        start = starts[rng.integers(len(starts))]
        side = np.cross(start, axis)
        angle = rng.uniform(NEAREST, FARTHEST)
        direction = np.cos(angle) * start + np.sin(angle) * side / np.linalg.norm(side)
        far = distance * rng.uniform(0.92, 1.08)
        roll = np.radians(rng.uniform(-20, 20))
        pose = Pose.look_at(far * direction, np.zeros(3), np.array([0.0, 0.0, 1.0]), roll)
        offset = rng.uniform(-0.12, 0.12, 2) * camera.width * far / camera.fx
        pose = pose.retract(np.array([0.0, 0.0, 0.0, *offset, 0.0]))
        nearest = np.arccos(np.clip((known @ pose.centre).max() / np.linalg.norm(pose.centre), -1, 1))
        pixels = camera.project(pose.transform(scene.vertices))
        inside = margin <= pixels.min() and pixels.max() <= camera.width - margin
        if inside and NEAREST <= nearest <= FARTHEST:
            return pose
    raise RuntimeError("the part does not fit into the image from its own distance")


def _defective(
    kind: str,
    part: Part,
    scene: Scene,
    camera: Camera,
    reference: Sequence[Pose],
    near: Sequence[Pose],
    rng: np.random.Generator,
) -> tuple[Pose, Rendering, Mask]:
    """Draws poses and defects until one keeps the limits."""
    limits = Limits(camera.width)
    for _ in range(MAX_DRAWS):
        pose = query_pose(scene, camera, part.distance, reference, near, rng)
        seen = surface(scene, camera, pose)
        variant = propose(kind, part, seen, rng)
        if variant is None:
            continue
        bad_scene = build_scene(variant.subparts, variant.marks)
        if variant.changed:  # a look at the geometry tells most misfits before anything is shaded
            after = surface(bad_scene, camera, pose).subpart
            changed = np.isin(seen.subpart, scene.indices(variant.changed))
            changed |= np.isin(after, bad_scene.indices(variant.changed))
            if not limits.area_fits(int(np.count_nonzero(changed))):
                continue
        good, bad = render(scene, camera, pose), render(bad_scene, camera, pose)
        mask = defect_mask(variant.changed, good, scene, bad, bad_scene)
        if limits.area_fits(int(np.count_nonzero(mask))) and limits.visible(mask, good.image, bad.image):
            return pose, bad, mask
    raise RuntimeError(f"no {kind} on {part.name} keeps the limits")


def _write_poses(path: Path, frames: Sequence[tuple[str, Pose]]) -> None:
    def matrix(pose: Pose) -> list[list[float]]:
        world: Array = pose.to_opengl_camera_to_world()
        return [[float(value) for value in row] for row in world]

    entries = [{"file_path": name, "transform_matrix": matrix(pose)} for name, pose in frames]
    path.write_text(json.dumps({"camera_angle_x": CAMERA_ANGLE_X, "frames": entries}, indent=1) + "\n")
