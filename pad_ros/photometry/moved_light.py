"""Shadows and highlights that lie some pixels beside where the rendering shows them.

Where a lamp moved, so does the edge of each shadow that it throws, and each highlight on a curved face. A pixel then
looks as the rendering does a little farther along the same surface: of the same material, no corner and no edge of the
paint between. So that place may lend its light, and no more than it has: a stain on an evenly lit face finds no place
of its brightness nearby and stays, as does what is finer than light can be.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import for_each, in_bands, kernel
from ..rendering.result import ReferenceRendering
from .face_light import flat_surface
from .surface import Surface

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

BLUR = 1.5  # px, of both images and of what the light is changed by: anything finer is no light
REACH, STEP = 12, 3  # px that light may have moved, along both axes
SAME_DIRECTION = 0.8  # cosine between normals
SAME_DEPTH = 0.06  # logarithm
SAME_CHROMA = 0.06  # of the shares of red and blue in linear light: another material differs by more
SAME_LIGHT = 0.5  # of the change at a pixel: by less differs what lies between it and the place that lends
LARGEST_CHANGE = 2.2  # of linear light, either way
LEAST_CHANGE = 0.01
DARK = 0.002  # linear light: below it shares and ratios say nothing


def without_moved_light(query: Floats, reference: ReferenceRendering, surface: Surface, where: Mask) -> Floats:
    """The query [h, w, 3] (0..1) in the light that the rendering of the window shows at the pixels `where` [h, w]."""
    solid = (reference.alpha > 0.9).astype(np.float32)
    share = np.maximum(cv2.GaussianBlur(solid, (0, 0), BLUR), np.float32(1e-3))[..., None]
    linear = query**2  # a gamma of 2 stands for the camera's, which is not known
    both = [linear, reference.rgb**2]

    def smooth(i: int) -> None:
        both[i] = cv2.GaussianBlur(both[i] * solid[..., None], (0, 0), BLUR) / share

    for_each(smooth, 2)
    seen, shown = both
    place = np.empty((*where.shape, 6), np.float32)
    place[..., :3] = surface.normal
    place[..., 3] = np.log(np.maximum(surface.depth, np.float32(1e-6)))
    total = cv2.transform(shown, np.ones((1, 3))) + np.float32(10 * DARK)
    place[..., 4:] = shown[..., ::2] / total[..., None]
    wanted, flat = where & (reference.alpha > 0.5), flat_surface(reference)
    change, out = np.ones_like(query), query.copy()
    for image in both:
        np.sqrt(image, out=image)
    in_bands(lambda first, last: _borrow(wanted, flat, seen, shown, place, first, last, change), len(query))
    change = cv2.GaussianBlur(change, (0, 0), BLUR)
    in_bands(lambda first, last: _undo(wanted, linear, change, out, first, last), len(query))
    return out


@kernel
def _undo(wanted, linear, change, out, first, last):  # type: ignore[no-untyped-def]
    """Multiply the wanted pixels of rows first..last, in linear light, by what is worth it."""
    for y in range(first, last):
        for x in range(wanted.shape[1]):
            for c in range(3):
                if wanted[y, x] and abs(change[y, x, c] - 1) > LEAST_CHANGE:
                    out[y, x, c] = np.sqrt(min(max(linear[y, x, c] * change[y, x, c], np.float32(0)), np.float32(1)))


# parameters: pixels and what is known of them, the rows in question, and the result
@kernel
def _borrow(wanted, flat, seen, shown, place, first, last, change):  # type: ignore[no-untyped-def]
    """By what [h, w, 3] to multiply wanted pixels of rows first..last to undo the light of the most alike place."""
    height, width, dark = wanted.shape[0], wanted.shape[1], np.float32(DARK)
    least, most = np.float32(1 / LARGEST_CHANGE), np.float32(LARGEST_CHANGE)
    for y in range(first, last):
        for x in range(width):
            if not wanted[y, x]:
                continue
            nearest, row, column = _unlike(seen, y, x, shown, y, x), y, x
            for v in range(max(y - REACH, 0), min(y + REACH + 1, height), STEP):
                for u in range(max(x - REACH, 0), min(x + REACH + 1, width), STEP):
                    if flat[v, u] and _same_surface(place, y, x, v, u):
                        unlike = _unlike(seen, y, x, shown, v, u)
                        if unlike < nearest and _leads_to(flat, seen, shown, y, x, v, u):
                            nearest, row, column = unlike, v, u
            for c in range(3):
                ratio = (shown[y, x, c] ** 2 + dark) / (shown[row, column, c] ** 2 + dark)
                change[y, x, c] = min(max(ratio, least), most)


@kernel
def _unlike(a, y, x, b, v, u):  # type: ignore[no-untyped-def]
    return (a[y, x, 0] - b[v, u, 0]) ** 2 + (a[y, x, 1] - b[v, u, 1]) ** 2 + (a[y, x, 2] - b[v, u, 2]) ** 2


@kernel
def _same_surface(p, y, x, v, u):  # type: ignore[no-untyped-def]
    """Whether two pixels of p [h, w, 6] (normal, logarithm of the depth, shares of red and blue) show one face and
    material."""
    return (
        abs(p[y, x, 3] - p[v, u, 3]) <= SAME_DEPTH
        and p[y, x, 0] * p[v, u, 0] + p[y, x, 1] * p[v, u, 1] + p[y, x, 2] * p[v, u, 2] >= SAME_DIRECTION
        and (p[y, x, 4] - p[v, u, 4]) ** 2 + (p[y, x, 5] - p[v, u, 5]) ** 2 <= SAME_CHROMA**2
    )


@kernel
def _grey(values, y, x):  # type: ignore[no-untyped-def]
    return values[y, x, 0] + values[y, x, 1] + values[y, x, 2]


@kernel
def _leads_to(flat, seen, shown, y, x, v, u):  # type: ignore[no-untyped-def]
    """Whether on the way from (y, x) to (v, u) is no edge, and one of the two images as dark, or as bright."""
    steps, own = max(abs(v - y), abs(u - x)), _grey(seen, y, x)
    missing = _grey(shown, y, x) - own
    most = SAME_LIGHT * abs(missing)
    for i in range(1, steps):
        row, column = y + int(np.floor((v - y) * i / steps + 0.5)), x + int(np.floor((u - x) * i / steps + 0.5))
        if not flat[row, column]:
            return False
        a, b = _grey(seen, row, column), _grey(shown, row, column)
        if (min(a, b) - own if missing > 0 else own - max(a, b)) > most:
            return False
    return True
