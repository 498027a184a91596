"""Gain and offset between query and rendering: found, undone, and not fooled by defects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.photometry.light import SAME_CHANGE, SAME_LIGHT, Light, fit_light, light_between
from pad_ros.rendering.renderer import Renderer


@pytest.fixture(scope="module")
def rendering():
    return Renderer(box(1500), WHITE).render(CAMERA, orbit(7)[1])


def lit(rendering, gain, offset=(0.0, 0.0, 0.0)):
    return ((rendering.rgb * gain + offset) * 255 + 0.5).clip(0, 255).astype(np.uint8)


@given(
    st.floats(0.8, 1.1),
    st.tuples(*[st.floats(0.88, 1.12)] * 3),
    st.tuples(*[st.floats(-0.03, 0.03)] * 3),
)
def test_gain_and_offset_are_found_and_undone(rendering, exposure, balance, offset):
    gain = tuple(exposure * of_channel for of_channel in balance)
    image = lit(rendering, gain, offset)
    light = fit_light(image, rendering)
    undone = light.undo(image).astype(float)
    inside = (rendering.alpha > 0.95) & (image.max(axis=2) < 250) & (image.min(axis=2) > 5)
    left = np.abs(undone - 255.0 * rendering.rgb)[inside].mean()
    if light.same:  # what is within SAME_CHANGE is left as it is
        assert left < 255 * SAME_CHANGE + 1
    else:
        assert left < 6
        assert np.abs(np.array(light.gain) - gain).max() < 0.05 and np.abs(np.array(light.offset) - offset).max() < 0.03


def test_the_same_light_leaves_every_pixel_as_it_is(rendering):
    image = lit(rendering, 1.005)
    assert (fit_light(image, rendering)).same
    assert SAME_LIGHT.undo(image) is image


@pytest.mark.parametrize("balance", [(1.06, 1.0, 0.94), (0.94, 1.0, 1.06), (1.05, 1.05, 1.05)])
def test_a_small_change_of_all_colours_is_undone(rendering, balance):
    light = fit_light(lit(rendering, balance), rendering)
    assert light.change < SAME_CHANGE and light.gain == pytest.approx(balance, abs=0.02)


def test_noise_is_no_light(rendering):
    noise = np.random.default_rng(0).normal(0, 8, rendering.rgb.shape)
    image = (255 * rendering.rgb + noise).clip(0, 255).astype(np.uint8)
    assert fit_light(image, rendering).same


def test_the_rendering_is_cut_off_as_the_camera_does(rendering):
    light = Light((1.25, 1.0, 0.8))
    assert light.brightest == (204, 255, 255)
    image, shown = lit(rendering, light.gain), light.cut_off(rendering)
    assert np.abs(light.undo(image) - 255 * shown.rgb).max() < 2
    assert SAME_LIGHT.cut_off(rendering) is rendering


def test_a_large_defect_is_not_explained_away(rendering):
    image = lit(rendering, 1.0)
    inside = np.argwhere(rendering.alpha > 0.95)
    chosen = inside[: len(inside) // 4]
    image[chosen[:, 0], chosen[:, 1]] = (255, 0, 255)
    assert (fit_light(image, rendering)).same
    image = lit(rendering, 0.8)
    image[chosen[:, 0], chosen[:, 1]] = (250, 0, 250)
    assert fit_light(image, rendering).gain == pytest.approx((0.8, 0.8, 0.8), abs=0.05)


def test_another_thing_altogether_is_not_lit_differently(rendering):
    """A gain beyond what light does, or nothing to tell it from, leaves the query alone."""
    assert (fit_light(np.zeros_like(lit(rendering, 1.0)), rendering)).same
    assert (fit_light(lit(rendering, 0.3), rendering)).same
    nothing = Renderer(box(1500), WHITE).render(CAMERA, orbit(7)[1])
    nothing.alpha[:] = 0
    assert (fit_light(lit(rendering, 0.7), nothing)).same


@pytest.mark.parametrize("gain", [(1.3, 0.8, 0.8), (0.7, 1.1, 1.1), (1.0, 1.0, 0.6)])
def test_a_part_of_another_colour_is_not_another_white_balance(rendering, gain):
    assert (fit_light(lit(rendering, gain), rendering)).same


def test_a_few_grey_levels_of_a_dark_channel_are_no_other_colour():
    """18 grey levels became 29: a black level or stray light does that."""
    reference, gain = np.random.default_rng(0).uniform(0.6, 1.4, (2000, 1)) * (0.25, 0.17, 0.07), (1.16, 1.3, 1.6)
    light = light_between(reference * gain, reference)
    assert light.known and light.gain == pytest.approx(gain, abs=0.02)
    assert not light_between(3 * reference * gain, 3 * reference).known


def test_a_highlight_is_no_cast_of_the_lamp():
    """White light on a third of the part lifts the darkest channel most; its grey third shows no other light."""
    rng = np.random.default_rng(0)
    reference = np.concatenate([rng.normal((0.85, 0.7, 0.25), 0.03, (1200, 3)), rng.normal(0.6, 0.03, (600, 3))])
    query = reference.copy()
    query[:600] = np.sqrt(query[:600] ** 2 + 0.15)
    light = light_between(query, reference)
    assert light.same or max(light.gain) - min(light.gain) < 0.02


def test_undoing_stays_within_8_bits():
    image = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    undone = Light((0.5, 1.0, 2.0), (0.1, 0.0, -0.1)).undo(image)
    assert undone.dtype == np.uint8 and undone.shape == image.shape
    np.testing.assert_array_equal(undone[..., 1], image[..., 1])
    assert undone[0, 100, 0] == round((100 - 25.5) / 0.5) and undone[0, 100, 2] == round((100 + 25.5) / 2)
    assert undone[0, 0, 0] == 0 and undone[0, 255, 0] == 255


def test_light_that_drives_most_pixels_into_saturation_is_not_known():
    """Otherwise a bright part, white all over in the image, would count as one in the same light."""
    reference = np.random.default_rng(0).uniform(0.8, 0.94, (2000, 3))
    assert light_between(np.minimum(reference * 1.05, 1.0), reference).known
    for query in (np.ones_like(reference), np.zeros_like(reference)):
        assert not light_between(query, reference).known
