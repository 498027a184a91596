"""Glints: light that a glossy surface throws into the camera from some directions and not from others.

A query may be brighter than everything that its reference shows there, though the part is good. Where a reference view,
compared without its own photograph, was brighter once, a query may be so from any direction; elsewhere it may not, and
what is darker or of another colour is no glint.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import in_bands
from ..imaging.images import Image
from ..imaging.lab import lightness
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIGMA = 1.5  # px: what a Gaussian shows is the mean of so much around it
REACH = 4  # px: a glint moves over the surface as the camera does, so what a point showed counts so far beside it
SHARE = 0.25  # of the residual must be brightness, or it is no glint
ALLOWANCE = 1.0  # times the brightest glint that reference views showed

_NEIGHBOURS = np.ones((3, 3), np.uint8)
_NEAR = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * REACH + 1,) * 2)


def brighter(image: Image, rendering: ReferenceRendering) -> Floats:
    """By how much (L* / 100) a query is brighter than all that its reference shows around each pixel [H, W]."""
    inside = rendering.inside
    shown, within = rendering.cropped(inside), image[inside]
    out = np.zeros(image.shape[:2], np.float32)
    found = out[inside]

    def band(first: int, last: int) -> None:
        near = slice(max(first - 1, 0), last + 1)
        most = shown.cropped((near, slice(None))).rgb8
        for photograph, seen in zip(shown.photographs[:, near], shown.seen[:, near], strict=True):
            known = np.ascontiguousarray(seen).view(np.uint8)
            most = cv2.max(most, cv2.bitwise_and(photograph, photograph, mask=known))
        brightest = cv2.dilate(most, _NEIGHBOURS)[first - near.start :][: last - first]
        np.maximum(lightness(within[first:last]) - lightness(brightest), 0, out=found[first:last])

    in_bands(band, len(found))
    return out


def glints_of(excess: Floats, residual: Floats, part: Mask) -> Floats:
    """The glints [H, W] that a good view shows; excess: see `brighter`, residual: of the colour."""
    return cv2.GaussianBlur(np.where(part, np.minimum(excess, residual), np.float32(0)), (0, 0), SIGMA)


def glints_allowed(
    rendering: ReferenceRendering, channels: int, excess: Floats | None, residual: Floats, pixels: NDArray[np.intp]
) -> Floats:
    """Residual [P] that glints may add at `pixels` [P] of a rendering whose features hold the glints behind the rarity.

    excess: see `brighter`, None where there are none; residual [P]: of the colour.
    """
    if excess is None:
        return np.zeros_like(residual)
    known = cv2.dilate(np.ascontiguousarray(rendering.features[..., channels + 1]), _NEAR).take(pixels)
    return np.where(excess.take(pixels) > SHARE * residual, ALLOWANCE * known, np.float32(0))
