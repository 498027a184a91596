"""Light that a darker or brighter ground does not throw onto the part, or throws onto it, is found and undone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.photometry.ground_light import (
    LARGEST_AMOUNT,
    LARGEST_SHARE,
    GroundLight,
    ground_light,
    of_alike,
    place_traits,
)
from pad_ros.photometry.surface import Surface
from pad_ros.rendering.result import ReferenceRendering

SIZE = 80
DARKER, WOOD, BRIGHTER = (np.array(c, np.float32) for c in ((-1, -1, -1), (-0.5, -0.75, -1), (1, 1, 1)))
FACE, INNER, SPOT = np.s_[20:60, 15:65], np.s_[26:54, 21:59], np.s_[36:41, 36:41]
LIGHT = {"share": 0.3, "amount": 0.04}


@pytest.fixture(scope="module")
def reference():
    """A grey plate with a yellow face on it."""
    rgb = np.full((SIZE, SIZE, 3), 0.6, np.float32)
    rgb[FACE] = (0.7, 0.55, 0.3)
    ones = np.ones((SIZE, SIZE), np.float32)
    features, camera = np.zeros((SIZE, SIZE, 0), np.float32), Camera.from_fov(SIZE, SIZE, 0.5)
    return ReferenceRendering(rgb, ones, 3 * ones, features, camera, Pose.identity())


def before(ground, reference, where, share=0.0, amount=0.0):
    """The rendering with the light of the ground on some pixels."""
    linear = reference.rgb**2
    linear[where] += (share * linear[where] + amount) * ground
    return np.sqrt(linear.clip(0, 1)).astype(np.float32)


def left(query, light, reference, where):
    """Of the difference to the rendering at some pixels, the share that is not explained."""
    explained = np.abs(light.undone(query) - reference.rgb)[where].mean()
    return float(explained / np.abs(query - reference.rgb)[where].mean())


@pytest.mark.parametrize("ground", [DARKER, WOOD, BRIGHTER], ids=["darker", "wood", "brighter"])
@pytest.mark.parametrize("light", [{"share": 0.4}, {"amount": 0.08}, LIGHT], ids=["share", "amount", "both"])
def test_what_the_ground_takes_or_gives_is_undone(reference, ground, light):
    query = before(ground, reference, FACE, **light)
    assert left(query, ground_light(query, reference.rgb, ground), reference, INNER) < 0.1


@pytest.mark.parametrize(("ground", "other"), [(DARKER, BRIGHTER), (BRIGHTER, DARKER)])
def test_a_darker_ground_explains_no_light_and_a_brighter_one_no_shadow(reference, ground, other):
    query = before(other, reference, FACE, **LIGHT)
    assert left(query, ground_light(query, reference.rgb, ground), reference, INNER) == 1


def test_another_hue_is_no_light_of_the_ground(reference):
    query = reference.rgb.copy()
    query[FACE] = (0.3, 0.5, 0.7)
    assert left(query, ground_light(query, reference.rgb, DARKER), reference, INNER) > 0.7


def voted(query, reference, ground, where):
    wanted = np.zeros((SIZE, SIZE), bool)
    wanted[where] = True
    light = ground_light(query, reference.rgb, ground)
    return of_alike(light, reference, place_traits(Surface.of(reference)), wanted)


@pytest.mark.parametrize("ground", [DARKER, WOOD, BRIGHTER], ids=["darker", "wood", "brighter"])
def test_a_whole_face_agrees_on_its_light(reference, ground):
    query = before(ground, reference, FACE, **LIGHT)
    light = voted(query, reference, ground, INNER)
    assert left(query, light, reference, INNER) < 0.3
    assert light.share[:20].max() == light.amount[:20].max() == 0  # nothing was asked for there


def test_a_spot_is_outvoted(reference):
    query = before(DARKER, reference, SPOT, share=0.6)
    assert left(query, voted(query, reference, DARKER, SPOT), reference, SPOT) > 0.9


def test_a_part_of_which_nothing_is_flat_or_wanted_has_no_agreed_light(reference):
    light = ground_light(before(DARKER, reference, FACE, **LIGHT), reference.rgb, DARKER)
    traits, nowhere = place_traits(Surface.of(reference)), np.zeros((SIZE, SIZE), bool)
    assert of_alike(light, reference, traits, nowhere).share.max() == 0
    thin = replace(reference, alpha=np.zeros_like(reference.alpha))
    assert of_alike(light, thin, traits, ~nowhere).share.max() == 0


def test_light_is_kept_only_where_it_is_asked_for():
    ones = np.ones((4, 5), np.float32)
    known = np.eye(4, 5, dtype=bool)
    light = GroundLight(0.2 * ones, 0.1 * ones, DARKER).where(known)
    np.testing.assert_array_equal(light.share > 0, known)
    np.testing.assert_array_equal(light.amount > 0, known)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([DARKER, WOOD, BRIGHTER]))
def test_it_stays_within_bounds_and_the_query_within_an_image(seed, ground):
    rng = np.random.default_rng(seed)
    query, shown = rng.random((2, 12, 9, 3)).astype(np.float32)
    light = ground_light(query, shown, ground)
    assert light.share.min() >= 0 and light.share.max() <= np.float32(LARGEST_SHARE)
    assert light.amount.min() >= 0 and light.amount.max() <= np.float32(LARGEST_AMOUNT)
    undone = light.undone(query)
    assert np.isfinite(undone).all() and undone.min() >= 0 and undone.max() <= 1
