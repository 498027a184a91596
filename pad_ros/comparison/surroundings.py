"""How unlike the query's own ground the pixels around the part are: material added there, whatever the background.

Only what the query shows is known of a ground that is not the trained one. Its colours are learned farther from the
part than added material reaches, as GrabCut learns those of its trimap's background (Rother et al. 2004), with the
rendering's alpha for a trimap; the same colours in shadow fit as well. A pixel around the part, or seen through it, is
as unlike the ground as its colour is far from all of these. Held-out blocks of the ground show what is normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..imaging.images import Image
from ..imaging.lab import lab
from ..photometry.ground import around_part, in_light_of
from ..rendering.result import ReferenceRendering
from .colour import shift_tolerant_difference

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

ADDED_REACH = 0.08  # of the image's longer side: added material hangs on the part no farther from it
LEARNED_BEYOND = 0.12  # the ground is learned from beyond this
SHADES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # of the ground's colours, in the shadow of the part
CELL = 0.02  # of L*a*b* / 100: finer than what one surface varies by
CELLS = (52, 128, 128)
LEAST = 3  # pixels of the sample that make a colour one of the ground's
SAMPLE = 30_000  # pixels of the ground
BLOCK = 0.1  # of the image's longer side: blocks of the ground that are held out
GROUND_QUANTILE = 0.95  # of the ground's own distance; what is evidence begins far above
EMPTY_QUANTILE = 0.95  # the same where added material may be among it


@dataclass(frozen=True, eq=False)
class BackgroundDistance:
    """values: float32 [H, W], how far each pixel `judged` [H, W] is from the ground's colours (L*a*b* / 100);
    normal: what the ground itself stays below."""

    values: Floats
    judged: Mask
    normal: float


def distance_from_ground(query: Floats, rendering: ReferenceRendering) -> BackgroundDistance | None:
    """Of a query [H, W, 3] (0..1); None where the image shows too little ground to learn from."""
    height, width = query.shape[:2]
    longer = max(height, width)
    away = cv2.distanceTransform((rendering.alpha < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    judged = away <= ADDED_REACH * longer
    known = np.flatnonzero(away > LEARNED_BEYOND * longer)
    known = known[:: -(-len(known) // SAMPLE) or 1]
    block = max(int(BLOCK * longer), 1)
    fold = (known // width // block + known % width // block) % 2
    pixels = query.reshape(-1, 3)
    colours = lab(query)
    held_out = []
    for own, other in ((0, 1), (1, 0)):
        palette = _palette(pixels[known[fold == own]])
        if len(palette) == 0:
            return None
        held_out.append(_distance(colours.reshape(-1, 3)[known[fold == other]], palette))
    out = np.zeros((height, width), np.float32)
    out[judged] = _distance(colours[judged], _palette(pixels[known]))
    return BackgroundDistance(out, judged, max(float(np.quantile(np.concatenate(held_out), GROUND_QUANTILE)), 2 * CELL))


def distance_from_empty(
    query: Floats, rendering: ReferenceRendering, empty: Sequence[Image], shift: int
) -> BackgroundDistance:
    """As `distance_from_ground`, by views of the empty cell: distance to the nearest of them and of their shades.

    Added material may reach as far as it likes.
    """
    free = ~around_part(rendering)
    colours = lab(query)
    everywhere = np.ones(free.shape, bool)
    best = np.full(free.shape, np.inf, np.float32)
    for image in empty:
        view = in_light_of(image, query, free).astype(np.float32) / np.float32(255)
        for shade in SHADES:
            difference = shift_tolerant_difference(colours, lab(view * np.float32(shade)), everywhere, shift)
            np.minimum(best, difference, out=best)
    ground = float(np.quantile(best[free], EMPTY_QUANTILE)) if free.any() else 0.0
    return BackgroundDistance(best, everywhere, max(ground, 2 * CELL))


def _cells(colours: Floats) -> NDArray[np.int64]:
    """Index of the cell of each colour [P, 3]; a and b run from -1.28 to 1.28."""
    steps = np.floor(colours / np.float32(CELL) + np.float32(0.5)).astype(np.int64)
    steps[:, 1:] += CELLS[1] // 2
    return np.ravel_multi_index(tuple(steps.T), CELLS, mode="clip")


def _centres(cells: NDArray[np.int64]) -> Floats:
    steps = np.stack(np.unravel_index(cells, CELLS), axis=1)
    steps[:, 1:] -= CELLS[1] // 2
    return (steps * CELL).astype(np.float32)


def _palette(pixels: Floats) -> Floats:
    """The colours [K, 3] (L*a*b* / 100) of ground pixels [P, 3] (RGB) and of their shades."""
    if len(pixels) == 0:
        return np.zeros((0, 3), np.float32)
    shaded = np.concatenate([pixels * np.float32(shade) for shade in SHADES])
    counts = np.bincount(_cells(lab(shaded[None])[0]), minlength=int(np.prod(CELLS)))
    return _centres(np.flatnonzero(counts >= LEAST))


def _distance(colours: Floats, palette: Floats) -> Floats:
    """Distance of each colour [P, 3] to the nearest of the palette, both by their cells."""
    cells, where = np.unique(_cells(colours), return_inverse=True)
    distances, _ = cKDTree(palette).query(_centres(cells))
    return np.asarray(distances, np.float32)[where.ravel()]
