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
from .silhouette import Background, ground_mask

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
RenderFunction = Callable[[Camera, Pose], ReferenceRendering]

PLAIN_SHARE = 0.7  # of what lies beside the part must be the trained ground
TRACE = 0.02  # of the part in a pixel: less is all ground
NEAR = 3  # px around the rendered part that may show it, while the pose is not exact


def shows_plain_ground(image: Image, rendering: ReferenceRendering, background: Background) -> bool:
    """Whether the query [H, W, 3] stands before the ground of the reference views; always so for a scene.

    What the rendered part leaves free tells; where it leaves nothing free, any ground is right.
    """
    empty = ground_mask(image, background)
    if empty is None:
        return True
    free = ~around(rendering)
    return not free.any() or float(np.mean(empty[free])) >= PLAIN_SHARE


def around(rendering: ReferenceRendering) -> Mask:
    """Where [H, W] the part may be seen while the pose is not exact."""
    return np.asarray(cv2.dilate(rendering.alpha, np.ones((2 * NEAR + 1,) * 2, np.uint8)) > TRACE)


def on_ground(rendering: ReferenceRendering, ground: Floats, background: Background) -> ReferenceRendering:
    """The rendered part over `ground` [H, W, 3] (0..1) in place of the ground that it was trained on."""
    trained = np.array(background.rgb01, np.float32)
    rgb = rendering.rgb + (1 - rendering.alpha[..., None]) * (ground - trained)
    return replace(rendering, rgb=np.clip(rgb, 0, 1, dtype=np.float32))


def ground_behind(query: Floats, rendering: ReferenceRendering) -> Floats:
    """The query [H, W, 3] without the part: where the part is, or may be, the nearest pixel of the ground."""
    near = around(rendering)
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
    if not shows_plain_ground(image, first, background):
        ground = ground_behind(image.astype(np.float32) / np.float32(255), first)

    def seen(camera: Camera, at: Pose) -> ReferenceRendering:
        rendering = first if at is pose else render(camera, at)
        return rendering if ground is None else on_ground(rendering, ground, background)

    return image, seen
