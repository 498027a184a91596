"""Where the part is in an image, when it stands before a background of one colour.

Photographs of one part usually have a plain background (MAD: white, turntables: black cloth). It gives
silhouettes for free: they bound the Gaussians in training and show the localizer where to look.
Scenes without such a background have `Background(None, 0)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .images import Image
from .rect import Rect

Mask = NDArray[np.bool_]  # [H, W]

MIN_TOLERANCE = 10.0  # 8-bit levels; covers JPEG noise
MAX_TOLERANCE = 60.0  # a border that varies more is no plain background


@dataclass(frozen=True)
class Background:
    """A plain background: its RGB colour in 0..255 (None: there is none) and how far its pixels stray."""

    colour: tuple[float, float, float] | None
    tolerance: float  # largest channel difference, 8-bit levels

    @property
    def rgb01(self) -> tuple[float, float, float]:
        """The colour to render behind the part, 0..1 (black for a scene without background)."""
        if self.colour is None:
            return (0.0, 0.0, 0.0)
        return (self.colour[0] / 255, self.colour[1] / 255, self.colour[2] / 255)

    def darkened(self, brightest: tuple[int, int, int]) -> Background:
        """As a camera shows it whose channels (0..255) end at `brightest`."""
        if self.colour is None or min(brightest) == 255:
            return self
        red, green, blue = map(min, self.colour, map(float, brightest))
        return Background((red, green, blue), self.tolerance)


def estimate_background(images: Sequence[Image]) -> Background:
    """The background common to all images, judged by their outermost pixels.

    A plain background is accepted where 95 % of the border pixels of the set lie within
    MAX_TOLERANCE of their median colour. The tolerance takes in folds of cloth in the next 4 %, but
    not a part that reaches the border there, which would stray much farther.
    """
    border = np.concatenate([_border(image) for image in images]).astype(np.float32)
    colour = np.median(border, axis=0)
    distance = np.abs(border - colour).max(axis=1)
    spread, outer = (float(value) for value in np.percentile(distance, [95, 99]))
    if spread > MAX_TOLERANCE:
        return Background(None, 0.0)
    return Background(
        (float(colour[0]), float(colour[1]), float(colour[2])), max(MIN_TOLERANCE, 1.3 * min(outer, 1.5 * spread))
    )


def background_mask(image: Image, background: Background) -> Mask | None:
    """Where [H, W] the image has the colour of the background; None where no plain background is known."""
    if background.colour is None:
        return None
    distance = np.abs(np.arange(256, dtype=np.float32)[:, None] - np.array(background.colour, np.float32))
    near = distance <= background.tolerance  # [256, 3]: of each channel a range of values
    if not near.any(axis=0).all():
        return np.zeros(image.shape[:2], bool)
    low, high = near.argmax(axis=0), 255 - near[::-1].argmax(axis=0)
    return np.asarray(cv2.inRange(image, low.astype(np.float64), high.astype(np.float64)) > 0)


def part_mask(image: Image, background: Background) -> Mask | None:
    """Pixels that differ from the background, specks removed; None where no plain background is known."""
    empty = background_mask(image, background)
    if empty is None:
        return None
    mask = ~empty
    box = mask_box(mask)
    if box is None:
        return mask
    within = mask[box.slices]
    _, labels, stats, _ = cv2.connectedComponentsWithStats(within.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    within &= (areas >= max(12, 0.002 * areas.max()))[labels]
    return mask


def mask_box(mask: Mask, margin: int = 0) -> Rect | None:
    """The rectangle of the True pixels plus `margin`, clipped; None if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(columns) == 0:
        return None
    box = Rect(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return box.grown(margin).clipped(mask.shape)


def _border(image: Image) -> NDArray[np.uint8]:
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
