"""What of a residual is forgiven in another light: what a whole face shows more of, and nothing that is missing."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pad_ros.comparison.colour import residuals
from pad_ros.comparison.measurement import (
    ADDED_LIGHT_COST,
    MOVED_LIGHT_COST,
    SURELY_OTHER,
    _forgive_face_light,
    _forgive_moved_light,
)
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.photometry.surface import Surface
from pad_ros.rendering.result import ReferenceRendering

SIZE = 80
FACE, INNER, SPOT = np.s_[20:50, 15:40], np.s_[23:47, 18:37], np.s_[28:35, 22:28]


@pytest.fixture(scope="module")
def reference():
    """A grey plate with a yellow face on it."""
    rgb = np.full((SIZE, SIZE, 3), 0.4, np.float32)
    rgb[FACE] = (0.7, 0.55, 0.2)
    ones = np.ones((SIZE, SIZE), np.float32)
    features, camera = np.zeros((SIZE, SIZE, 0), np.float32), Camera.from_fov(SIZE, SIZE, 0.5)
    return ReferenceRendering(rgb, ones, 3 * ones, features, camera, Pose.identity())


def kept(reference, where, look, gain, same=False):
    """The share of the residual that stays in `look` where linear light is multiplied in `where`."""
    query = reference.rgb.copy()
    query[where] *= np.sqrt(gain)
    image = (query * 255 + 0.5).astype(np.uint8)
    residual = residuals(image, reference, 1)
    before = residual[look].mean()
    shading = SimpleNamespace(polynomial=SimpleNamespace(surface=Surface.of(reference)), same=same)
    _forgive_face_light(residual, SimpleNamespace(shading=shading, values=image / np.float32(255)), reference, 1)
    return float(residual[look].mean() / before)


def test_light_on_a_whole_face_costs_a_share_of_what_it_explains(reference):
    assert ADDED_LIGHT_COST < kept(reference, FACE, INNER, 1.4) < 0.75


def test_another_exposure_forgives_no_face(reference):
    assert kept(reference, FACE, INNER, 1.4, same=True) == 1


@pytest.mark.parametrize(("where", "look", "gain"), [(FACE, INNER, 0.6), (SPOT, SPOT, 1.4), (SPOT, SPOT, 0.5)])
def test_a_dark_face_and_spots_keep_their_residual(reference, where, look, gain):
    assert kept(reference, where, look, gain) > 0.9


@pytest.mark.parametrize(("beyond", "least", "most"), [(1.01, 0.95, 1), (SURELY_OTHER, MOVED_LIGHT_COST, 0.6)])
def test_a_shadow_that_moved_costs_the_more_the_less_the_light_differs(reference, beyond, least, most):
    def shadow(ends):
        return np.sqrt(0.2 + 0.2 * np.clip((np.arange(SIZE) - ends) / 6, 0, 1))[None, :, None] * np.ones((SIZE, 1, 3))

    shown = replace(reference, rgb=shadow(50).astype(np.float32))
    image = (shadow(56) * 255 + 0.5).astype(np.uint8)
    residual, look = residuals(image, shown, 1), np.s_[10:70, 52:58]
    before = residual[look].mean()
    shading = SimpleNamespace(polynomial=SimpleNamespace(surface=Surface.of(shown)), same=False)
    lit = SimpleNamespace(shading=shading, values=image / np.float32(255), light_change=0.01 * beyond)
    _forgive_moved_light(residual, lit, shown, 1, 0.01)
    assert least <= residual[look].mean() / before <= most
