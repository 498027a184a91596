"""What a demo part lies on: it shows behind the part and darkens what faces it, and changes neither pose nor truth."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pad_ros.demo.generator import Conditions, make_dataset
from pad_ros.demo.grounds import GROUNDS
from pad_ros.demo.lamps import STUDIO, Lamps
from pad_ros.demo.parts import make_part
from pad_ros.demo.render import build_scene, render
from pad_ros.imaging.geometry import Camera, Pose

CAMERA = Camera.from_fov(96, 96, 0.69)
ABOVE = Pose.look_at(np.array([2.4, 0.0, 2.4]), np.zeros(3), np.array([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("name", GROUNDS)
def test_the_ground_shows_around_the_part_and_the_part_stays_in_its_place(name: str) -> None:
    part = make_part("toy")
    scene = build_scene(part.subparts)
    standing = GROUNDS[name].under(scene)
    alone, placed = render(scene, CAMERA, ABOVE), render(standing, CAMERA, ABOVE)
    everything = range(len(part.subparts))
    np.testing.assert_array_equal(alone.coverage(everything), placed.coverage(everything))
    around = alone.coverage(everything) == 0
    assert (alone.image[around] == 255).all()
    shown = placed.image[around & (placed.coverage([len(part.subparts)]) == 1)]
    assert len(shown) > 500 and shown.mean() < 150 and shown.std(axis=0).min() > 1
    inside = alone.coverage(everything) == 1  # the ground throws no light, and takes that from below
    assert placed.image[inside].mean() < alone.image[inside].mean()


def test_a_dark_floor_is_mirrored_darker() -> None:
    scene = build_scene(make_part("valve").subparts)
    below = Pose.look_at(np.array([3.0, 0.0, 0.6]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    bright, dark = (render(scene, CAMERA, below, lamps).image.astype(int) for lamps in (STUDIO, Lamps(floor=0.1)))
    assert (dark <= bright).all() and (bright - dark).max() > 40


def test_data_sets_on_a_ground_show_the_same_poses_and_defects(tmp_path: Path) -> None:
    arguments = {"views": 12, "size": 96, "queries": {"good": 1, "Missing": 1}, "seed": 3}
    conditions = {"plain": Conditions(lowest=35), "belt": Conditions(lowest=35, ground=GROUNDS["belt"])}
    for name, given in conditions.items():
        make_dataset(tmp_path / name, "toy", **arguments, conditions=given)  # type: ignore[arg-type]
    for same in ("test_poses.json", "ground_truth/Missing/0_mask.png", "train/good/5.png"):
        assert (tmp_path / "plain" / same).read_bytes() == (tmp_path / "belt" / same).read_bytes()
    plain, belt = (cv2.imread(str(tmp_path / name / "test/good/0.png")).mean() for name in conditions)
    assert belt < plain - 40
