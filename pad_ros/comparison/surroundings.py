"""How unlike the query's own ground the pixels around the part are: material added there, whatever the background.

Only what the query shows is known of a ground that is not the trained one. Its colours are learned farther from the
part than added material reaches, as GrabCut learns those of its trimap's background (Rother et al. 2004), with the
rendering's alpha for a trimap; the same colours in shadow fit as well, in a deep one only where the part beside it does
not have that colour itself: a black foot that moved is no shadow. A pixel around the part, or seen through it, is as
unlike the ground as its colour is far from all of these. Held-out blocks of the ground show what is normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..compute.threads import kernel
from ..imaging.images import Image
from ..imaging.lab import lab
from ..photometry.ground import EMPTY_ALPHA, around_part, in_light_of
from ..rendering.result import ReferenceRendering
from .colour import shift_tolerant_difference

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

ADDED_REACH = 0.08  # of the image's longer side: added material hangs on the part no farther from it
LEARNED_BEYOND = 0.12  # the ground is learned from beyond this
LIGHT_SHADES = (1.0, 0.9, 0.8)  # of the ground's colours, in the shadow of the part
DEEP_SHADES = (0.7, 0.6, 0.5, 0.4)
BESIDE = ADDED_REACH / 2  # the part's colours so near may be those of material that moved
SOLID = 0.5  # alpha: from this on the part's own colour is known
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
    varies: what most of the ground stays below; normal: the same, and no less than the steps colours are counted in."""

    values: Floats
    judged: Mask
    varies: float

    @property
    def normal(self) -> float:
        return max(self.varies, 2 * CELL)


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
    pixels = query.reshape(-1, 3)[known]
    counts = [_counts(pixels[fold == half], LIGHT_SHADES + DEEP_SHADES) for half in (0, 1)]
    palettes = [_palette(count) for count in counts]
    if min(map(len, palettes)) == 0:
        return None
    colours = lab(pixels[None])[0]
    held_out = [_distances(colours[fold == 1 - half], palettes[half])[0] for half in (0, 1)]
    of_any, of_light = (np.zeros((height, width), np.float32) for _ in range(2))
    seen, light = lab(query[judged][None])[0], _palette(_counts(pixels, LIGHT_SHADES))
    of_any[judged], of_light[judged] = _distances(seen, _palette(counts[0] + counts[1]), light)
    found = BackgroundDistance(of_any, judged, float(np.quantile(np.concatenate(held_out), GROUND_QUANTILE)))
    _allow_no_shadow_like_the_part(found, of_light, query, rendering)
    return found


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
    views = [in_light_of(image, query, free).astype(np.float32) / np.float32(255) for image in empty]

    def lower_by(shades: Sequence[float]) -> None:
        for view in views:
            for shade in shades:
                difference = shift_tolerant_difference(colours, lab(view * np.float32(shade)), everywhere, shift)
                np.minimum(best, difference, out=best)

    lower_by(LIGHT_SHADES)
    of_light = best.copy()
    lower_by(DEEP_SHADES)
    varies = float(np.quantile(best[free], EMPTY_QUANTILE)) if free.any() else 0.0
    found = BackgroundDistance(best, everywhere, varies)
    _allow_no_shadow_like_the_part(found, of_light, query, rendering)
    return found


def _allow_no_shadow_like_the_part(
    found: BackgroundDistance, of_light: Floats, query: Floats, rendering: ReferenceRendering
) -> None:
    """Where a pixel has a colour of the part beside it, its distance is that from the ground in light shadow.

    rendering: over the query's own pixels.
    """
    dark = (found.values <= found.normal) & (of_light > found.normal) & (rendering.alpha <= EMPTY_ALPHA)
    if not dark.any():
        return
    side = 2 * int(BESIDE * max(dark.shape)) + 1
    beside = cv2.dilate(dark.view(np.uint8), np.ones((side, side), np.uint8)) > 0
    solid = beside & (rendering.alpha > SOLID)
    alpha = rendering.alpha[solid][:, None]
    colours = (rendering.rgb[solid] - (1 - alpha) * query[solid]) / alpha  # without the ground that shines through
    apart, _ = cKDTree(lab(colours.clip(0, 1)[None])[0]).query(lab(query[dark][None])[0])
    own = np.flatnonzero(dark)[apart <= 2 * CELL]
    found.values.ravel()[own] = of_light.ravel()[own]


def _counts(pixels: Floats, shades: Sequence[float]) -> NDArray[np.int32]:
    """How many of the pixels [P, 3] (RGB), in these shades, fall into each cell."""
    counts = np.zeros(CELLS, np.int32)
    for shade in shades if len(pixels) else ():
        _count(lab(pixels[None] * np.float32(shade))[0], counts)
    return counts


def _palette(counts: NDArray[np.int32]) -> Floats:
    """The colours [K, 3] (L*a*b* / 100) that are the ground's."""
    frequent = np.flatnonzero(counts.ravel() >= LEAST)
    return _centres(np.stack(np.unravel_index(frequent, CELLS), axis=1))


def _centres(cells: NDArray[np.integer]) -> Floats:
    return ((cells - [0, CELLS[1] // 2, CELLS[2] // 2]) * CELL).astype(np.float32)


def _distances(colours: Floats, *palettes: Floats) -> list[Floats]:
    """Distance of each colour [P, 3] to the nearest of each palette, both by their cells."""
    index = np.zeros(CELLS, np.int32)
    found, cells = np.empty(len(colours), np.int32), np.empty((len(colours), 3), np.int32)
    count = _distinct(colours, index, found, cells)
    centres = _centres(cells[:count])
    return [cKDTree(palette).query(centres)[0].astype(np.float32)[found] for palette in palettes]


@kernel
def _cell(colour):  # type: ignore[no-untyped-def]
    """The cell of a colour [3]; a and b run from -1.28 to 1.28."""
    scale, half = np.float32(1 / CELL), np.float32(0.5)
    a, b, c = np.floor(colour[0] * scale + half), np.floor(colour[1] * scale + half), np.floor(colour[2] * scale + half)
    lightness, red, yellow = int(a), int(b) + CELLS[1] // 2, int(c) + CELLS[2] // 2
    return (
        min(max(lightness, 0), CELLS[0] - 1), min(max(red, 0), CELLS[1] - 1), min(max(yellow, 0), CELLS[2] - 1)
    )  # fmt: skip


@kernel
def _count(colours, counts):  # type: ignore[no-untyped-def]
    for i in range(len(colours)):
        counts[_cell(colours[i])] += 1


@kernel
def _distinct(colours, index, found, cells):  # type: ignore[no-untyped-def]
    """Number the cells of colours [P, 3] in the order of their first one: found [P], cells [count, 3]."""
    count = 0
    for i in range(len(colours)):
        a, b, c = _cell(colours[i])
        if index[a, b, c] == 0:
            cells[count, 0], cells[count, 1], cells[count, 2] = a, b, c
            count += 1
            index[a, b, c] = count
        found[i] = index[a, b, c] - 1
    return count
