import cv2
import numpy as np
import pytest
from textured_cube import cube_views

from pad_ros.imaging.blur import blur_of


@pytest.mark.parametrize("size", [(15, 1), (1, 15), (9, 9)])
def test_blur_in_any_direction_counts(size):
    sharp = cube_views(3).views[0].image
    assert blur_of(cv2.blur(sharp, size)) > blur_of(sharp) + 0.15


def test_limits():
    assert blur_of(np.full((64, 64, 3), 90, np.uint8)) == 1
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    assert 0 <= blur_of(noise) < 0.3
