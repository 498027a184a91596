"""From a robot's bag to a map in metres, in the frame of the fixture: noise is refined away, a hand-eye error named."""

import numpy as np
import pytest
from robot_bag import FIXTURE, images_of, in_metres, robot_bag, robot_transforms
from textured_cube import CAMERA, GROUND, HALF, draw, ring_poses

from pad_ros.imaging.geometry import Pose
from pad_ros.io.read_views import read_views
from pad_ros.training.mapping import build_map

COUNT = 24
UNIT = 0.1  # m: the cube has sides of 12 cm, and the camera is 40 cm away
TRUE = [in_metres(pose, UNIT) for pose in ring_poses(COUNT)]


def draw_metres(pose: Pose) -> np.ndarray:
    return draw(in_metres(pose, 1 / UNIT))


@pytest.fixture(scope="module")
def pictures():
    return images_of(draw_metres, TRUE, CAMERA)


def off_surface(points):
    """How far [N] points are from the cube's faces, m."""
    return np.abs(points).max(axis=1) - UNIT * HALF


@pytest.mark.slow
def test_a_noisy_robot_gives_a_map_in_metres(tmp_path, pictures, capsys):
    """2 mm and .3 degrees of noise: positions within 1 mm or .5 % after refinement."""
    bag = robot_bag(tmp_path / "bag", pictures, robot_transforms(TRUE))
    sfm_map, _ = build_map(read_views(bag, part_frame=FIXTURE), GROUND)
    assert np.median(np.abs(off_surface(sfm_map.points))) < 0.001
    assert abs(np.median(off_surface(sfm_map.points))) < 0.005 * 2 * UNIT * HALF
    apart = [np.linalg.norm(a.centre - b.centre) for a, b in zip(sfm_map.poses, TRUE, strict=True)]
    assert np.median(apart) < 0.001
    said = capsys.readouterr().err
    assert "poses refined: reprojection error" in said
    assert "measured poses are off by 0." in said and "hand-eye" not in said


@pytest.mark.slow
def test_a_bad_hand_eye_calibration_is_found_and_named(tmp_path, pictures, capsys):
    turn = Pose.identity().retract(np.array([np.radians(1.2), 0, 0, 0, 0, 0])).rotation
    off = Pose.from_rt(turn, -turn @ np.array([0.006, -0.004, 0.0]))
    bag = robot_bag(tmp_path / "bag", pictures, robot_transforms(TRUE, off))
    sfm_map, _ = build_map(read_views(bag, part_frame=FIXTURE), GROUND)
    said = capsys.readouterr().err
    assert "warning: the hand-eye calibration (tool0 -> camera_optical_frame) is wrong by 1." in said
    assert "calibrate the robot's camera anew" in said
    assert np.median(np.abs(off_surface(sfm_map.points))) < 0.0015
