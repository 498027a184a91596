"""The ground that a query shows behind the part, which need not be the plain one of the reference views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Camera, Pose
from .images import Image
from .light import fit_light
from .rendering.result import ReferenceRendering
from .silhouette import Background, border_pixels

Floats = NDArray[np.float32]
RenderFunction = Callable[[Camera, Pose], ReferenceRendering]

PLAIN_SHARE = 0.7  # of the border must be the trained ground; a part may reach out of the image
TRACE = 0.02  # of the part in a pixel: less is all ground
NEAR = 3  # px around the rendered part that may show it, while the pose is not exact


def shows_plain_ground(image: Image, background: Background) -> bool:
    """Whether the query [H, W, 3] stands before the ground of the reference views; always so for a scene."""
    if background.colour is None:
        return True
    distance = np.abs(border_pixels(image).astype(np.float32) - np.array(background.colour, np.float32)).max(axis=1)
    return float(np.mean(distance <= background.tolerance)) >= PLAIN_SHARE


def on_ground(rendering: ReferenceRendering, ground: Floats, background: Background) -> ReferenceRendering:
    """The rendered part over `ground` [H, W, 3] (0..1) in place of the ground that it was trained on."""
    trained = np.array(background.rgb01, np.float32)
    rgb = rendering.rgb + (1 - rendering.alpha[..., None]) * (ground - trained)
    return replace(rendering, rgb=np.clip(rgb, 0, 1, dtype=np.float32))


def ground_behind(query: Floats, rendering: ReferenceRendering) -> Floats:
    """The query [H, W, 3] without the part: where the part is, or may be, the nearest pixel of the ground."""
    near = cv2.dilate(rendering.alpha, np.ones((2 * NEAR + 1,) * 2, np.uint8)) > TRACE
    if near.all():
        return query
    _, labels = cv2.distanceTransformWithLabels(
        near.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )  # fmt: skip
    known = np.flatnonzero(~near)
    source = np.zeros(int(labels.max()) + 1, np.int64)
    source[labels.ravel()[known]] = known
    out = query.copy()
    out[near] = query.reshape(-1, 3)[source[labels[near]]]
    return out


def as_seen(
    image: Image, camera: Camera, pose: Pose, render: RenderFunction, background: Background
) -> tuple[Image, RenderFunction]:
    """The query [H, W, 3] under the light of the reference views, and `render` with the query's ground behind the part.

    Light and ground are taken from the query at a first `pose`, which may be wrong by a few pixels.
    """
    first = render(camera, pose)
    image = fit_light(image, first).undo(image)
    ground = None
    if not shows_plain_ground(image, background):
        ground = ground_behind(image.astype(np.float32) / np.float32(255), first)

    def seen(camera: Camera, at: Pose) -> ReferenceRendering:
        rendering = first if at is pose else render(camera, at)
        return rendering if ground is None else on_ground(rendering, ground, background)

    return image, seen
