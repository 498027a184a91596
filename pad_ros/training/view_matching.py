"""Features of the reference views, and matches between pairs of views that agree with their geometry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..imaging.background import Background, Mask, mask_box, part_mask
from ..imaging.geometry import Array, Camera, Pose
from ..imaging.rect import Rect
from ..imaging.views import ReferenceViews, View
from ..localization.features import Features
from ..localization.matching import NO_PAIRS, FeatureMatcher, Floats, NearestNeighbours, PairMatches, Pairs

VIEW_BOX_MARGIN = 8  # px around the part's silhouette
VIEW_MASK_MARGIN = 2  # px that keypoints may lie outside the silhouette
POSED_RATIO = 0.95  # loose, since the epipolar check follows


def view_window(view: View, background: Background) -> tuple[Rect, Mask | None]:
    """The box around the part's silhouette, and that; the whole image and None where there is no silhouette."""
    mask = view.mask if view.mask is not None else part_mask(view.image, background)
    box = None if mask is None else mask_box(mask, VIEW_BOX_MARGIN)
    if box is None:
        height, width = view.image.shape[:2]
        return Rect(0, 0, width, height), None
    return box, mask


def pairs_by_pose(poses: Sequence[Pose], neighbours: int) -> list[tuple[int, int]]:
    """Pairs of views (i < j) that look in similar directions from nearby places, about `neighbours` per view.

    The distance is the angle of the optical axes plus that of the centres as seen from what all look at.
    """
    axes = np.array([pose.rotation[2] for pose in poses])
    centres = np.array([pose.centre for pose in poses])
    depth = max(float(np.median(np.linalg.norm(centres - focus_point(axes, centres), axis=1))), 1e-9)
    angles = np.arccos(np.clip(axes @ axes.T, -1, 1))
    baselines = np.linalg.norm(centres[:, None] - centres[None], axis=2) / depth
    return _nearest_pairs(angles + baselines, neighbours)


def pairs_by_retrieval(vectors: Floats, neighbours: int) -> list[tuple[int, int]]:
    """Pairs of views (i < j) that look alike by their vectors [V, C], about `neighbours` per view."""
    return _nearest_pairs(-(vectors @ vectors.T), neighbours)


def focus_point(axes: Array, centres: Array) -> Array:
    """The point [3] nearest to all optical axes [V, 3] through the camera centres [V, 3]."""
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # [V, 3, 3] projections off each axis
    system = across.sum(axis=0) + 1e-6 * np.eye(3)
    return np.asarray(np.linalg.solve(system, (across @ centres[:, :, None]).sum(axis=0)[:, 0]))


def match_posed(
    views: tuple[View, View], features: tuple[Features, Features], max_error: float, matcher: FeatureMatcher | None
) -> Pairs:
    """What `matcher` finds (None: mutual best matches) within `max_error` window px of each other's epipolar lines.

    Matched everywhere first: searching only along the lines finds more, but every false match then agrees with them.
    """
    pairs = (matcher or NearestNeighbours(POSED_RATIO)).match(*features)
    return _near_epipolar(views, features, pairs, max_error)


def agreeing(
    views: ReferenceViews, features: Sequence[Features], matches: PairMatches, max_error: float
) -> PairMatches:
    """Of matches those within `max_error` window px of each other's epipolar lines at the views' poses."""
    kept = {}
    for (i, j), pairs in matches.items():
        good = _near_epipolar((views.views[i], views.views[j]), (features[i], features[j]), pairs, max_error)
        if len(good):
            kept[i, j] = good
    return kept


def _near_epipolar(
    views: tuple[View, View], features: tuple[Features, Features], pairs: Pairs, max_error: float
) -> Pairs:
    (first, second), (a, b) = views, features
    if first.pose is None or second.pose is None or len(pairs) == 0:
        return NO_PAIRS
    error = epipolar_error(a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]], first.camera, second.camera,
                           second.pose @ first.pose.inverse())  # fmt: skip
    return pairs[error < max_error / min(a.scale, b.scale)]


def epipolar_error(p: Array, q: Array, first: Camera, second: Camera, second_from_first: Pose) -> Array:
    """Sampson distance in px, [M], of pixels p [M, 2] in `first` and q [M, 2] in `second` to the epipolar geometry.

    Hartley and Zisserman, equation 11.9.
    """
    t = second_from_first.translation
    essential = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]]) @ second_from_first.rotation
    fundamental = np.linalg.inv(second.K).T @ essential @ np.linalg.inv(first.K)
    p1 = np.concatenate([p, np.ones((len(p), 1))], axis=1)
    q1 = np.concatenate([q, np.ones((len(q), 1))], axis=1)
    lines_q, lines_p = p1 @ fundamental.T, q1 @ fundamental
    squares = (lines_q[:, :2] ** 2).sum(axis=1) + (lines_p[:, :2] ** 2).sum(axis=1)
    return np.asarray(np.abs((lines_q * q1).sum(axis=1)) / np.sqrt(np.maximum(squares, 1e-20)))


def _nearest_pairs(distance: NDArray[np.floating], neighbours: int) -> list[tuple[int, int]]:
    distance = np.array(distance, np.float64)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, : min(neighbours, len(distance) - 1)]
    pairs = {(min(i, int(j)), max(i, int(j))) for i in range(len(distance)) for j in nearest[i]}
    return sorted(pairs)
