"""Other lamps: what changes in the image, and what must not."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pad_ros.demo import meshes as g
from pad_ros.demo.generator import Conditions, make_dataset
from pad_ros.demo.lamps import LAMPS, STUDIO, Lamps
from pad_ros.demo.materials import Material
from pad_ros.demo.meshes import at
from pad_ros.demo.render import Scene, SubPart, build_scene, render
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, Pose

CAMERA = Camera.from_fov(96, 96, 0.69)
UP = np.array([0.0, 0.0, 1.0])
ABOVE = Pose.look_at(np.array([0.0, -0.01, 4.0]), np.zeros(3), UP)


def ball() -> Scene:
    glossy = Material((0.5, 0.5, 0.5), grain=0.0, roughness=0.05, reflectance=0.06)
    return build_scene([SubPart("ball", g.sphere(0.8), np.eye(4), glossy)])


def brightest(image: np.ndarray) -> np.ndarray:
    """Centre (x right, y up, from the middle) of the brightest pixels of the ball."""
    grey = image.astype(int).sum(axis=2) * (np.hypot(*(np.indices((96, 96)) - 47.5)) < 20)
    rows, columns = np.nonzero(grey >= np.percentile(grey[grey > 0], 97))
    return np.array([columns.mean() - 47.5, 47.5 - rows.mean()])


def seen_from(degrees: float, scene: Scene, lamps: Lamps) -> np.ndarray:
    a = np.radians(degrees)
    pose = Pose.look_at(3.3 * np.array([0.8 * np.cos(a), 0.8 * np.sin(a), 0.6]), np.zeros(3), UP)
    return render(scene, CAMERA, pose, lamps).image.astype(int)


def test_the_highlight_follows_the_lamp() -> None:
    scene = ball()
    for lamps in (STUDIO, LAMPS["moved"], replace(STUDIO, azimuth=2.0)):
        spot = brightest(render(scene, CAMERA, ABOVE, lamps).image)
        np.testing.assert_allclose(
            spot / np.linalg.norm(spot), lamps.key()[:2] / np.linalg.norm(lamps.key()[:2]), atol=0.2
        )


def test_a_moved_lamp_changes_little_and_is_cooler() -> None:
    scene, moved = ball(), LAMPS["moved"]
    angle = np.degrees(
        np.arccos(moved.key() @ STUDIO.key() / np.linalg.norm(moved.key()) / np.linalg.norm(STUDIO.key()))
    )
    assert 7 < angle < 12
    change = render(scene, CAMERA, ABOVE, moved).image.astype(int) - render(scene, CAMERA, ABOVE).image
    assert 0.2 < np.abs(change).mean() < 4
    assert change[..., 2].mean() > change[..., 0].mean()


def test_day_is_brighter_and_cooler_than_night() -> None:
    day, night = (render(ball(), CAMERA, ABOVE, LAMPS[name]).image.astype(float) for name in ("day", "night"))
    difference = (day - night).mean(axis=(0, 1))
    assert difference[2] > difference[0] > 1


def test_the_shadow_moves_with_the_lamp() -> None:
    plate = SubPart("plate", g.box(1.8, 1.8, 0.1), np.eye(4), Material((0.5, 0.5, 0.5), grain=0.0))
    scene = build_scene([plate, SubPart("ball", g.sphere(0.2), at(0, 0, 0.5), Material((0.5, 0.5, 0.5), grain=0.0))])
    on_plate = render(scene, CAMERA, ABOVE).coverage([0]) == 1
    for azimuth in (0.0, np.pi):
        lamps = replace(STUDIO, azimuth=azimuth)
        bare = render(build_scene([plate]), CAMERA, ABOVE, lamps).image.astype(int)
        rows, columns = np.nonzero(on_plate & ((bare - render(scene, CAMERA, ABOVE, lamps).image).max(axis=2) > 25))
        assert np.array([columns.mean() - 47.5, 47.5 - rows.mean()]) @ lamps.key()[:2] < -2  # away from the lamp


def test_on_a_turntable_the_light_keeps_still_in_the_image() -> None:
    scene = ball()
    fixed = [seen_from(angle, scene, STUDIO) for angle in (0, 100)]
    turning = [seen_from(angle, scene, LAMPS["turntable"]) for angle in (0, 100)]
    np.testing.assert_array_equal(fixed[0], turning[0])
    assert np.abs(turning[0] - turning[1]).mean() < 0.3 < 1 < np.abs(fixed[0] - fixed[1]).mean()


def test_data_sets_under_other_lamps_show_the_same_poses_and_defects(tmp_path: Path) -> None:
    arguments = {"views": 3, "size": 64, "queries": {"good": 1, "Burrs": 1}}
    for out, lamps in (("a", None), ("b", LAMPS["night"])):
        make_dataset(tmp_path / out, "toy", **arguments, conditions=Conditions(query_lamps=lamps))
    for path in ("test_poses.json", "transforms.json", "ground_truth/Burrs/0_mask.png", "train/good/0.png"):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    for query in ("good", "Burrs"):
        a, b = (images.load(tmp_path / out / f"test/{query}/0.png").astype(int) for out in "ab")
        assert np.abs(a - b).max() > 3


def test_a_turntable_data_set_has_its_light_in_the_reference_views(tmp_path: Path) -> None:
    arguments = {"views": 3, "size": 64, "queries": {}}
    make_dataset(tmp_path / "a", "toy", **arguments)
    make_dataset(tmp_path / "b", "toy", **arguments, conditions=Conditions(lamps=LAMPS["turntable"]))
    a, b = (images.load(tmp_path / out / "train/good/2.png").astype(int) for out in "ab")
    assert np.abs(a - b).max() > 10
