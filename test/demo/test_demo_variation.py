"""Good units that differ: within their limits, deterministic, and in the images that a data set of them has."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pad_ros.demo.defects import Limits
from pad_ros.demo.generator import VARIED, make_dataset, make_good_units
from pad_ros.demo.part_kit import CAMERA_ANGLE_X, Part
from pad_ros.demo.parts import PARTS, make_part
from pad_ros.demo.render import build_scene, render
from pad_ros.demo.variation import Variation
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, Pose, rotation_angle

NONE = Variation(label_shift=0, colour=0, screw_turn=0, play=0, texture=False)
CAMERA = Camera.from_fov(96, 96, CAMERA_ANGLE_X)
POSE = Pose.look_at(np.array([-2.0, -2.2, 1.6]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
SIZE = 64


def picture(part: Part) -> np.ndarray:
    return render(build_scene(part.subparts), CAMERA, POSE).image.astype(int)


@pytest.mark.parametrize("name", PARTS)
def test_each_difference_keeps_its_limit(name: str) -> None:
    part = make_part(name)
    pixel = 2 * part.distance * np.tan(CAMERA_ANGLE_X / 2) / 400
    unit, colour = Variation().unit(part, "a"), replace(NONE, colour=0.03).unit(part, "a")
    labels, turned = replace(NONE, label_shift=2).unit(part, "a"), replace(NONE, screw_turn=180).unit(part, "a")
    play = replace(NONE, play=0.5).unit(part, "a")
    assert [s.name for s in unit.subparts] == [s.name for s in part.subparts]
    for k, nominal in enumerate(part.subparts):
        shift = np.linalg.norm(labels.subparts[k].transform[:3, 3] - nominal.transform[:3, 3]) / pixel
        assert 1 <= shift <= 2 if nominal.label else shift == 0
        rotation = rotation_angle(Pose(play.subparts[k].transform), Pose(nominal.transform))
        assert rotation <= np.radians(0.5) + 1e-9 and (rotation > 0) == (nominal.group in part.loose)
        axes = turned.subparts[k].transform, nominal.transform
        np.testing.assert_allclose(axes[0][:, 2:], axes[1][:, 2:], atol=1e-12)  # place and axis of a screw stay
        assert np.allclose(*axes) == (nominal.name not in part.screws)
        gain = np.array(colour.subparts[k].material.colour) / nominal.material.colour
        assert np.all(np.abs(gain - 1) <= 0.03 + 1e-9) and np.any(gain != 1)


def test_screws_and_labels_are_known_for_most_parts() -> None:
    for name in PARTS:
        part = make_part(name)
        assert part.screws or name == "connector"
        assert any(s.label for s in part.subparts) or name == "pcb"


def test_units_are_the_same_again_and_differ_from_each_other() -> None:
    part = make_part("bracket")
    one = picture(Variation().unit(part, "a"))
    np.testing.assert_array_equal(one, picture(Variation().unit(part, "a")))
    for other in (part, Variation().unit(part, "b"), Variation(seed=1).unit(part, "a")):
        assert 0.3 < np.abs(one - picture(other)).mean() < 5
    np.testing.assert_array_equal(picture(part), picture(NONE.unit(part, "a")))


def test_a_casting_has_its_own_speckles_and_paint_its_own_grain() -> None:
    part = make_part("gearbox")
    changed = np.abs(picture(replace(NONE, texture=True).unit(part, "a")) - picture(part)).max(axis=2)
    scene = build_scene(part.subparts)
    share = render(scene, CAMERA, POSE)
    flange, housing, shaft = (share.coverage(scene.indices([group])) == 1 for group in ("flange", "housing", "shaft"))
    assert np.median(changed[flange]) > np.median(changed[housing]) > 0 == changed[shaft].max()


def test_good_units_lie_in_a_folder_each_without_poses(tmp_path: Path) -> None:
    for out in ("once", "again"):
        make_good_units(tmp_path / out, units=2, images_per_unit=2, views=12, size=SIZE)
    written = sorted(path.relative_to(tmp_path / "once").as_posix() for path in (tmp_path / "once").rglob("*.*"))
    assert written == ["good/0/0.png", "good/0/1.png", "good/1/0.png", "good/1/1.png"]
    for name in written:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        image = images.load(tmp_path / "once" / name)
        assert image.shape == (SIZE, SIZE, 3) and 0.05 < (image < 250).any(axis=2).mean() < 0.5


def test_defects_lie_on_varied_units_and_masks_mark_the_defect_alone(tmp_path: Path) -> None:
    kinds = {"good": 1, "Missing": 1, "Stains": 1}
    make_dataset(tmp_path / "same", views=3, size=96, queries=kinds)
    make_dataset(tmp_path / "varied", views=3, size=96, queries=kinds, conditions=VARIED)
    for name in ("train/good/0.png", "test/good/0.png"):
        same = images.load(tmp_path / "same" / name).astype(int)
        differs = np.abs(same - images.load(tmp_path / "varied" / name)).mean()
        assert differs == 0 if name.startswith("train") else 0.1 < differs < 5  # the same pose, another unit
    for kind in ("Missing", "Stains"):
        mask = cv2.imread(str(tmp_path / f"varied/ground_truth/{kind}/0_mask.png"), cv2.IMREAD_UNCHANGED)
        assert Limits(96).area_fits(int(np.count_nonzero(mask)))
