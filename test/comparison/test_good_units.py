"""What good units teach: a region that differs all over is expected to, a point is forgiven there alone."""

import numpy as np
import pytest

from pad_ros.comparison.good_units import REGION, UNUSUAL, Observation, most_of_usual, regional_variation

POINTS = np.random.default_rng(0).uniform(0, 1, (4000, 3)).astype(np.float32)
LEFT = POINTS[:, 0] < 0.4


def observation(shown, expected=0.02):
    values = np.asarray(shown, np.float32)[None]
    expected = np.where(np.isfinite(values), np.float32(expected), np.nan).astype(np.float32)
    return Observation((), np.zeros(0, np.int64), values, expected, ())


def speckled(seed, share=0.4):
    """Good units of a casting: other points of the left differ in each."""
    differs = LEFT & (np.random.default_rng(seed).random(len(POINTS)) < share)
    return observation(np.where(differs, 0.1, 0.02))


def test_a_region_that_differs_in_each_unit_at_other_points_is_expected_to():
    found = regional_variation([speckled(seed) for seed in range(3)], POINTS)
    inside, outside = LEFT & (POINTS[:, 0] < 0.2), POINTS[:, 0] > 0.5
    assert found.min() >= 1 and np.median(found[inside]) == pytest.approx(1 + 4 * 0.4, rel=0.1)
    assert np.quantile(found[outside], 0.99) < 1.1


def test_what_differs_all_over_is_no_region():
    found = regional_variation([observation(np.full(len(POINTS), 0.06)) for _ in range(3)], POINTS)
    np.testing.assert_allclose(found, 1, atol=1e-5)


def test_a_few_points_make_no_region():
    few = np.full(len(POINTS), 0.02)
    few[np.linalg.norm(POINTS - 0.5, axis=1).argsort()[:3]] = 0.1
    assert regional_variation([observation(few)], POINTS).max() < 1.3


def test_what_no_image_shows_says_nothing():
    unseen = np.where(LEFT, np.nan, 0.02)
    np.testing.assert_array_equal(regional_variation([observation(unseen)], POINTS)[LEFT], 1)
    nothing = observation(np.full(len(POINTS), np.nan))
    np.testing.assert_array_equal(regional_variation([nothing], POINTS), 1)
    assert len(regional_variation([observation([0.1] * 5)], POINTS[:5])) == 5 < REGION


@pytest.mark.parametrize(("images", "expected"), [(1, 0), (UNUSUAL - 1, 0), (UNUSUAL, 1), (3 * UNUSUAL, 3)])
def test_of_many_images_the_tenth_that_needs_most_is_not_forgiven(images, expected):
    needed = np.arange(images, dtype=np.float32)[::-1, None] + 1
    assert most_of_usual(np.random.default_rng(0).permutation(needed))[0] == needed[expected]


def test_images_that_do_not_show_a_point_do_not_count():
    needed = np.full((2 * UNUSUAL, 2), np.nan, np.float32)
    needed[:3, 0] = 1, 5, 2
    np.testing.assert_array_equal(most_of_usual(needed), [5, 1])
