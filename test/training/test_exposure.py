"""Exposure and white balance: found from landmarks and undone where they differ, nothing touched where they do not."""

from dataclasses import replace

import numpy as np
import pytest
from textured_cube import cube_map, cube_views

from pad_ros.training.exposure import levelled, view_gains

VIEWS = cube_views(24)
GAINS = np.exp(np.random.default_rng(4).uniform(-0.25, 0.12, 24))
HUES = np.exp(np.random.default_rng(5).normal(0, 0.05, (24, 3)))


def taken_with(gains):
    """The views with a gain each, [V, 3]."""
    views = (replace(view, image=(view.image * gain + 0.5).clip(0, 255).astype(np.uint8))
             for view, gain in zip(VIEWS.views, gains, strict=True))  # fmt: skip
    return replace(VIEWS, views=tuple(views))


def test_a_locked_camera_stays_exact(capsys):
    sfm_map = cube_map()
    capsys.readouterr()  # its progress
    assert levelled(VIEWS, sfm_map) is VIEWS
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "gains, named", [
        (np.repeat(GAINS[:, None], 3, axis=1), "exposure of the views differ"),
        (HUES / HUES.mean(axis=1, keepdims=True), "white balance of the views differ"),
        (GAINS[:, None] * HUES, "exposure and white balance of the views differ"),
    ],
)  # fmt: skip
def test_different_exposures_are_found_and_undone(gains, named, capsys):
    views = taken_with(gains)
    true = np.log(gains) - np.median(np.log(gains), axis=0)
    np.testing.assert_allclose(view_gains(views, cube_map()), true, atol=0.02)
    same = levelled(views, cube_map())
    said = capsys.readouterr().err
    assert named in said and "undone, as the landmarks say; lock both in the camera for exact colours" in said
    middle = np.exp(np.median(np.log(gains), axis=0))
    for ours, view in zip(same.views, VIEWS.views, strict=True):
        part = view.image[130:190, 130:190].mean(axis=(0, 1))
        np.testing.assert_allclose(ours.image[130:190, 130:190].mean(axis=(0, 1)), part * middle, rtol=0.03)


def test_a_view_that_shows_no_landmark_is_left_as_it_is():
    sfm_map = cube_map()
    unseen = sfm_map.take(sfm_map.descriptor_view != 3)
    gains = view_gains(taken_with(np.repeat(GAINS[:, None], 3, axis=1)), unseen)
    assert (gains[3] == 0).all() and np.abs(gains).max() > 0.05
    assert (view_gains(VIEWS, sfm_map.take(sfm_map.descriptor_view < 0)) == 0).all()
