"""Directions of the lightness's gradients around each point: what a surface is shaped like, whatever its colour.

As in DAISY (Tola, Lepetit, Fua 2010, section 3): derivatives in eight directions, negative ones as zero, each gathered
over a small neighbourhood, here cells of pixels. Beside them what is brighter and darker than its surroundings. A
defect of the part's own colour, as a burr is, differs in these though hardly in colour. They need no weights.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import in_bands, kernel
from ..imaging.images import Image
from ..imaging.lab import lightness

Floats = NDArray[np.float32]

CELL = 2  # px
SIGMA = 1.0  # px, of the Gaussian that the lightness is smoothed by before derivatives are taken
CHANNELS = 11  # eight directions, brighter and darker, and a further one:
FLAT = np.float32(0.05)  # alike everywhere, so that noise has no direction

_DIAGONAL = np.float32(np.sqrt(0.5))


def gradient_features(image: Image) -> Floats:
    """Features float32 [CHANNELS, ceil(H / CELL), ceil(W / CELL)] of an RGB image [H, W, 3]."""
    values = lightness(image)
    near, wide = (cv2.GaussianBlur(values, (0, 0), times * SIGMA) for times in (1, 2))
    height, width = values.shape
    out = np.empty((CHANNELS, -(-height // CELL), -(-width // CELL)), np.float32)
    out[-1] = FLAT
    in_bands(lambda first, last: _gather(near, wide, out, first, last), out.shape[1])
    return out


@kernel
def _gather(near, wide, out, first, last):  # type: ignore[no-untyped-def]
    """Means over the cells of rows first..last."""
    height, width = near.shape
    sums = np.empty((8, width), np.float32)  # |derivative| along four axes, derivatives along two, |step|, step
    for row in range(first, last):
        sums[:] = 0
        for y in range(row * CELL, min((row + 1) * CELL, height)):
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            for x in range(width):
                across = near[y, min(x + 1, width - 1)] - near[y, max(x - 1, 0)]
                down = near[below, x] - near[above, x]
                step = near[y, x] - wide[y, x]
                sums[0, x] += abs(across)
                sums[1, x] += abs(_DIAGONAL * (across + down))
                sums[2, x] += abs(down)
                sums[3, x] += abs(_DIAGONAL * (down - across))
                sums[4, x] += across
                sums[5, x] += down
                sums[6, x] += abs(step)
                sums[7, x] += step
        count = min((row + 1) * CELL, height) - row * CELL
        for column in range(out.shape[2]):
            begin, end = column * CELL, min((column + 1) * CELL, width)
            share = np.float32(0.5) / np.float32(count * (end - begin))  # the half of (|d| + d) and (|d| - d)
            across = down = step = np.float32(0)
            for x in range(begin, end):
                across += share * sums[4, x]
                down += share * sums[5, x]
                step += share * sums[7, x]
            along = (across, _DIAGONAL * (across + down), down, _DIAGONAL * (down - across), step)
            for k in range(5):
                size = np.float32(0)
                for x in range(begin, end):
                    size += share * sums[k if k < 4 else 6, x]
                out[2 * k, row, column] = size + along[k]
                out[2 * k + 1, row, column] = size - along[k]
