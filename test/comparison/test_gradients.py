import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pad_ros.comparison.gradients import CELL, CHANNELS, FLAT, gradient_features

SIDE = 32


def edge(degrees):
    """Dark to bright in the direction `degrees`, measured from right to down."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    along = np.cos(np.radians(degrees)) * columns + np.sin(np.radians(degrees)) * rows
    return np.repeat((128 + 100 * np.clip(along, -1, 1))[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize(("degrees", "channel"), list(zip(range(0, 360, 45), (0, 2, 4, 6, 1, 3, 5, 7), strict=True)))
def test_an_edge_is_strongest_in_its_own_direction(degrees, channel):
    middle = gradient_features(edge(degrees))[:8, 6:10, 6:10].mean(axis=(1, 2))
    assert middle.argmax() == channel


def test_what_is_flat_shows_nothing_but_that():
    features = gradient_features(np.full((SIDE, SIDE, 3), 90, np.uint8))
    assert np.abs(features[:-1]).max() < 1e-6 and (features[-1] == FLAT).all()


def test_a_bright_spot_is_brighter_than_its_surroundings_and_a_dark_one_darker():
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    image[8:10, 8:10], image[22:24, 22:24] = 200, 10
    bright, dark = gradient_features(image)[8:10]
    assert np.unravel_index(bright.argmax(), bright.shape) == (8 // CELL, 8 // CELL)
    assert np.unravel_index(dark.argmax(), dark.shape) == (22 // CELL, 22 // CELL)


@settings(deadline=None, max_examples=40)
@given(npst.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_any_image_has_finite_features_that_are_not_negative(image):
    features = gradient_features(image)
    height, width = image.shape[:2]
    assert features.shape == (CHANNELS, -(-height // CELL), -(-width // CELL))
    assert np.isfinite(features).all() and features.min() > -1e-5
