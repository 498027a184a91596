"""A shadow's edge that moved is taken away; stains, stickers and paint that no light explains are not."""

import numpy as np
import pytest

from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.photometry.moved_light import without_moved_light
from pad_ros.photometry.surface import Surface
from pad_ros.rendering.result import ReferenceRendering

SIZE = 80
LIT, SHADE, SOFT = 0.5, 0.22, 6.0  # linear light; px from lit to dark
STICKER, SPOT = np.s_[55:70, 44:60], np.s_[12:19, 60:67]
EVERYWHERE = np.ones((SIZE, SIZE), bool)


def plate(shadow_ends, sticker=True):
    """Linear light [SIZE, SIZE, 3] of a grey plate with a shadow on its left and a white sticker on its right."""
    share = np.clip((np.arange(SIZE) - shadow_ends) / SOFT + 0.5, 0, 1)
    linear = np.empty((SIZE, SIZE, 3))
    linear[:] = (SHADE + (LIT - SHADE) * share)[None, :, None]
    if sticker:
        linear[STICKER] = 0.8
    return linear


@pytest.fixture(scope="module")
def reference():
    ones = np.ones((SIZE, SIZE), np.float32)
    rgb, features = np.sqrt(plate(30)).astype(np.float32), np.zeros((SIZE, SIZE, 0), np.float32)
    return ReferenceRendering(rgb, ones, 3 * ones, features, Camera.from_fov(SIZE, SIZE, 0.5), Pose.identity())


def left(linear, reference, where):
    """Of the difference to the rendering at some pixels, the share that is not explained."""
    query = np.sqrt(linear).astype(np.float32)
    unlit = without_moved_light(query, reference, Surface.of(reference), EVERYWHERE)
    return float(np.abs(unlit - reference.rgb)[where].mean() / np.abs(query - reference.rgb)[where].mean())


@pytest.mark.parametrize("shadow_ends", [24, 36])
def test_the_edge_of_a_shadow_may_move(reference, shadow_ends):
    assert left(plate(shadow_ends), reference, np.s_[8:50, 26:34]) < 0.35


@pytest.mark.parametrize("gain", [0.6, 1.4])
def test_a_stain_of_pure_brightness_on_an_evenly_lit_face_stays(reference, gain):
    linear = plate(30)
    linear[SPOT] *= gain
    assert left(linear, reference, SPOT) > 0.9


def test_a_shadow_lends_no_more_than_it_has(reference):
    linear = plate(30)
    linear[20:40, 30:36] = 0.05
    assert left(linear, reference, np.s_[22:38, 31:35]) > 0.6


def test_a_missing_sticker_is_no_light(reference):
    assert left(plate(30, sticker=False), reference, np.s_[57:68, 46:58]) > 0.8


def test_another_colour_is_no_light(reference):
    linear = plate(30)
    linear[SPOT] = (0.5, 0.25, 0.25)
    assert left(linear, reference, SPOT) > 0.9


def test_pixels_that_are_not_asked_for_stay(reference):
    query, some = np.sqrt(plate(24)).astype(np.float32), ~EVERYWHERE
    some[10:20, 24:30] = True
    changed = (without_moved_light(query, reference, Surface.of(reference), some) != query).any(axis=2)
    assert changed[some].any() and not changed[~some].any()
