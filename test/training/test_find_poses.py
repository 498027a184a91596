from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from point_views import BLANK, GUESS, TRUE, ring, seen_by
from textured_cube import ring_poses

from pad_ros.errors import TrainingError
from pad_ros.imaging.background import Background
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.localization.features import Features
from pad_ros.settings import LocalizationSettings
from pad_ros.training.find_poses import find_poses
from pad_ros.training.mapping_tools import MappingTools

TOOLS = MappingTools(LocalizationSettings(), {}, Background(None, 10.0), "cpu")
NO_FEATURES = Features(np.zeros((0, 2)), np.zeros((0, 128), np.uint8), np.zeros(0, np.float32))


def test_poses_and_focal_length_are_found():
    views, features = ring(12)
    posed, seen, matches = find_poses(views, features, TOOLS, 3.0)
    assert [view.name for view in posed.views] == [view.name for view in views.views]
    assert posed.views[0].camera.fx == pytest.approx(TRUE.fx, rel=0.01)
    assert len(seen) == 12
    assert matches
    found = np.array([view.pose.centre for view in posed.views])
    true = np.array([pose.centre for pose in ring_poses(12)])
    fit = pycolmap.estimate_sim3d(found, true)
    assert np.linalg.norm(np.array([fit * one for one in found]) - true, axis=1).max() < 0.02


def test_the_lens_is_found_and_taken_out():
    lens = replace(TRUE, distortion=(-0.15, 0.0, 0.0, 0.0))
    views, features = ring(12, lens)
    posed, seen, _ = find_poses(views, features, TOOLS, 3.0)
    assert posed.views[0].distortion[0] == pytest.approx(-0.15, abs=0.02)
    assert not posed.views[0].camera.distorted
    # Where a pinhole would have seen the points.
    expected = seen_by(ring_poses(12)[4], TRUE).keypoints
    assert np.median(np.linalg.norm(seen[4].keypoints - expected, axis=1)) < 3


def test_a_stranger_is_left_out_and_named(capsys):
    views, features = ring(10)
    views = replace(views, views=(*views.views, View("other.jpg", BLANK, GUESS)))
    posed, seen, _ = find_poses(views, [*features, seen_by(ring_poses(10)[3], seed=5)], TOOLS, 3.0)
    assert len(posed) == len(seen) == 10
    said = capsys.readouterr().err
    assert (
        "1 of 11 views could not be placed in the map and are left out: other.jpg (no overlap with any other view"
        in said
    )


def test_views_that_do_not_go_together_are_named_with_the_reason():
    views, features = ring(4)
    names = [f"{i}.jpg" for i in range(7)]
    strangers = [seen_by(ring_poses(4)[0], seed=50 + i) for i in range(6)]
    together = ReferenceViews((*views.views, *(View(name, BLANK, GUESS) for name in names)), "photos")
    with pytest.raises(TrainingError) as error:
        find_poses(together, [*features, *strangers, NO_FEATURES], TOOLS, 3.0)
    text = str(error.value)
    assert text.startswith("photos: only ")
    assert "of 11 views could be placed in one map, too few to go on. Not placed: " in text
    assert "0.jpg (no overlap with any other view, not even with 03.jpg)" in text
    assert "What to do: take them sharp, all around the part in steps of at most 15 degrees" in text


def test_up_is_where_the_camera_says_it_is():
    views, features = ring(12)
    turned = [
        np.stack([kp[:, 1], 400 - kp[:, 0]], axis=1) for kp in (f.keypoints for f in features)
    ]  # stored on its side
    sideways = [replace(f, keypoints=kp) for f, kp in zip(features, turned, strict=True)]
    held = replace(views, views=tuple(replace(view, quarter_turns=1) for view in views.views))
    posed, _, _ = find_poses(held, sideways, TOOLS, 3.0)
    assert all(view.pose.centre[2] > 0 for view in posed.views)
    ignored, _, _ = find_poses(views, sideways, TOOLS, 3.0)
    assert not all(view.pose.centre[2] > 0 for view in ignored.views)
