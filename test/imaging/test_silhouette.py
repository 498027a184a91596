"""Plain backgrounds and the silhouettes they give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pad_ros.imaging.background import (
    MIN_TOLERANCE,
    Background,
    background_mask,
    estimate_background,
    mask_box,
    part_mask,
)


def photo(ground=(250, 250, 250), part=(40, 90, 160), box=(20, 15, 50, 40), noise=0.0, seed=0):
    image = np.empty((60, 80, 3), np.float64)
    image[:] = ground
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = part
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("ground", [(250, 250, 250), (0, 0, 0), (30, 120, 60)])
def test_part_before_a_plain_ground(ground):
    images = [photo(ground, noise=3, seed=i) for i in range(4)]
    background = estimate_background(images)
    assert background.colour == pytest.approx(ground, abs=3)
    assert background.tolerance >= MIN_TOLERANCE
    assert background.rgb01 == pytest.approx(np.array(background.colour) / 255)
    mask = part_mask(images[0], background)
    truth = np.zeros((60, 80), bool)
    truth[15:40, 20:50] = True
    assert (mask != truth).sum() <= 12
    np.testing.assert_allclose(mask_box(mask), (20, 15, 50, 40), atol=1)


def test_a_part_that_touches_the_border_does_not_spoil_the_ground():
    images = [photo(), photo(box=(0, 10, 30, 30)), photo(), photo()]
    assert estimate_background(images).colour == pytest.approx((250, 250, 250))


def test_a_scene_has_no_background():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (60, 80, 3)).astype(np.uint8) for _ in range(3)]
    background = estimate_background(images)
    assert background == Background(None, 0.0)
    assert background.rgb01 == (0.0, 0.0, 0.0)
    assert part_mask(images[0], background) is None


def test_empty_image_and_specks():
    background = Background((250.0, 250.0, 250.0), 10.0)
    assert not part_mask(photo(box=(0, 0, 0, 0)), background).any()
    image = photo()
    image[2:4, 70:72] = 0  # dust
    assert not part_mask(image, background)[:10, 60:].any()


def test_two_pieces_are_both_kept():
    image = photo(box=(10, 10, 30, 50))
    image[20:40, 50:70] = 10
    mask = part_mask(image, Background((250.0, 250.0, 250.0), 10.0))
    assert mask[25, 20] and mask[25, 60]


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(0, 5))
def test_box_holds_the_mask_and_stays_inside(mask, margin):
    box = mask_box(mask, margin)
    if box is None:
        assert not mask.any()
        return
    x0, y0, x1, y1 = box
    assert 0 <= x0 < x1 <= mask.shape[1] and 0 <= y0 < y1 <= mask.shape[0]
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    if margin == 0:
        assert mask[y0].any() and mask[y1 - 1].any() and mask[:, x0].any() and mask[:, x1 - 1].any()


@given(
    arrays(np.uint8, (6, 7, 3)),
    st.tuples(*[st.floats(-20, 280)] * 3),
    st.floats(0, 80),
)
@settings(max_examples=60, deadline=None)
def test_the_ground_is_what_lies_within_the_tolerance(image, colour, tolerance):
    found = background_mask(image, Background(colour, tolerance))
    distance = np.abs(image.astype(np.float32) - np.array(colour, np.float32)).max(axis=2)
    np.testing.assert_array_equal(found, distance <= tolerance)
    assert background_mask(image, Background(None, 0.0)) is None
