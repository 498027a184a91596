"""A glint is brighter than all that the reference shows, and is forgiven where reference views glittered."""

import numpy as np
import pytest
from judging import changed, flat_calibration, map_of
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.comparison.glints import ALLOWANCE, REACH, SIGMA, brighter, glints_allowed, glints_of
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.rendering.renderer import Renderer
from pad_ros.rendering.result import ReferenceRendering

GREY, LIGHT = 100, 220


def grey(photographs=0):
    """A grey rendering of 30 x 30 pixels and so many grey photographs that see it all."""
    nothing = np.ones((30, 30), np.float32)
    return ReferenceRendering(
        np.full((30, 30, 3), GREY / 255, np.float32), nothing, nothing, np.zeros((30, 30, 3), np.float32),
        Camera.from_fov(30, 30, 1.0), Pose.identity(),
        np.full((photographs, 30, 30, 3), GREY, np.uint8), np.ones((photographs, 30, 30), bool),
    )  # fmt: skip


def image(colour, x=15):
    out = np.full((30, 30, 3), GREY, np.uint8)
    out[:, x:] = colour
    return out


def test_brighter_than_all_that_the_reference_shows():
    found = brighter(image(LIGHT), grey())
    assert np.all(found[:, :15] == 0) and np.all(found[:, 15:] > 0.4)
    assert np.all(brighter(image(20), grey()) == 0)  # a dark stain is no glint


def test_what_one_photograph_shows_is_no_excess_where_it_was_seen_and_a_pixel_beside():
    reference = grey(1)
    reference.photographs[0, :, 16:] = LIGHT
    assert np.all(brighter(image(LIGHT), reference) < 1e-6)
    reference.seen[:] = False
    assert np.all(brighter(image(LIGHT), reference)[:, 15:] > 0.4)


def test_a_glint_is_no_brighter_than_the_residual_and_lies_on_the_part():
    excess, residual = np.full((40, 40), 0.5, np.float32), np.full((40, 40), 0.2, np.float32)
    part = np.zeros((40, 40), bool)
    part[:, :20] = True
    found = glints_of(excess, residual, part)
    far = int(4 * SIGMA)
    np.testing.assert_allclose(found[:, : 20 - far], 0.2, rtol=1e-4)
    assert found[:, 20 + far :].max() < 1e-4


def test_only_what_is_brighter_is_allowed_and_only_where_reference_views_glittered():
    reference = grey()
    reference.features[:10, :, 2] = 0.3
    excess = np.full((30, 30), 0.01, np.float32)
    excess[:, 15:] = 0.2
    pixels = np.arange(900)
    found = glints_allowed(reference, 1, excess, np.full(900, 0.25, np.float32), pixels).reshape(30, 30)
    np.testing.assert_allclose(found[:10, 15:], ALLOWANCE * 0.3, rtol=1e-6)
    assert found[:, :15].max() == 0 and found[10 + REACH :].max() == 0


@pytest.mark.parametrize("spot, forgiven", [(LIGHT, True), (10, False)])
def test_a_glint_scores_less_on_a_part_that_glitters_and_a_dark_spot_does_not(spot, forgiven):
    gaussians = box(1500)
    pose = orbit(5)[0]
    plain = Renderer(gaussians, WHITE).part(CAMERA, pose)
    picture = plain.rgb8
    picture[60:66, 60:66] = spot
    scores = []
    for glint in (0.0, 0.6):
        glints = np.tile(np.array([glint, 0, 0], np.float32), (len(gaussians), 1))
        calibration = changed(flat_calibration(), glints=glints)
        shown = Renderer(gaussians, WHITE, calibration.state.features()).part(CAMERA, pose)
        scores.append(map_of(picture, shown, calibration).values.max())
    assert (scores[1] < 0.7 * scores[0]) == forgiven
