"""Comparing a query with its reference rendering: differences in colour that no small shift explains."""

from __future__ import annotations

import cv2
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from ..images import Image

Floats = NDArray[np.float32]


def lab(rgb: Floats | Image) -> Floats:
    """CIE L*a*b* [H, W, 3] / 100 of an RGB image (uint8, or float32 in 0..1)."""
    values = rgb.astype(np.float32) / 255 if rgb.dtype == np.uint8 else rgb
    out: Floats = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2LAB)
    return out / np.float32(100)


@njit(parallel=True, cache=True, fastmath=True)
def shift_tolerant_difference(query: Floats, reference: Floats, radius: int) -> Floats:
    """Colour difference [H, W] that remains after the best shift of up to `radius` px, symmetric.

    For each pixel the larger of: its distance to the nearest reference pixel of the neighbourhood, and
    the reverse. One direction alone would forgive thin structures that only one of them has.
    """
    height, width, channels = query.shape
    out = np.zeros((height, width), np.float32)
    for row in prange(height):
        y = np.intp(row)  # prange counts unsigned: -y would wrap
        for x in range(width):
            forward = np.float32(1e9)
            backward = np.float32(1e9)
            for dy in range(max(-radius, -y), min(radius, height - 1 - y) + 1):
                for dx in range(max(-radius, -x), min(radius, width - 1 - x) + 1):
                    a = np.float32(0)
                    b = np.float32(0)
                    for c in range(channels):
                        d = query[y, x, c] - reference[y + dy, x + dx, c]
                        a += d * d
                        e = query[y + dy, x + dx, c] - reference[y, x, c]
                        b += e * e
                    forward = min(forward, a)
                    backward = min(backward, b)
            out[y, x] = np.sqrt(max(forward, backward))
    return out
