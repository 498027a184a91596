"""Poses from what a part looks like as a whole: for queries whose features tell nothing.

The part is cut out before its plain ground, scaled to a small patch, and compared with such patches of the reference
photographs in all turns. Each similar one gives a pose: that of the photograph, turned about the line of sight and
moved so that the part's centre of area and size fit. Such a pose is some degrees off, or wrong: it is for whoever can
refine and verify it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..compute.threads import for_each, only_our_threads
from ..imaging.background import Background, Mask, part_mask
from ..imaging.geometry import Array, Camera, Pose
from ..imaging.images import Image
from ..rendering.photographs import Photograph

SIDE = 32  # px of a patch
SPREAD = 8.0  # px in the patch: root mean square distance of the part's pixels from their centre
ROLLS = 24  # turns that are tried
MAX_VIEWS = 300  # photographs that are looked at, of more every second, third, ...

DIRECTIONS = 250  # over the sphere: neighbours lie some 13 degrees apart
LIKE_A_VIEW = math.radians(13.0)  # a query from no farther beside a photograph looks like it

Patch = NDArray[np.float32]


def poses_in_gaps(poses: Sequence[Pose], centre: Array, coverage: float) -> list[Pose]:
    """Poses from where no photograph shows the part [3], though one is no farther than `coverage` (rad) beside it.

    Each is the nearest photograph's pose, turned about the part.
    """
    centres = np.array([pose.centre for pose in poses]) - centre
    seen_from = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    k = np.arange(DIRECTIONS) + 0.5  # a Fibonacci lattice
    height, angle = 1 - 2 * k / DIRECTIONS, k * math.pi * (1 + math.sqrt(5))
    radius = np.sqrt(1 - height**2)
    found = []
    for direction in np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1):
        nearest = int((seen_from @ direction).argmax())
        off = math.acos(min(float(seen_from[nearest] @ direction), 1.0))
        if LIKE_A_VIEW < off <= coverage:
            turn, _ = Rotation.align_vectors(seen_from[nearest][None], direction[None])
            about = turn.as_matrix()
            found.append(poses[nearest] @ Pose.from_rt(about, centre - about @ centre))
    return found


class Appearance:
    """The reference photographs as patches, in all turns."""

    def __init__(self, photographs: Sequence[Photograph], background: Background, centre: Array) -> None:
        """centre [3]: of the part, part frame. `background` must have a colour."""
        assert background.colour is not None
        self._background = background
        self._centre = centre
        looked_at = photographs[:: -(-len(photographs) // MAX_VIEWS) or 1]
        found: list[tuple[tuple[Photograph, Array, float], list[Patch]] | None] = [None] * len(looked_at)

        def task(i: int) -> None:
            mask = part_mask(looked_at[i].image, background)
            if mask is not None and mask.any():
                middle, spread = _extent(mask)
                turns = 2 * np.pi * np.arange(ROLLS) / ROLLS
                patches = _patches(looked_at[i].image, middle, spread, turns, background)
                found[i] = (looked_at[i], middle, spread), patches

        with only_our_threads():
            for_each(task, len(looked_at))
        views = [view for view in found if view is not None]
        self._views = [view for view, _ in views]
        self._patches = np.array([patches for _, patches in views], np.float32).reshape(-1, SIDE * SIDE * 3)

    def poses(self, image: Image, mask: Mask, camera: Camera, count: int) -> list[Pose]:
        """Poses of the `count` most similar photographs for the part that `mask` [H, W] shows, the likeliest first."""
        if not self._views or not mask.any():
            return []
        middle, spread = _extent(mask)
        query = _patches(image, middle, spread, np.zeros(1), self._background)[0].ravel()
        difference = ((self._patches - query) ** 2).sum(axis=1).reshape(-1, ROLLS)
        order = np.argsort(difference.min(axis=1), kind="stable")[:count]
        return [self._pose(v, int(difference[v].argmin()), middle, spread, camera) for v in order]

    def _pose(self, view: int, turns: int, middle: Array, spread: float, camera: Camera) -> Pose:
        photograph, its_middle, its_spread = self._views[view]
        pose, its_camera = photograph.pose, photograph.camera
        depth = float(pose.transform(self._centre[None])[0, 2])
        its_ray, ray = its_camera.rays(its_middle)[0], camera.rays(middle)[0]
        point = pose.inverse().transform((depth * its_ray)[None])[0]  # where the line of sight meets the part
        roll = 2 * np.pi * turns / ROLLS
        turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        rotation = _onto_axis(ray).T @ turn @ _onto_axis(its_ray) @ pose.rotation
        distance = depth * (camera.fx / its_camera.fx) * (its_spread / spread)
        return Pose.from_rt(rotation, distance * ray - rotation @ point)


def _extent(mask: Mask) -> tuple[Array, float]:
    """Centre of area (x, y) and root mean square distance from it, px."""
    rows, columns = np.nonzero(mask)
    points = np.stack([columns, rows], axis=1) + 0.5
    middle = points.mean(axis=0)
    return middle, max(float(np.sqrt(((points - middle) ** 2).sum(axis=1).mean())), 1.0)


def _patches(image: Image, middle: Array, spread: float, rolls: Array, background: Background) -> list[Patch]:
    """The part scaled, and turned by each of `rolls` (radians, x towards y), float32 [SIDE, SIDE, 3]."""
    assert background.colour is not None
    scale = SPREAD / spread
    blurred = cv2.GaussianBlur(image, (0, 0), max(0.5 / scale, 0.1))
    out = []
    for roll in rolls:
        cosine, sine = scale * np.cos(roll), scale * np.sin(roll)
        matrix = np.array([[cosine, -sine, 0], [sine, cosine, 0]])
        # OpenCV's pixel centres are at whole numbers.
        matrix[:, 2] = 0.5 * SIDE - 0.5 - matrix[:, :2] @ (middle - 0.5)
        patch = cv2.warpAffine(
            blurred, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
            borderValue=background.colour,
        )  # fmt: skip
        out.append(patch.astype(np.float32))
    return out


def _onto_axis(ray: Array) -> Array:
    """The smallest rotation [3, 3] that brings a viewing ray onto the optical axis."""
    z = ray / np.linalg.norm(ray)
    axis = np.cross(z, (0.0, 0.0, 1.0))
    cosine = z[2]
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + cosine))
