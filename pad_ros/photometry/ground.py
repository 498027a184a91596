"""The ground that a query shows behind the part, which need not be the plain one of the reference views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.background import Background, ground_mask
from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image
from ..rendering.result import ReferenceRendering
from .light import MAX_PIXELS, fit_light, light_between

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
RenderFunction = Callable[[Camera, Pose], ReferenceRendering]

PLAIN_SHARE = 0.7  # of what lies beside the part must be the trained ground
TRACE = 0.02  # of the part in a pixel: less is all ground
NEAR = 3  # px around the rendered part that may show it, while the pose is not exact


def is_plain_ground(empty: Mask | None, rendering: ReferenceRendering) -> bool:
    """Whether a query stands before the ground of the reference views; always so for a scene.

    empty [H, W]: where it has the colour of that ground, see `ground_mask`. What the rendered part leaves free tells;
    where it leaves nothing free, any ground is right.
    """
    if empty is None:
        return True
    free = ~around(rendering)
    return bool(np.count_nonzero(empty & free) >= PLAIN_SHARE * np.count_nonzero(free))


def around(rendering: ReferenceRendering) -> Mask:
    """Where [H, W] the part may be seen while the pose is not exact."""
    traced = (rendering.alpha > TRACE).view(np.uint8)
    return np.asarray(cv2.dilate(traced, np.ones((2 * NEAR + 1,) * 2, np.uint8)) > 0)


def on_ground(rendering: ReferenceRendering, ground: Floats, background: Background) -> ReferenceRendering:
    """The rendered part over `ground` [H, W, 3] (0..1) in place of the ground that it was trained on."""
    trained = np.array(background.rgb01, np.float32)
    rgb = rendering.rgb + (1 - rendering.alpha[..., None]) * (ground - trained)
    return replace(rendering, rgb=np.clip(rgb, 0, 1, dtype=np.float32), window=None)


def filled(query: Floats, near: Mask) -> Floats:
    """The query [H, W, 3] with the nearest pixel of the ground where the part is, or may be."""
    if near.all():
        return query
    _, labels = cv2.distanceTransformWithLabels(near.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    known = np.flatnonzero(~near)
    source = np.zeros(int(labels.max()) + 1, np.int64)
    source[labels.ravel()[known]] = known
    out = query.copy()
    out[near] = query.reshape(-1, 3)[source[labels[near]]]
    return out


@dataclass(frozen=True, eq=False)
class Seen:
    """A query as pose refinement compares it."""

    image: Image  # [H, W, 3] under the light of the reference views
    ground: Floats | None  # [H, W, 3] (0..1) behind the part; None: the trained one
    background: Background
    first: ReferenceRendering

    def over(self, render: RenderFunction) -> RenderFunction:
        """`render` with the query's own ground behind the part, at any resolution."""

        def seen(camera: Camera, pose: Pose) -> ReferenceRendering:
            known = pose is self.first.pose and camera == self.first.camera
            rendering = self.first if known else render(camera, pose)
            if self.ground is None:
                return rendering
            ground = self.ground
            if ground.shape[:2] != (camera.height, camera.width):
                ground = cv2.resize(ground, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
            return on_ground(rendering, ground, self.background)

        return seen


def as_seen(image: Image, first: ReferenceRendering, background: Background) -> Seen:
    """Light and ground of a query [H, W, 3], by a `first` rendering of any size, which may be wrong by a few pixels."""
    height, width = image.shape[:2]
    size = (first.camera.width, first.camera.height)
    shrunk: Image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    light = fit_light(shrunk, first)
    image = light.undo(image)
    if is_plain_ground(ground_mask(light.undo(shrunk), background), first):
        return Seen(image, None, background, first)
    near = cv2.resize(around(first).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    return Seen(image, filled(image.astype(np.float32) / np.float32(255), near), background, first)


def in_light_of(image: Image, query: Floats, free: Mask) -> Image:
    """A view of the empty cell [H, W, 3] in the light of the query (0..1), told by the `free` pixels."""
    pixels = np.flatnonzero(free)
    pixels = pixels[:: -(-len(pixels) // MAX_PIXELS) or 1]
    seen = image.reshape(-1, 3)[pixels].astype(np.float64) / 255
    return light_between(seen, query.reshape(-1, 3)[pixels].astype(np.float64)).undo(image)


def nearest_empty(query: Floats, near: Mask, empty: Sequence[Image]) -> Floats:
    """Of the views of the empty cell, in the query's light, the one [H, W, 3] (0..1) most like it beside the part."""
    views = [in_light_of(view, query, ~near).astype(np.float32) / np.float32(255) for view in empty]
    return min(views, key=lambda view: float(np.abs(view - query)[~near].mean()) if not near.all() else 0.0)
