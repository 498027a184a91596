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
from ..kernels import for_each, kernel, thread_count
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

FAR = np.float32(1e9)


def lab(rgb: Floats | Image) -> Floats:
    """CIE L*a*b* [H, W, 3] / 100 of an RGB image (uint8, or float32 in 0..1)."""
    values = rgb.astype(np.float32) / np.float32(255) if rgb.dtype == np.uint8 else rgb
    out: Floats = cv2.cvtColor(np.ascontiguousarray(values), cv2.COLOR_RGB2LAB)
    return out / np.float32(100)


def residuals(image: Image, rendering: ReferenceRendering, shift: int) -> Floats:
    """The cues of difference [H, W, C] between an undistorted query and its reference (C = 1: colour)."""
    query = lab(image)
    everywhere = np.ones(query.shape[:2], bool)
    best = shift_tolerant_difference(query, lab(rendering.rgb), everywhere, shift)
    for photograph, seen in zip(rendering.photographs, rendering.seen, strict=True):
        np.minimum(best, shift_tolerant_difference(query, lab(photograph), seen, shift), out=best)
    return best[..., None]


def shift_tolerant_difference(query: Floats, reference: Floats, known: Mask, radius: int) -> Floats:
    """Colour difference [H, W] that remains after the best shift of up to `radius` px, symmetric.

    For each pixel the larger of: its distance to the nearest reference pixel of the neighbourhood, and
    the reverse. One direction alone would forgive thin structures that only one of them has. Infinite
    where the reference is not `known`.
    """
    out = np.empty(query.shape[:2], np.float32)
    bands = np.linspace(0, len(out), 4 * thread_count() + 1).astype(np.int64)
    for_each(lambda i: _difference(query, reference, known, radius, out, bands[i], bands[i + 1]), len(bands) - 1)
    return out


@kernel
def _difference(query: Floats, reference: Floats, known: Mask, radius: int, out: Floats, first: int, last: int) -> None:
    height, width, channels = query.shape
    for y in range(first, last):
        for x in range(width):
            if not known[y, x]:
                out[y, x] = np.float32(np.inf)
                continue
            forward = FAR
            backward = FAR
            for v in range(max(y - radius, 0), min(y + radius, height - 1) + 1):
                for u in range(max(x - radius, 0), min(x + radius, width - 1) + 1):
                    a = np.float32(0)
                    b = np.float32(0)
                    for c in range(channels):
                        d = query[y, x, c] - reference[v, u, c]
                        a += d * d
                        e = query[v, u, c] - reference[y, x, c]
                        b += e * e
                    if known[v, u]:
                        forward = min(forward, a)
                    backward = min(backward, b)
            out[y, x] = np.sqrt(max(forward, backward))
