"""The comparison of a query with its reference: what it forgives, and what it must see."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pad_ros.comparison import calibrated
from pad_ros.comparison.colour import residuals, residuals_where, shift_tolerant_difference
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.lab import lab
from pad_ros.imaging.rect import Rect
from pad_ros.rendering.result import ReferenceRendering


def plain_difference(query, reference, known, radius):
    """By the definition, one pixel at a time."""
    height, width = known.shape
    out = np.full((height, width), np.inf)
    for y, x in np.argwhere(known):
        around = np.s_[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]
        forward = np.linalg.norm(query[y, x] - reference[around], axis=-1)[known[around]].min()
        backward = np.linalg.norm(query[around] - reference[y, x], axis=-1).min()
        out[y, x] = max(forward, backward)
    return out


@st.composite
def pairs(draw):
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    values = hnp.arrays(np.float32, (*shape, 3), elements=st.floats(0, 1, width=32))
    return draw(values), draw(values), draw(hnp.arrays(np.bool_, shape))


@given(pairs(), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_difference_is_that_of_its_definition(pair, radius):
    query, reference, known = pair
    found = shift_tolerant_difference(query, reference, known, radius)
    np.testing.assert_allclose(found, plain_difference(query, reference, known, radius), atol=1e-5)
    assert found.dtype == np.float32


@given(pairs(), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_difference_is_symmetric_and_falls_with_the_radius(pair, radius):
    query, reference, _ = pair
    everywhere = np.ones(query.shape[:2], bool)
    there = shift_tolerant_difference(query, reference, everywhere, radius)
    np.testing.assert_array_equal(there, shift_tolerant_difference(reference, query, everywhere, radius))
    assert np.all(shift_tolerant_difference(query, reference, everywhere, radius + 1) <= there)
    assert np.all(shift_tolerant_difference(query, query, everywhere, radius) == 0)


@given(pairs(), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_residuals_of_some_pixels_are_those_of_all(pair, shift):
    query, reference, where = pair
    known = np.ones(where.shape, bool)
    black = np.zeros(where.shape, np.float32)
    rendering = ReferenceRendering(
        reference, black + 1, black, np.zeros((*where.shape, 0), np.float32),
        Camera.from_fov(where.shape[1], where.shape[0], 1.0), Pose.identity(),
    )  # fmt: skip
    everywhere = shift_tolerant_difference(lab(query), lab(reference), known, shift)
    found = residuals_where(query, rendering, shift, where)
    np.testing.assert_allclose(found[where], everywhere[where], atol=1e-5)
    assert np.isinf(found[~where]).all()


def texture(size=40, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (size, size, 3)).astype(np.float32)


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (-1, 1)])
def test_one_pixel_of_misalignment_is_forgiven_but_not_two(shift):
    image = texture()
    moved = np.roll(image, shift, axis=(0, 1))
    inside = np.s_[3:-3, 3:-3]
    everywhere = np.ones(image.shape[:2], bool)
    assert shift_tolerant_difference(moved, image, everywhere, 1)[inside].max() == 0
    twice = np.roll(moved, shift, axis=(0, 1))
    assert np.median(shift_tolerant_difference(twice, image, everywhere, 1)[inside]) > 0.1


def test_a_thin_line_is_seen_whichever_image_has_it():
    plain = np.full((30, 30, 3), 0.8, np.float32)
    line = plain.copy()
    line[:, 15] = 0.1
    everywhere = np.ones((30, 30), bool)
    for query, reference in ((line, plain), (plain, line)):
        difference = shift_tolerant_difference(query, reference, everywhere, 1)
        assert np.all(difference[:, 15] > 1)
        assert np.all(np.delete(difference, [15], axis=1) < 1e-6)


def rendering(rgb, photographs=None, seen=None):
    height, width = rgb.shape[:2]
    camera = Camera(width, height, 50.0, 50.0, width / 2, height / 2)
    more = {} if photographs is None else {"photographs": photographs, "seen": seen}
    return ReferenceRendering(
        rgb, np.ones((height, width), np.float32), np.ones((height, width), np.float32),
        np.zeros((height, width, 0), np.float32), camera, Pose.identity(), **more,
    )  # fmt: skip


def test_residual_of_a_query_like_its_reference_is_zero():
    image = (texture() * 255).astype(np.uint8)
    found = residuals(image, rendering(image.astype(np.float32) / 255), 1)
    assert found.shape == (40, 40, 1) and found.dtype == np.float32
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_a_defect_differs_from_all_candidates_and_the_best_one_counts():
    """A blurred rendering beside a sharp photograph: the photograph explains what it saw, and only there."""
    sharp = (texture() * 255).astype(np.uint8)
    blurred = np.full((40, 40, 3), 0.5, np.float32)
    seen = np.zeros((1, 40, 40), bool)
    seen[:, :, :20] = True
    query = sharp.copy()
    query[8:12, 8:12] = (255, 0, 255)
    found = residuals(query, rendering(blurred, sharp[None], seen), 1)[..., 0]
    alone = residuals(query, rendering(blurred), 1)[..., 0]
    assert np.all(found <= alone)
    assert found[:, 25:].min() == alone[:, 25:].min() and np.array_equal(found[:, 22:], alone[:, 22:])
    assert found[20:, 2:18].max() < 1e-4
    assert found[9:11, 9:11].min() > 0.3
    assert np.all(np.isfinite(found))


def windowed(rgb, window):
    """A rendering that says that beyond the window there is only white."""
    whole = rendering(rgb)
    return replace(whole, window=Rect(*window), background_colour=(1.0, 1.0, 1.0))


def test_the_window_changes_nothing_but_the_time():
    rgb = np.ones((40, 40, 3), np.float32)
    rgb[12:30, 10:25] = texture()[12:30, 10:25]
    query = np.clip(rgb * 255 + np.random.default_rng(1).normal(0, 20, rgb.shape), 0, 255).astype(np.uint8)
    np.testing.assert_allclose(
        residuals(query, windowed(rgb, (10, 12, 25, 30)), 1), residuals(query, rendering(rgb), 1), atol=1e-5
    )


def test_a_window_that_is_wrong_hides_nothing():
    """Whoever puts another ground into a rendering and leaves its window is not believed."""
    rgb = np.ones((40, 40, 3), np.float32)
    rgb[2:5, 2:5] = 0
    query = np.full((40, 40, 3), 255, np.uint8)
    np.testing.assert_array_equal(
        residuals(query, windowed(rgb, (20, 20, 25, 25)), 1), residuals(query, rendering(rgb), 1)
    )


def test_what_the_bulk_shows_is_forgiven_in_part():
    expected = np.full(4000, 0.02, np.float32)
    factors = [calibrated._forgiven(np.float32(times) * expected, expected) for times in (1.0, 1.6, 2.0, 4.0)]
    assert factors[0] == 1
    assert all(1 < factor < times for factor, times in zip(factors[1:], (1.6, 2.0, 4.0)))  # noise may well be as much
    few = expected.copy()
    few[:200] *= 50  # a defect is not the bulk
    assert calibrated._forgiven(few, expected) == 1
    assert calibrated._forgiven(few[:0], expected[:0]) == 1
