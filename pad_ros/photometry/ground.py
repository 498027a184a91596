"""The ground: what one query shows behind the part. It need not be the plain background of the reference views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import kernel
from ..imaging.background import Background, mask_box
from ..imaging.images import Image
from ..rendering.result import ReferenceRendering
from .light import light_between
from .samples import MAX_PIXELS

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

PLAIN_SHARE = 0.7  # of what lies around the part must have the colour of the trained background
EMPTY_ALPHA = 0.02  # a pixel with less of the part is all ground
POSE_MARGIN = 3  # px around the rendered part that may show it, while the pose is not exact


def is_plain_background(background_mask: Mask | None, rendering: ReferenceRendering) -> bool:
    """Whether a query stands in front of the background of the reference views; always so for a scene.

    background_mask [H, W]: where it has the colour of that background, see `background_mask`. What the rendered part
    leaves free decides; where it leaves nothing free, any ground is right.
    """
    if background_mask is None:
        return True
    free = ~around_part(rendering)
    return bool(np.count_nonzero(background_mask & free) >= PLAIN_SHARE * np.count_nonzero(free))


def around_part(rendering: ReferenceRendering) -> Mask:
    """Where [H, W] the part may be seen while the pose is not exact."""
    traced = (rendering.alpha > EMPTY_ALPHA).view(np.uint8)
    return np.asarray(cv2.dilate(traced, np.ones((2 * POSE_MARGIN + 1,) * 2, np.uint8)) > 0)


def on_ground(rendering: ReferenceRendering, ground: Floats, background: Background) -> ReferenceRendering:
    """The rendered part over `ground` [H, W, 3] (0..1) in place of the background that it was trained on."""
    inside, rgb = rendering.inside, ground.copy()
    _compose(rendering.rgb[inside], rendering.alpha[inside], np.array(background.rgb01, np.float32), rgb[inside])
    return replace(rendering, rgb=rgb, window=None)


@kernel
def _compose(rgb, alpha, trained, ground):  # type: ignore[no-untyped-def]
    """Put a part that was rendered over the `trained` colour over the ground [h, w, 3]."""
    zero, one = np.float32(0), np.float32(1)
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            for c in range(3):
                value = rgb[y, x, c] + (one - alpha[y, x]) * (ground[y, x, c] - trained[c])
                ground[y, x, c] = min(max(value, zero), one)


def filled(query: Floats, near: Mask) -> Floats:
    """The query [H, W, 3] with the nearest pixel of the ground where the part is, or may be."""
    box = mask_box(near, margin=1)  # the nearest pixel of the ground is never beyond this
    if box is None or near.all():
        return query
    out = query.copy()
    within, part = out[box.slices], np.ascontiguousarray(near[box.slices])
    _, labels = cv2.distanceTransformWithLabels(part.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    known = np.flatnonzero(~part)
    source = np.zeros(int(labels.max()) + 1, np.int64)
    source[labels.ravel()[known]] = known
    within[part] = within.reshape(-1, 3)[source[labels[part]]]
    return out


def in_light_of(image: Image, query: Floats, free: Mask) -> Image:
    """A view of the empty cell [H, W, 3] in the light of the query (0..1), determined from the `free` pixels."""
    pixels = np.flatnonzero(free)
    pixels = pixels[:: -(-len(pixels) // MAX_PIXELS) or 1]
    seen = image.reshape(-1, 3)[pixels].astype(np.float64) / 255
    return light_between(seen, query.reshape(-1, 3)[pixels].astype(np.float64)).undo(image)


def nearest_empty(query: Floats, near: Mask, empty: Sequence[Image]) -> Floats:
    """Of the views of the empty cell, in the query's light, the one [H, W, 3] (0..1) most like it around the part."""
    views = [in_light_of(view, query, ~near).astype(np.float32) / np.float32(255) for view in empty]
    return min(views, key=lambda view: float(np.abs(view - query)[~near].mean()) if not near.all() else 0.0)
