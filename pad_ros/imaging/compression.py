"""How much detail has JPEG taken from an image? Seen in the pixels, however they came."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from .images import Image

BLOCK = 8  # px: JPEG's
FINE = 5  # sum of both frequencies, each 0..7, from which JPEG takes most
MAX_BLOCKS = 300  # that are looked at
MIN_BLOCKS = 20
LARGEST = 8.0  # grey levels: of more, such as an edge has, all JPEG keeps much
ROUNDING = 0.05  # grey levels: a surface without detail has nothing to lose


def _fine_patterns() -> NDArray[np.float32]:
    """[64, F]: the patterns of fine detail of JPEG's cosine transform."""
    k = np.arange(BLOCK)
    waves = np.cos((2 * k + 1) * k[:, None] * math.pi / (2 * BLOCK)) * np.where(k == 0, 1 / 8, 1 / 4)[:, None] ** 0.5
    fine = [(u, v) for u in k for v in k if u + v >= FINE]
    return np.stack([np.outer(waves[u], waves[v]).ravel() for u, v in fine], axis=1).astype(np.float32)


PATTERNS = _fine_patterns()


def compression(image: Image, mask: NDArray[np.bool_]) -> float:
    """Detail that blocks of 8 x 8 px of an image [H, W, 3], counted from its corner, lack beside blocks between them.

    The logarithm of the ratio, where `mask` [H, W] is set: within 0.1 of 0 for an image that was never a JPEG, or is
    scaled, moved or undistorted since; 0.2 for quality 95, 0.5 for 90, 1 for 80. NaN where too few blocks are set.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return math.nan
    shown = np.s_[y - y % BLOCK : y + height, x - x % BLOCK : x + width]
    grey, chosen = cv2.cvtColor(image[shown], cv2.COLOR_RGB2GRAY), mask[shown].view(np.uint8)
    on_grid, between = (_detail(grey[at:, at:], chosen[at:, at:]) for at in (0, BLOCK // 2))
    return math.log((between + ROUNDING) / (on_grid + ROUNDING))


def _detail(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float:
    """Mean of what the blocks show of each fine pattern, grey levels; NaN for too few blocks."""
    rows, columns = (side // BLOCK for side in mask.shape)
    if rows * columns < MIN_BLOCKS:
        return math.nan
    whole = np.s_[: BLOCK * rows, : BLOCK * columns]
    share = cv2.resize(255 * mask[whole], (columns, rows), interpolation=cv2.INTER_AREA)
    row, column = np.nonzero(share == 255)
    if len(row) < MIN_BLOCKS:
        return math.nan
    step = -(-len(row) // MAX_BLOCKS)
    blocks = grey[whole].reshape(rows, BLOCK, columns, BLOCK)[row[::step], :, column[::step]]
    shown = blocks.reshape(len(blocks), -1).astype(np.float32) @ PATTERNS
    return float(np.minimum(np.abs(shown), LARGEST).mean())
