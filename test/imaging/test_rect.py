"""Rectangles: size, cutting, growing, clipping."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pad_ros.imaging.rect import Rect

NUMBERS = st.integers(-50, 50)


def test_a_rectangle_cuts_what_it_says():
    image = np.arange(30).reshape(5, 6)
    rect = Rect(1, 2, 4, 5)
    assert image[rect.slices].shape == (rect.height, rect.width) == (3, 3)
    assert image[rect.slices][0, 0] == image[2, 1]
    assert rect.area == 9 and rect.xywh == (1, 2, 3, 3)
    assert Rect.of_image(image.shape) == (0, 0, 6, 5)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 20))
def test_clipped_rectangles_lie_inside_and_keep_what_lay_there(x0, y0, x1, y1, margin):
    shape = (20, 30, 3)
    image = np.zeros(shape, bool)
    rect = Rect(x0, y0, x0 + abs(x1), y0 + abs(y1)).grown(margin)
    clipped = rect.clipped(shape)
    assert 0 <= clipped.x0 <= clipped.x1 <= 30 and 0 <= clipped.y0 <= clipped.y1 <= 20
    image[clipped.slices] = True
    inside = [[rect.x0 <= x < rect.x1 and rect.y0 <= y < rect.y1 for x in range(30)] for y in range(20)]
    assert np.array_equal(image[..., 0], inside)
