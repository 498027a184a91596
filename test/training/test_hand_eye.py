"""Measured poses: their frame and scale, their noise, and a camera that is not where the robot believes."""

import re

import numpy as np
import pycolmap
import pytest

from pad_ros.imaging.geometry import Pose
from pad_ros.imaging.views import Measured
from pad_ros.training.hand_eye import agree

FRAME = Measured("fixture", "camera_optical_frame", "tool0")
DISTANCE = 0.4  # m


def views_around(count=40, seed=0):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions[:, 2] = np.abs(directions[:, 2]) + 0.2
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return [
        Pose.look_at(DISTANCE * rng.uniform(0.85, 1.15) * d, rng.normal(0, 0.01, 3), np.array([0, 0, 1.0]))
        for d in directions
    ]


def measured(true, turn=(0, 0, 0), shift=(0, 0, 0), seed=1):
    """As a robot says that is off by 2 mm and .3 degrees, with a camera that is really `shift` and `turn` elsewhere."""
    rng = np.random.default_rng(seed)
    rotation = Pose.identity().retract(np.array([*np.radians(turn), 0, 0, 0])).rotation
    believed = Pose.from_rt(rotation, -rotation @ np.array(shift)).inverse()
    noise = rng.normal(size=(len(true), 6)) / np.sqrt(3) * ([np.radians(0.3)] * 3 + [0.002] * 3)
    return [(believed @ pose).retract(twist) for pose, twist in zip(true, noise, strict=True)]


def from_photographs(true):
    """The same views in a frame and scale of their own."""
    turn = Pose.identity().retract(np.array([0.3, 0.2, 0.1, 0, 0, 0])).rotation
    return [Pose.from_rt(p.rotation @ turn.T, -p.rotation @ turn.T @ (2.7 * turn @ p.centre + (1, 2, 3))) for p in true]


def test_poses_come_back_in_metres():
    true = views_around()
    found = agree(from_photographs(true), measured(true))
    assert found.offset is None
    off = [np.linalg.norm(a.centre - b.centre) for a, b in zip(found.poses, true, strict=True)]
    assert np.mean(off) < 0.001
    assert found.degrees == pytest.approx(0.3, abs=0.06) and found.metres == pytest.approx(0.002, abs=0.0004)
    assert re.fullmatch(r"measured poses are off by 0.\d\d degrees and \d.\d mm each", found.describe(FRAME))


@pytest.mark.parametrize("turn, shift", [((1.0, -0.5, 0.3), (0, 0, 0)), ((0.8, 0, 0), (0.008, -0.004, 0))])
def test_a_bad_hand_eye_calibration_is_named(turn, shift):
    true = views_around()
    found = agree(from_photographs(true), measured(true, turn, shift))
    np.testing.assert_allclose(np.degrees(found.offset[:3]), turn, atol=0.2)
    np.testing.assert_allclose(found.offset[3:5], shift[:2], atol=0.001)
    said = found.describe(FRAME)
    assert "warning: the hand-eye calibration (tool0 -> camera_optical_frame) is wrong by" in said
    assert "calibrate the robot's camera anew" in said
    turns = [a.rotation @ b.rotation.T for a, b in zip(found.poses, true, strict=True)]
    assert np.degrees(np.arccos((np.trace(np.mean(turns, axis=0)) - 1) / 2)) < 0.3


def test_it_is_named_where_the_poses_are_aligned_already():
    """As bundle adjustment hands them on: by the cameras' centres."""
    true = views_around()
    believed = measured(true, (1.0, -0.5, 0.3), (0.004, 0, 0))
    found = from_photographs(true)
    moved = pycolmap.estimate_sim3d(np.array([p.centre for p in found]), np.array([p.centre for p in believed]))
    turn = moved.rotation.matrix()
    aligned = [Pose.from_rt(p.rotation @ turn.T, -p.rotation @ turn.T @ (moved * p.centre)) for p in found]
    assert np.degrees(agree(aligned, believed).offset[0]) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_no_hand_eye_error(seed):
    true = views_around(20, seed)
    assert agree(from_photographs(true), measured(true, seed=seed + 10)).offset is None


def test_too_few_views_tell_nothing():
    true = views_around(7)
    assert agree(true, measured(true)) is None
