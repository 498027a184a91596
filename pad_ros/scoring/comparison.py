"""Comparing a query with its reference: differences in colour that no small shift explains.

The reference of a pixel is more than one picture: the rendering, and reference photographs warped to
the query's pose. Each has its own faults (blur; seams where the depth is wrong), a defect differs from
all of them; so the residual is the difference to the candidate that fits best.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..images import Image
from ..kernels import in_bands, kernel
from ..rendering._simd import LANES, fma, load, maximum, minimum, splat, store
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

FAR = np.float32(1e6)  # Lab / 100 of what is not there


def lab(rgb: Floats | Image) -> Floats:
    """CIE L*a*b* [H, W, 3] / 100 of an RGB image (uint8, or float32 in 0..1)."""
    values = rgb.astype(np.float32) / np.float32(255) if rgb.dtype == np.uint8 else rgb
    out: Floats = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2LAB)
    return out / np.float32(100)


def residuals(image: Image, rendering: ReferenceRendering, shift: int) -> Floats:
    """The cues of difference [H, W, C] between an undistorted query and its reference (C = 1: colour)."""
    height, width = image.shape[:2]
    query, best = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
    colour = np.array(rendering.background_colour, np.float32)
    plain = lab(colour.reshape(1, 1, 3))[0, 0]
    rows, columns = rendering.inside
    (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
    honest = []

    def beside(first: int, last: int) -> None:  # where the reference is plain, no shift makes a difference
        query[first:last] = lab(image[first:last])
        honest.append(_beside(query, rendering.rgb, colour, plain, top, bottom, left, right, best, first, last))

    def within(first: int, last: int) -> None:
        begin, end = top + first, top + last
        upper, lower = max(begin - shift, top), min(end + shift, bottom)
        band = (slice(upper, lower), slice(left, right))
        planes = _planar(query[band], None, shift)
        least = _least_difference(planes, lab(rendering.rgb[band]), None, shift)
        for photograph, seen in zip(rendering.photographs, rendering.seen, strict=True):
            np.minimum(least, _least_difference(planes, lab(photograph[band]), seen[band], shift), out=least)
        best[begin:end, left:right] = least[begin - upper : end - upper]

    in_bands(beside, height)
    if not all(honest):
        top, bottom, left, right = 0, height, 0, width
    in_bands(within, bottom - top)
    return best[..., None]


def shift_tolerant_difference(query: Floats, reference: Floats, known: Mask, radius: int) -> Floats:
    """Colour difference [H, W] that remains after the best shift of up to `radius` px, symmetric.

    For each pixel the larger of: its distance to the nearest reference pixel of the neighbourhood, and
    the reverse. One direction alone would forgive thin structures that only one of them has. Infinite
    where the reference is not `known`.
    """
    out = np.empty(known.shape, np.float32)

    def task(first: int, last: int) -> None:
        upper = max(first - radius, 0)
        band = np.s_[upper : last + radius]
        least = _least_difference(_planar(query[band], None, radius), reference[band], known[band], radius)
        out[first:last] = least[first - upper : last - upper]

    in_bands(task, len(out))
    return out


def _planar(values: Floats, known: Mask | None, radius: int) -> Floats:
    """[3, h + 2 radius, w + 2 radius + LANES]: the channels apart, FAR where nothing is known."""
    height, width = values.shape[:2]
    out = np.full((3, height + 2 * radius, width + 2 * radius + LANES), FAR, np.float32)
    inner = out[:, radius : radius + height, radius : radius + width]
    if known is None:
        inner[:] = values.transpose(2, 0, 1)
    else:
        np.copyto(inner, values.transpose(2, 0, 1), where=known)
    return out


def _least_difference(query: Floats, reference: Floats, known: Mask | None, radius: int) -> Floats:
    """`shift_tolerant_difference` of a query as `_planar` lays it out; known None: everywhere."""
    height, width = reference.shape[:2]
    out = np.empty((height, width + LANES), np.float32)
    _difference(query, _planar(reference, known, radius), radius, width, out)
    return out[:, :width] if known is None else np.where(known, out[:, :width], np.float32(np.inf))


@kernel
def _difference(query, reference, radius, width, out):  # type: ignore[no-untyped-def]
    _, rows, stride = query.shape
    plane = rows * stride
    for y in range(out.shape[0]):
        for x in range(0, width, LANES):
            centre = (y + radius) * stride + x + radius
            q0, q1, q2 = load(query, centre), load(query, plane + centre), load(query, 2 * plane + centre)
            r0, r1, r2 = load(reference, centre), load(reference, plane + centre), load(reference, 2 * plane + centre)
            forward = backward = splat(np.float32(np.inf))
            for v in range(-radius, radius + 1):
                for u in range(-radius, radius + 1):
                    k = centre + v * stride + u
                    a, b, c = load(reference, k), load(reference, plane + k), load(reference, 2 * plane + k)
                    a, b, c = q0 - a, q1 - b, q2 - c
                    forward = minimum(forward, fma(a, a, fma(b, b, c * c)))
                    a, b, c = load(query, k), load(query, plane + k), load(query, 2 * plane + k)
                    a, b, c = r0 - a, r1 - b, r2 - c
                    backward = minimum(backward, fma(a, a, fma(b, b, c * c)))
            store(out, y * out.shape[1] + x, maximum(forward, backward))
        for x in range(width):
            out[y, x] = np.sqrt(out[y, x])


@kernel
def _beside(query, rgb, colour, plain, top, bottom, left, right, out, first, last):  # type: ignore[no-untyped-def]
    """Differences [H, W] beside a window, where the reference `rgb` is of one `colour`, `plain` in Lab.

    Of the rows first..last. False where the reference is something else.
    """
    for y in range(first, last):
        for x in range(out.shape[1]):
            if top <= y < bottom and left <= x < right:
                continue
            for c in range(3):
                if rgb[y, x, c] != colour[c]:
                    return False
            a, b, d = query[y, x, 0] - plain[0], query[y, x, 1] - plain[1], query[y, x, 2] - plain[2]
            out[y, x] = np.sqrt(a * a + b * b + d * d)
    return True
