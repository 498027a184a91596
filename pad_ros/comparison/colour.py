"""Comparing a query with its reference: differences in colour that no small shift explains.

The reference of a pixel is more than one picture: the rendering, and reference photographs warped to
the query's pose. Each has its own faults (blur; seams where the depth is wrong), a defect differs from
all of them; so the residual is the difference to the candidate that fits best.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.simd import LANES, any_lane, fma, load, maximum, minimum, splat, store
from ..compute.threads import in_bands, kernel
from ..imaging.images import Image
from ..imaging.lab import FAR, empty_planes, fill_planes, lab, lab_planes
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def residuals(image: Image, rendering: ReferenceRendering, shift: int) -> Floats:
    """The residual [H, W, C] between an undistorted query and its reference (C = 1: colour)."""
    height, width = image.shape[:2]
    query, best = empty_planes(height, width, shift), np.empty((height, width), np.float32)
    colour = np.array(rendering.background_colour, np.float32)
    plain = lab(colour.reshape(1, 1, 3))[0, 0]
    rows, columns = rendering.inside
    (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
    plain_reference = []

    def around(first: int, last: int) -> None:  # where the reference is plain, no shift makes a difference
        fill_planes(query, image, first, last, None, shift)
        plain_reference.append(
            _around(query, shift, rendering.rgb, colour, plain, top, bottom, left, right, best, first, last)
        )

    def within(first: int, last: int) -> None:
        begin, end = top + first, top + last
        upper, lower = max(begin - shift, top), min(end + shift, bottom)
        least = _least(query, rendering.cropped(np.s_[upper:lower, left:right]), (upper, left), shift, None)
        best[begin:end, left:right] = np.sqrt(least[begin - upper : end - upper, : right - left])

    in_bands(around, height)
    if not all(plain_reference):
        top, bottom, left, right = 0, height, 0, width
    in_bands(within, bottom - top)
    return best[..., None]


def residuals_where(query: Floats, rendering: ReferenceRendering, shift: int, where: Mask) -> Floats:
    """The colour residual [h, w] of a query [h, w, 3] (0..1), infinite elsewhere than `where` [h, w]."""
    out = np.full(where.shape, np.inf, np.float32)
    near = cv2.dilate(where.view(np.uint8), np.ones((2 * shift + 1,) * 2, np.uint8)) > 0
    height, width = where.shape

    def task(first: int, last: int) -> None:
        upper, lower = max(first - shift, 0), min(last + shift, height)
        if not where[first:last].any():
            return
        planes = lab_planes(query[upper:lower], None, shift)
        least = _least(planes, rendering.cropped(np.s_[upper:lower, 0:width]), (0, 0), shift, near[upper:lower])
        rows = np.s_[first - upper : last - upper]
        out[first:last] = np.where(where[first:last], np.sqrt(least[rows, :width]), np.float32(np.inf))

    in_bands(task, height)
    return out


def differing(a: Floats, b: Floats) -> Mask:
    """Where [h, w] two images [h, w, 3] differ in any channel."""
    red, green, blue = (a[..., c] != b[..., c] for c in range(3))
    return np.asarray(red | green | blue)


def _least(query: Floats, band: ReferenceRendering, start: tuple[int, int], shift: int, known: Mask | None) -> Floats:
    """The least squared difference [h, w + LANES] of a band to rendering and photographs, infinite where not `known`.

    query: planes with a margin of `shift`, in which the band starts at a row and column.
    """
    height, width = band.alpha.shape
    least = np.full((height, width + LANES), np.inf, np.float32)
    place = (shift + start[0], shift + start[1])
    _difference(query, place, lab_planes(band.rgb, known, shift), shift, width, least)
    for photograph, seen in zip(band.photographs, band.seen, strict=True):
        seen = seen if known is None else seen & known
        _difference(query, place, lab_planes(photograph, seen, shift), shift, width, least)
    return least


def shift_tolerant_difference(query: Floats, reference: Floats, known: Mask, radius: int) -> Floats:
    """Colour difference [H, W] that remains after the best shift of up to `radius` px, symmetric.

    For each pixel the larger of: its distance to the nearest reference pixel of the neighbourhood, and
    the reverse. One direction alone would forgive thin structures that only one of them has. Infinite
    where the reference is not `known`.
    """
    out = np.empty(known.shape, np.float32)
    width = known.shape[1]

    def task(first: int, last: int) -> None:
        upper = max(first - radius, 0)
        band = np.s_[upper : last + radius]
        of_query, of_reference = _planar(query[band], None, radius), _planar(reference[band], known[band], radius)
        least = np.full((len(query[band]), width + LANES), np.inf, np.float32)
        _difference(of_query, (radius, radius), of_reference, radius, width, least)
        rows = np.s_[first - upper : last - upper]
        out[first:last] = np.where(known[first:last], np.sqrt(least[rows, :width]), np.float32(np.inf))

    in_bands(task, len(out))
    return out


def _planar(values: Floats, known: Mask | None, radius: int) -> Floats:
    """Colours [h, w, 3] as `lab_planes` has them."""
    height, width = values.shape[:2]
    out = np.full((3, height + 2 * radius, width + 2 * radius + LANES), FAR, np.float32)
    inner = out[:, radius : radius + height, radius : radius + width]
    np.copyto(inner, values.transpose(2, 0, 1), where=True if known is None else known)
    return out


@kernel
def _difference(query, place, reference, radius, width, least):  # type: ignore[no-untyped-def]
    """Lower `least` [h, width + LANES] to the squared differences of a reference (planes with a margin of `radius`)
    to the query (planes of more), whose pixel at `place` (row, column) is the first of the reference."""
    stride, q_stride = reference.shape[2], query.shape[2]
    plane, q_plane = reference.shape[1] * stride, query.shape[1] * q_stride
    for y in range(least.shape[0]):
        for x in range(0, width, LANES):
            centre, q_centre = (y + radius) * stride + x + radius, (y + place[0]) * q_stride + x + place[1]
            r0, r1, r2 = load(reference, centre), load(reference, plane + centre), load(reference, 2 * plane + centre)
            if not any_lane(splat(FAR) > r0):
                continue
            q0, q1, q2 = load(query, q_centre), load(query, q_plane + q_centre), load(query, 2 * q_plane + q_centre)
            forward = backward = splat(np.float32(np.inf))
            for v in range(-radius, radius + 1):
                for u in range(-radius, radius + 1):
                    k, j = centre + v * stride + u, q_centre + v * q_stride + u
                    a, b, c = load(reference, k), load(reference, plane + k), load(reference, 2 * plane + k)
                    a, b, c = q0 - a, q1 - b, q2 - c
                    forward = minimum(forward, fma(a, a, fma(b, b, c * c)))
                    a, b, c = load(query, j), load(query, q_plane + j), load(query, 2 * q_plane + j)
                    a, b, c = r0 - a, r1 - b, r2 - c
                    backward = minimum(backward, fma(a, a, fma(b, b, c * c)))
            at = y * least.shape[1] + x
            store(least, at, minimum(load(least, at), maximum(forward, backward)))


@kernel
def _around(query, margin, rgb, colour, plain, top, bottom, left, right, out, first, last):  # type: ignore[no-untyped-def]
    """Differences [H, W] around a window, where the reference `rgb` is of one `colour`, `plain` in Lab.

    Of the rows first..last. False where the reference is something else.
    """
    for y in range(first, last):
        for x in range(out.shape[1]):
            if top <= y < bottom and left <= x < right:
                continue
            for c in range(3):
                if rgb[y, x, c] != colour[c]:
                    return False
            row, column = y + margin, x + margin
            a, b = query[0, row, column] - plain[0], query[1, row, column] - plain[1]
            d = query[2, row, column] - plain[2]
            out[y, x] = np.sqrt(a * a + b * b + d * d)
    return True
