"""Demo data sets in the MAD layout: reference views of a good part, queries with and without defects, truth."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from ..imaging import images
from ..imaging.geometry import Camera, Pose
from .defects import KINDS, Limits, Mask, defect_mask, propose
from .grounds import Ground
from .lamps import STUDIO, Lamps
from .part_kit import CAMERA_ANGLE_X, Part
from .parts import make_part
from .render import Scene, build_scene, render, surface
from .variation import Variation

DEMO_QUERIES: Mapping[str, int] = {"good": 4, **dict.fromkeys(KINDS, 2)}
MIN_VIEW_GAP, MAX_VIEW_GAP = np.radians(2.0), np.radians(12.0)  # of a query from the nearest reference view
MAX_DRAWS = 2000


@dataclass(frozen=True)
class Conditions:
    """How the images of a data set are taken.

    lowest: degrees; queries lie near reference views of at least this elevation. lamps: of the reference views, and of
    the queries where `query_lamps` is None. variation: each query shows a unit of its own; None: all show the nominal
    part, as the reference views do. ground: what the part lies on in queries, which then must not be taken from below.
    Poses depend on neither lamps nor variation nor ground, defects not on lamps and ground.
    """

    lowest: float = -90.0
    lamps: Lamps = STUDIO
    query_lamps: Lamps | None = None
    variation: Variation | None = None
    ground: Ground | None = None


VARIED = Conditions(variation=Variation())


@dataclass(frozen=True, eq=False)
class Shoot:
    """What all images of a data set share."""

    part: Part
    scene: Scene  # of the nominal part
    camera: Camera
    reference: list[Pose]
    near: list[Pose]  # reference views near which queries lie
    conditions: Conditions

    @staticmethod
    def prepare(part: Part, views: int, size: int, conditions: Conditions = Conditions()) -> Shoot:
        """See `make_dataset`."""
        if views < 3 or not images.MIN_SIDE <= size <= 4096:
            raise InputError(
                f"a data set needs at least 3 views (not {views}) of {images.MIN_SIDE} to 4096 px (not {size})"
            )
        reference = reference_poses(views, part.distance)
        lowest = part.distance * np.sin(np.radians(conditions.lowest))
        near = [pose for pose in reference if pose.centre[2] >= lowest]
        camera = Camera.from_fov(size, size, CAMERA_ANGLE_X)
        return Shoot(part, build_scene(part.subparts), camera, reference, near, conditions)

    def unit(self, name: str) -> tuple[Part, Scene]:
        """The unit that the query of this name shows."""
        if self.conditions.variation is None:
            return self.part, self.scene
        unit = self.conditions.variation.unit(self.part, name)
        return unit, build_scene(unit.subparts)

    @property
    def query_lamps(self) -> Lamps:
        lamps, ground = self.conditions.query_lamps or self.conditions.lamps, self.conditions.ground
        return lamps if ground is None else replace(lamps, floor=ground.brightness)

    def query(self, scene: Scene, pose: Pose) -> images.Image:
        """The image of a query."""
        if self.conditions.ground is not None:
            scene = self.conditions.ground.under(scene)
        return render(scene, self.camera, pose, self.query_lamps).image

    @property
    def queries_as_references(self) -> bool:
        """Whether queries are taken in the light and before the ground that limits of defects are told in."""
        return self.query_lamps == STUDIO and self.conditions.ground is None

    def query_pose(self, rng: np.random.Generator) -> Pose:
        """A random pose near one of the reference views `near` that has the whole part in the image."""
        known = np.stack([pose.centre / np.linalg.norm(pose.centre) for pose in self.reference])
        starts = np.stack([pose.centre / np.linalg.norm(pose.centre) for pose in self.near])
        margin = 0.01 * self.camera.width
        for _ in range(MAX_DRAWS):
            axis = rng.normal(size=3)
            start = starts[rng.integers(len(starts))]
            side = np.cross(start, axis)
            angle = rng.uniform(MIN_VIEW_GAP, MAX_VIEW_GAP)
            direction = np.cos(angle) * start + np.sin(angle) * side / np.linalg.norm(side)
            far = self.part.distance * rng.uniform(0.92, 1.08)
            roll = np.radians(rng.uniform(-20, 20))
            pose = Pose.look_at(far * direction, np.zeros(3), np.array([0.0, 0.0, 1.0]), roll)
            offset = rng.uniform(-0.12, 0.12, 2) * self.camera.width * far / self.camera.fx
            pose = pose.retract(np.array([0.0, 0.0, 0.0, *offset, 0.0]))
            nearest = np.arccos(np.clip((known @ pose.centre).max() / np.linalg.norm(pose.centre), -1, 1))
            pixels = self.camera.project(pose.transform(self.scene.vertices))
            inside = margin <= pixels.min() and pixels.max() <= self.camera.width - margin
            if inside and MIN_VIEW_GAP <= nearest <= MAX_VIEW_GAP:
                return pose
        raise RuntimeError("the part does not fit into the image from its own distance")


# parameters: all have defaults, and callers name them
def make_dataset(
    out: Path,
    part: str = "bracket",
    *,
    views: int = 60,
    size: int = 400,
    queries: Mapping[str, int] = DEMO_QUERIES,
    seed: int = 0,
    conditions: Conditions = Conditions(),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes a data set of the named part (see `parts.PARTS`) into the folder `out`, which must be new or empty.

    views: reference views, spread evenly from above to 30 degrees below the part's equator.
    size: images are `size` x `size` pixels. queries: how many test images of "good" and of each defect of
    `defects.KINDS`; a query lies 2 to 12 degrees from the nearest reference view, rolled by up to 20 degrees, at 0.92
    to 1.08 of the distance, off the centre of the image. Which defects are kept, `defects.Limits` says.
    progress: called with (images done, images in all). The same arguments give the same files on any number of
    threads. Raises InputError for an unknown part or defect, a folder in use, or sizes that make no sense.
    """
    unknown = sorted(set(queries) - {"good", *KINDS})
    if unknown:
        raise InputError(f"no such defect: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    shoot = Shoot.prepare(make_part(part), views, size, conditions)
    _check_new(out)
    total, done = views + sum(queries.values()), 0

    def save(name: str, pose: Pose, image: images.Image) -> tuple[str, Pose]:
        nonlocal done
        images.save(out / name, image)
        done += 1
        if progress is not None:
            progress(done, total)
        return name, pose

    reference = [
        save(f"train/good/{k}.png", pose, render(shoot.scene, shoot.camera, pose, conditions.lamps).image)
        for k, pose in enumerate(shoot.reference)
    ]
    test = []
    for kind, k in [(kind, k) for kind, count in queries.items() for k in range(count)]:
        rng = _random(seed, f"{part}/{kind}", k)
        unit, scene = shoot.unit(f"{seed}/{kind}/{k}")
        if kind == "good":
            pose = shoot.query_pose(rng)
            image = shoot.query(scene, pose)
        else:
            pose, image, mask = _defective(kind, shoot, unit, scene, rng)
            target = out / f"ground_truth/{kind}/{k}_mask.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), mask.astype(np.uint8) * 255)
        test.append(save(f"test/{kind}/{k}.png", pose, image))
    _write_poses(out / "test_poses.json", test)
    _write_poses(out / "transforms.json", reference)


# parameters: all have defaults, and callers name them
def make_good_units(
    out: Path,
    part: str = "bracket",
    *,
    units: int = 20,
    images_per_unit: int = 3,
    views: int = 60,
    size: int = 400,
    seed: int = 0,
    conditions: Conditions = VARIED,
) -> None:
    """Writes images good/<unit>/<i>.png, without poses, of good units into the folder `out`: what a line's camera sees.

    They lie near the reference views of a data set of `views` views, as its queries do, and show none of its units.
    Raises InputError as `make_dataset` does.
    """
    shoot = Shoot.prepare(make_part(part), views, size, conditions)
    _check_new(out)
    for k in range(units):
        _, scene = shoot.unit(f"{seed}/unit/{k}")
        for i in range(images_per_unit):
            pose = shoot.query_pose(_random(seed, f"{part}/unit/{k}", i))
            images.save(out / f"good/{k}/{i}.png", shoot.query(scene, pose))


def make_foreign(out: Path, part: str = "bracket", *, size: int = 400, seed: int = 0) -> None:
    """Writes one image of another part than `part`, for a query that must not pass."""
    shoot = Shoot.prepare(make_part("toy" if part != "toy" else "gearbox"), 24, size)
    images.save(out, shoot.query(shoot.scene, shoot.query_pose(np.random.default_rng([seed, 1]))))


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


def _defective(
    kind: str, shoot: Shoot, unit: Part, scene: Scene, rng: np.random.Generator
) -> tuple[Pose, images.Image, Mask]:
    """Draws poses and defects until one keeps the limits in the light of the studio."""
    camera = shoot.camera
    limits = Limits(camera.width)
    for _ in range(MAX_DRAWS):
        pose = shoot.query_pose(rng)
        visible = surface(scene, camera, pose)
        variant = propose(kind, unit, visible, rng)
        if variant is None:
            continue
        bad_scene = build_scene(variant.subparts, variant.marks)
        if variant.changed:  # the geometry alone rules most misfits out, before anything is shaded
            after = surface(bad_scene, camera, pose).subpart
            changed = np.isin(visible.subpart, scene.indices(variant.changed))
            changed |= np.isin(after, bad_scene.indices(variant.changed))
            if not limits.area_fits(int(np.count_nonzero(changed))):
                continue
        good, bad = render(scene, camera, pose), render(bad_scene, camera, pose)
        mask = defect_mask(variant.changed, good, scene, bad, bad_scene)
        if limits.area_fits(int(np.count_nonzero(mask))) and limits.visible(mask, good.image, bad.image):
            return pose, bad.image if shoot.queries_as_references else shoot.query(bad_scene, pose), mask
    raise RuntimeError(f"no {kind} on {unit.name} keeps the limits")


def _check_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is in use; name a new folder or empty that one")


def _random(seed: int, what: str, k: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(what.encode()), k])


def _write_poses(path: Path, frames: Sequence[tuple[str, Pose]]) -> None:
    entries = [
        {"file_path": name, "transform_matrix": pose.to_opengl_camera_to_world().tolist()} for name, pose in frames
    ]
    path.write_text(json.dumps({"camera_angle_x": CAMERA_ANGLE_X, "frames": entries}, indent=1) + "\n")
