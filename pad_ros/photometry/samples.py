"""What a query and a rendering show at the same places of the part, smoothed: what light and shading are fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import kernel
from ..imaging.images import Image
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]

MIN_PIXELS = 500
MAX_PIXELS = 2000
ENOUGH_PIXELS = 2 * MAX_PIXELS  # of the part: more are seen at half the resolution
BLUR = 2.0  # px: a pose that is off by one must not look like less contrast


@dataclass(frozen=True, eq=False)
class Samples:
    """Pixels [P], flat indices in the rendering's window, and colours [P, 3] (0..1) of query and reference there."""

    pixels: NDArray[np.int64]
    query: NDArray[np.float64]
    reference: NDArray[np.float64]


def sample_part(image: Image | Floats, rendering: ReferenceRendering) -> Samples | None:
    """Up to MAX_PIXELS of the part in a query [H, W, 3] (uint8, or float32 in 0..1); None where hardly any is in sight.

    Only the part's own pixels are mixed.
    """
    seen = rendering.inside
    inside = cv2.erode((rendering.alpha[seen] > 0.95).view(np.uint8), np.ones((3, 3), np.uint8))
    step = 2 if cv2.countNonZero(inside) > ENOUGH_PIXELS else 1
    height, width = inside.shape[0] // step, inside.shape[1] // step
    values = np.empty((height, width, 7), np.float32)
    scale = np.float32(1 / 255 if image.dtype == np.uint8 else 1)
    _blocks(image[seen], scale, rendering.rgb[seen], inside, step, values)
    values = cv2.GaussianBlur(values, (0, 0), BLUR / step).reshape(-1, 7)
    chosen = np.flatnonzero(values[:, 6] > 0.5)
    if len(chosen) < MIN_PIXELS:
        return None
    chosen = chosen[:: -(-len(chosen) // MAX_PIXELS)]
    smoothed = values[chosen].astype(np.float64)
    query, reference = (smoothed[:, c : c + 3] / smoothed[:, 6:] for c in (0, 3))
    pixels = chosen // width * step * inside.shape[1] + chosen % width * step
    return Samples(pixels, query, reference)


@kernel
def _blocks(image, scale, rgb, inside, step, out):  # type: ignore[no-untyped-def]
    """Means over blocks of pixels, of those `inside` alone: query (0..1), reference, share of the block [h, w, 7]."""
    of_rgb = np.float32(1 / (step * step))
    of_image = scale * of_rgb
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x, :] = 0
            for v in range(y * step, (y + 1) * step):
                for u in range(x * step, (x + 1) * step):
                    if inside[v, u]:
                        for c in range(3):
                            out[y, x, c] += np.float32(image[v, u, c]) * of_image
                            out[y, x, 3 + c] += rgb[v, u, c] * of_rgb
                        out[y, x, 6] += of_rgb
