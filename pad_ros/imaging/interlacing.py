"""Are the odd and the even rows of an image from two moments, between which the part moved to the side?"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .images import Image

BETWEEN_ROWS = np.array([-0.5, 1, -0.5], np.float32)  # a row and the mean of its neighbours, which are the other field
SLOPE, SMOOTH = np.array([-0.5, 0, 0.5], np.float32), np.array([0.25, 0.5, 0.25], np.float32)
JUST_HERE = np.ones(1, np.float32)


def field_shift(image: Image, mask: NDArray[np.bool_]) -> float:
    """By how many px the even rows of an image [H, W, 3] lie to the side of the odd ones, where `mask` [H, W] is set.

    One step of Lucas & Kanade 1981 between the two fields; beyond 1 px it is too small. It is near 0 for whatever a
    whole frame shows, noise and blur included: they know no odd and even rows. A part that moved along the columns
    alone is not noticed, as horizontal edges look the same.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    shown = np.s_[y : y + height, x : x + width]
    if width == 0:
        return 0.0
    grey = cv2.cvtColor(image[shown], cv2.COLOR_RGB2GRAY)
    between = cv2.sepFilter2D(grey, cv2.CV_32F, JUST_HERE, BETWEEN_ROWS)
    between[::2] *= -1
    slope = cv2.sepFilter2D(grey, cv2.CV_32F, SLOPE, SMOOTH) * mask[shown]
    steep = float(np.vdot(slope, slope))
    return abs(float(np.vdot(slope, between))) / steep if steep > 0 else 0.0
