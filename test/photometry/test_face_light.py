"""Light that a whole face shows more or less of is taken away; what covers a part of it is not."""

import numpy as np
import pytest

from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.photometry.face_light import without_face_light
from pad_ros.photometry.surface import Surface
from pad_ros.rendering.result import ReferenceRendering

SIZE = 80
YELLOW, GREY = (0.8, 0.6, 0.2), (0.4, 0.4, 0.4)
FACE = np.s_[20:50, 15:40]  # on a plate
SPOT = np.s_[26:32, 20:28]  # a quarter of what may vote there at most


@pytest.fixture(scope="module")
def reference():
    """A grey plate with a yellow face on it."""
    rgb = np.empty((SIZE, SIZE, 3), np.float32)
    rgb[:] = GREY
    rgb[FACE] = YELLOW
    ones = np.ones((SIZE, SIZE), np.float32)
    camera = Camera.from_fov(SIZE, SIZE, 0.5)
    return ReferenceRendering(rgb, ones, 3 * ones, np.zeros((SIZE, SIZE, 0), np.float32), camera, Pose.identity())


def lit(reference, where, gain=1.0, gloss=0.0):
    """The rendering with more light on some pixels."""
    linear = reference.rgb**2
    linear[where] = linear[where] * gain + gloss
    return np.sqrt(linear.clip(0, 1)).astype(np.float32)


def left(query, reference, where):
    """Of the difference to the rendering at some pixels, the share that is not explained."""
    unlit = without_face_light(query, reference, Surface.of(reference), np.ones((SIZE, SIZE), bool))
    before = np.abs(query - reference.rgb)[where].mean()
    return 1.0 if unlit is None else float(np.abs(unlit - reference.rgb)[where].mean() / before)


@pytest.mark.parametrize("light", [{"gain": 1.3}, {"gloss": 0.2}, {"gain": 1.15, "gloss": 0.1}, {"gain": 0.7}])
def test_light_on_a_whole_face_is_taken_away(reference, light):
    inner = np.s_[22:48, 17:38]
    assert left(lit(reference, FACE, **light), reference, inner) < 0.4


@pytest.mark.parametrize("light", [{"gain": 1.3}, {"gloss": 0.2}])
def test_a_bright_spot_on_a_face_is_no_light(reference, light):
    assert left(lit(reference, SPOT, **light), reference, SPOT) > 0.9


def test_another_colour_is_no_light(reference):
    query = reference.rgb.copy()
    query[FACE] = (0.2, 0.6, 0.8)
    assert left(query, reference, FACE) > 0.6


def test_the_same_light_and_pixels_that_are_not_asked_for_stay(reference):
    surface, nowhere = Surface.of(reference), np.zeros((SIZE, SIZE), bool)
    assert without_face_light(reference.rgb, reference, surface, ~nowhere) is None
    query = lit(reference, FACE, gloss=0.2)
    assert without_face_light(query, reference, surface, nowhere) is None
    some = nowhere.copy()
    some[30:35, 20:25] = True
    changed = (without_face_light(query, reference, surface, some) != query).any(axis=2)
    assert changed[some].all() and not changed[~some].any()
