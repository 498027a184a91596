"""L*a*b* as the CIE defines it, and what lies around the planes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pad_ros.compute.simd import LANES
from pad_ros.imaging.lab import FAR, lab, lab_planes, lightness

XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.950456, 1.0, 1.088754])


def by_definition(rgb):
    light = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    t = light @ XYZ.T / WHITE
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.stack([1.16 * f[..., 1] - 0.16, 5 * (f[..., 0] - f[..., 1]), 2 * (f[..., 1] - f[..., 2])], axis=-1)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 20), st.just(3))))
def test_it_is_what_the_cie_defines(pixels):
    np.testing.assert_allclose(lab(pixels), by_definition(pixels / 255), atol=3e-4)
    np.testing.assert_allclose(lab(pixels), lab(pixels.astype(np.float32) / 255), atol=1e-5)
    np.testing.assert_allclose(lightness(pixels), lab(pixels)[..., 0], atol=1e-6)


def test_black_white_and_values_beyond():
    assert lab(np.full((2, 2, 3), 255, np.uint8))[0, 0] == pytest.approx([1, 0, 0], abs=1e-4)
    assert lab(np.zeros((1, 1, 3), np.uint8))[0, 0] == pytest.approx([0, 0, 0], abs=1e-4)
    np.testing.assert_array_equal(lab(np.full((1, 1, 3), 1.5, np.float32)), lab(np.ones((1, 1, 3), np.float32)))
    np.testing.assert_array_equal(lab(np.full((1, 1, 3), -1, np.float32)), lab(np.zeros((1, 1, 3), np.float32)))


@pytest.mark.parametrize("margin", [0, 2])
def test_planes_are_far_where_nothing_is_known(margin):
    rng = np.random.default_rng(0)
    pixels, known = rng.integers(0, 256, (7, 21, 3)).astype(np.uint8), rng.random((7, 21)) < 0.2
    planes = lab_planes(pixels, known, margin)
    assert planes.shape == (3, 7 + 2 * margin, 21 + 2 * margin + LANES)
    inner = planes[:, margin : margin + 7, margin : margin + 21].transpose(1, 2, 0)
    np.testing.assert_array_equal(inner[known], lab(pixels)[known])
    assert (inner[~known] == FAR).all()
    assert np.count_nonzero(planes != FAR) == np.count_nonzero(inner != FAR)
