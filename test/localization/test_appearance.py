"""Poses from the appearance of the part as a whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splat_scenes import CAMERA, WHITE, box, orbit, photographs_of

from pad_ros.imaging.background import part_mask
from pad_ros.imaging.geometry import Pose, rotation_angle
from pad_ros.imaging.views import View
from pad_ros.localization.appearance import LIKE_A_VIEW, Appearance, poses_in_gaps
from pad_ros.rendering.renderer import Renderer
from pad_ros.training.calibration import take_photographs

PART = box()
VIEWS = photographs_of(PART, 24)
PHOTOGRAPHS = take_photographs(PART, VIEWS, WHITE, "cpu")


@pytest.fixture(scope="module")
def appearance():
    return Appearance(PHOTOGRAPHS, WHITE, np.zeros(3))


def angle_to(poses, pose):
    """From the nearest of the poses, seen from the part, degrees."""
    towards = [p.centre / np.linalg.norm(p.centre) for p in (*poses, pose)]
    return np.degrees(np.arccos(np.clip(towards[:-1] @ towards[-1], -1, 1)).min())


def picture(pose):
    return Renderer(PART, WHITE).render(CAMERA, pose).rgb8


def rolled(pose, degrees):
    """The same view with the camera turned about its optical axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return Pose.from_rt(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.zeros(3)) @ pose


def moved(pose, shift):
    return Pose.from_rt(np.eye(3), np.asarray(shift, float)) @ pose


@given(
    view=st.integers(0, 23), roll=st.floats(-180, 180), x=st.floats(-0.3, 0.3), y=st.floats(-0.3, 0.3),
    nearer=st.floats(-0.5, 1.0),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_a_known_view_is_found_however_it_is_turned_and_moved(appearance, view, roll, x, y, nearer):
    truth = moved(rolled(VIEWS[view].pose, roll), (x, y, nearer))
    image = picture(truth)
    found = appearance.poses(image, part_mask(image, WHITE), CAMERA, 1)[0]
    assert rotation_angle(found, truth) < np.radians(16)  # half a turn's step, and what a shift shows of other sides
    assert np.linalg.norm(found.translation - truth.translation) < 0.25


def test_views_between_the_photographs_are_among_the_first(appearance):
    errors = []
    for pose in orbit(9):
        image = picture(pose)
        found = appearance.poses(image, part_mask(image, WHITE), CAMERA, 4)
        errors.append(min(np.degrees(rotation_angle(p, pose)) for p in found))
    assert np.median(errors) < 15


def test_nothing_to_compare():
    image = picture(VIEWS[0].pose)
    mask = part_mask(image, WHITE)
    assert Appearance((), WHITE, np.zeros(3)).poses(image, mask, CAMERA, 4) == []
    known = Appearance(PHOTOGRAPHS[:2], WHITE, np.zeros(3))
    assert known.poses(image, np.zeros_like(mask), CAMERA, 4) == []
    assert len(known.poses(image, mask, CAMERA, 4)) == 2


def test_poses_in_gaps_fill_what_few_views_leave_open():
    few = orbit(6)
    found = poses_in_gaps(few, np.zeros(3), np.radians(45))
    distances = [np.linalg.norm(pose.centre) for pose in few]
    for pose in found:
        assert np.degrees(LIKE_A_VIEW) < angle_to(few, pose) <= 45.1
        assert min(distances) - 1e-6 <= np.linalg.norm(pose.centre) <= max(distances) + 1e-6
    covered = [pose for pose in orbit(40) if angle_to(few, pose) < 35]
    assert covered and max(angle_to((*few, *found), pose) for pose in covered) < np.degrees(LIKE_A_VIEW)
    assert poses_in_gaps(few, np.zeros(3), LIKE_A_VIEW) == []


def test_a_part_is_found_where_no_photograph_was_taken_near():
    views = [VIEWS[i] for i in (0, 8, 16)]
    photographs = take_photographs(PART, views, WHITE, "cpu")
    truth = next(pose for pose in orbit(40) if 25 < angle_to([view.pose for view in views], pose) < 40)
    rendered = [
        take_photographs(PART, [View("gap", picture(pose), CAMERA, pose, None)], WHITE, "cpu")[0]
        for pose in poses_in_gaps([view.pose for view in views], np.zeros(3), np.radians(45))
    ]
    image = picture(truth)

    def error(shown):
        found = Appearance(shown, WHITE, np.zeros(3)).poses(image, part_mask(image, WHITE), CAMERA, 3)
        return min(np.degrees(rotation_angle(pose, truth)) for pose in found)

    assert error([*photographs, *rendered]) < 16 < error(photographs)
