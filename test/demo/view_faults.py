"""Views that show less of a part than they should: partly out of frame, or behind a cable or a glove."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pad_ros.demo.defects import Mask
from pad_ros.demo.render import Scene, surface
from pad_ros.errors import InputError
from pad_ros.imaging.geometry import Array, Camera, Pose
from pad_ros.imaging.images import Image

BISECTIONS = 24
CABLE_COLOUR, GLOVE_COLOUR = np.array([38.0, 38.0, 42.0]), np.array([58.0, 96.0, 168.0])
# A hand that reaches along +x with its fingertips near the origin, in palm widths: ends (x, y), (x, y) and radius.
GLOVE = np.array([
    (-9.0, 0.0, -1.5, 0.0, 0.44), (-1.4, -0.1, -1.0, -0.1, 0.52), (-1.4, 0.15, -1.0, 0.15, 0.5),
    (-0.8, -0.46, -0.2, -0.6, 0.13), (-0.7, -0.17, 0.0, -0.22, 0.15), (-0.7, 0.14, 0.02, 0.16, 0.15),
    (-0.8, 0.43, -0.1, 0.52, 0.14), (-1.4, 0.5, -0.75, 0.98, 0.17),
])  # fmt: skip


def partly_out_of_frame(scene: Scene, camera: Camera, pose: Pose, share: float, direction: float = 0.0) -> Pose:
    """`pose` with the camera turned aside until `share` of what it sees of the part is left in the frame.

    share: 0 to 1, of the pixels that show the part at `pose`; the camera's place stays, so the same surface is seen.
    direction: radians from the image's x towards its y, in which the part leaves. Raises InputError where no part is
    in view or the share is not in 0 to 1.
    """
    visible = surface(scene, camera, pose)
    points = visible.points[visible.subpart >= 0]
    if len(points) == 0:
        raise InputError("no part is in view")

    def turned(angle: float) -> Pose:
        return pose.retract(angle * np.array([-np.sin(direction), np.cos(direction), 0, 0, 0, 0]))

    def hidden(angle: float) -> float:
        x, y = camera.project(turned(angle).transform(points)).T
        return 1 - float(np.mean((x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)))

    return turned(_smallest(hidden, 1 - share, np.pi / 2))


def behind_cable(image: Image, part: Mask, share: float, seed: int = 0) -> tuple[Image, Mask]:
    """The image [H, W, 3] with a cable across the part, just thick enough to hide `share` of the pixels of `part`
    [H, W]; and the mask [H, W] of the hidden pixels. Raises InputError where the share is not in 0 to 1."""
    rng = np.random.default_rng(seed)
    centre, size = _extent(part)
    run = np.linspace(-1, 1, 41) * np.hypot(*part.shape)
    sway = 0.25 * size * np.sin(1.6 * run / size + rng.uniform(0, 2 * np.pi))
    path = centre + np.stack([run, sway], axis=1) @ _turn(rng.uniform(0, np.pi))
    pieces = np.concatenate([path[:-1], path[1:]], axis=1)

    def cable(radius: float) -> Array:
        return np.insert(pieces, 4, max(radius, 1e-3), axis=1)

    return _hide(image, part, share, cable, 2 * size, CABLE_COLOUR)


def behind_glove(image: Image, part: Mask, share: float, seed: int = 0) -> tuple[Image, Mask]:
    """The same with a gloved hand that reaches over the part from outside the image. Raises InputError where it is
    too small to hide that much."""
    centre, size = _extent(part)
    turn = _turn(np.random.default_rng(seed).uniform(0, 2 * np.pi))
    palm = 0.8 * size

    def hand(reach: float) -> Array:
        ends = (palm * GLOVE[:, :4].reshape(-1, 2) + [reach - 1.5 * size, 0]) @ turn + centre
        return np.column_stack([ends.reshape(-1, 4), palm * GLOVE[:, 4]])

    return _hide(image, part, share, hand, 2.5 * size, GLOVE_COLOUR)


def _hide(
    image: Image, part: Mask, share: float, shape: Callable[[float], Array], largest: float, colour: Array
) -> tuple[Image, Mask]:
    """Draws `shape(amount)`, round bars [K, 5], with the smallest amount up to `largest` that hides the share."""
    rows, columns = np.nonzero(part)
    on_part = np.stack([columns + 0.5, rows + 0.5], axis=1)
    amount = _smallest(lambda amount: float(np.mean(_bars(on_part, shape(amount))[0] > 0)), share, largest)
    x, y = np.meshgrid(np.arange(part.shape[1]) + 0.5, np.arange(part.shape[0]) + 0.5)
    depth, across = _bars(np.stack([x.ravel(), y.ravel()], axis=1), shape(amount))
    brightness = 0.4 + 0.6 * np.sqrt(np.clip(1 - across**2, 0, 1))
    opacity = np.clip(depth + 0.5, 0, 1)[:, None]
    drawn = image.reshape(-1, 3) * (1 - opacity) + opacity * brightness[:, None] * colour
    return np.round(drawn).astype(np.uint8).reshape(image.shape), (depth > 0).reshape(part.shape)


def _bars(points: Array, bars: Array) -> tuple[Array, Array]:
    """Of points [N, 2] among round bars [K, 5] (both ends and the radius): px from the outline, positive inside, and
    the distance from the axis as a share of the radius."""
    depth, across = np.full(len(points), -np.inf), np.ones(len(points))
    for x0, y0, x1, y1, radius in bars:
        start, step = np.array([x0, y0]), np.array([x1 - x0, y1 - y0])
        t = np.clip((points - start) @ step / (step @ step), 0, 1)
        distance = np.linalg.norm(points - start - t[:, None] * step, axis=1)
        nearer = radius - distance > depth
        depth[nearer], across[nearer] = radius - distance[nearer], distance[nearer] / radius
    return depth, across


def _smallest(hidden: Callable[[float], float], share: float, largest: float) -> float:
    """The smallest amount up to `largest` at which at least `share` is hidden."""
    if not 0 <= share <= 1 or hidden(largest) < share:
        raise InputError(f"a share of {share:g} cannot be hidden here")
    low, high = 0.0, largest
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if hidden(middle) >= share else (middle, high)
    return high


def _extent(part: Mask) -> tuple[Array, float]:
    """Centre (x, y) [2] of a mask [H, W] and half its larger side, in px; InputError where it is empty."""
    rows, columns = np.nonzero(part)
    if len(rows) == 0:
        raise InputError("no part is in view")
    return np.array([columns.mean(), rows.mean()]) + 0.5, (max(np.ptp(columns), np.ptp(rows)) + 1) / 2


def _turn(angle: float) -> Array:
    """Turns rows (x, y) by `angle` radians from x towards y when multiplied from the right, [2, 2]."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s], [-s, c]])
