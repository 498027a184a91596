"""Metres for views whose poses have no scale: from the part's size, or from ArUco markers beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..errors import InputError, TrainingError
from ..imaging.geometry import Array, Pose
from ..imaging.views import ReferenceViews, View
from ..localization.sfm_map import SfmMap
from ..progress import say
from ..rendering.gaussians import Gaussians
from .fitting import Fit

DIRECTIONS = 500  # that the part's extent is measured in
STRAGGLERS = 0.002  # share of the Gaussians at each end that may float
MIN_SEEN = 3  # views of a marker
MAX_SPREAD = 0.05  # of the markers' sides: they are all of one size
DICTIONARIES = (
    "DICT_4X4_1000", "DICT_5X5_1000", "DICT_6X6_1000", "DICT_7X7_1000", "DICT_ARUCO_ORIGINAL", "DICT_APRILTAG_36H11",
)  # fmt: skip
TRIED_VIEWS = 8  # in which the markers' dictionary is looked for


@dataclass(frozen=True)
class Scale:
    """What is known in metres: the part's largest extent, or the side of all ArUco markers in view."""

    size: float | None = None
    marker: float | None = None

    def check(self, views: ReferenceViews, rendering: str = "splats") -> None:
        """InputError where there is more than one scale, or it cannot be had with this kind of rendering."""
        if self.size is not None and rendering != "splats":
            raise InputError(f"--size measures Gaussians, but the method renders by {rendering}: use --marker")
        if self.size is not None and self.marker is not None:
            raise InputError("--size and --marker both give the scale; leave one out")
        if views.measured is not None and (self.size or self.marker):
            raise InputError("poses in a --part-frame are in metres already; leave --size and --marker out")


NO_SCALE = Scale()


def by_markers(sfm_map: SfmMap, views: ReferenceViews, side: float) -> tuple[SfmMap, ReferenceViews]:
    """Map and posed views in metres. side: of the markers, m. TrainingError where no marker gives a scale."""
    corners = _found(views.views)
    sides = []
    for rows in corners.values():
        if len(rows) >= MIN_SEEN:
            square = np.stack([_triangulated([(views.views[v], seen[k]) for v, seen in rows]) for k in range(4)])
            sides.append(np.linalg.norm(square - np.roll(square, 1, axis=0), axis=1))
    if not sides:
        raise TrainingError(
            f"{views.source}: --marker: no ArUco marker is seen in {MIN_SEEN} of the views; put one or a ChArUco board "
            "beside the part, flat and whole in view, or give --size"
        )
    lengths = np.concatenate(sides)
    middle = float(np.median(lengths))
    spread = float(np.median(np.abs(lengths / middle - 1)))
    if spread > MAX_SPREAD:
        raise TrainingError(
            f"{views.source}: --marker: the sides of the markers differ by {100 * spread:.0f} %; markers of one size, "
            "that do not move against the part, are needed"
        )
    factor = side / middle
    say(f"scale: {len(sides)} ArUco markers, sides known to {100 * spread:.2f} %")
    return scaled_map(sfm_map, factor), replace(views, views=scaled_views(views.views, factor))


def by_size(fit: Fit, size: float) -> Fit:
    """The fit in metres. size: the part's largest extent, m."""
    factor = size / extent(fit.gaussians)
    views, fitted, held_out, targets = (
        scaled_views(chosen, factor) for chosen in (fit.views, fit.fitted, fit.held_out, fit.targets)
    )
    return replace(
        fit, gaussians=scaled_gaussians(fit.gaussians, factor), sfm_map=scaled_map(fit.sfm_map, factor), views=views,
        fitted=fitted, held_out=held_out, targets=targets, region=fit.region and fit.region.scaled(factor),
    )  # fmt: skip


def extent(gaussians: Gaussians) -> float:
    """The largest distance across the part, without what floats."""
    means = gaussians.means[gaussians.opacities > 0.5].astype(np.float64)
    directions = np.random.default_rng(0).normal(size=(DIRECTIONS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    low, high = np.quantile(means @ directions.T, (STRAGGLERS, 1 - STRAGGLERS), axis=0)
    return float((high - low).max())


def scaled_map(sfm_map: SfmMap, factor: float) -> SfmMap:
    poses = tuple(_scaled(pose, factor) for pose in sfm_map.poses)
    return replace(sfm_map, poses=poses, points=factor * sfm_map.points)


def scaled_views(views: Sequence[View], factor: float) -> tuple[View, ...]:
    return tuple(replace(view, pose=view.pose and _scaled(view.pose, factor)) for view in views)


def scaled_gaussians(gaussians: Gaussians, factor: float) -> Gaussians:
    share = np.float32(factor)
    return replace(gaussians, means=share * gaussians.means, scales=share * gaussians.scales)


def _scaled(pose: Pose, factor: float) -> Pose:
    return Pose.from_rt(pose.rotation, factor * pose.translation)


def _found(views: Sequence[View]) -> dict[int, list[tuple[int, Array]]]:
    """Of each marker of the most seen dictionary: (view, corners [4, 2] in px) where it is seen."""
    tried = views[:: -(-len(views) // TRIED_VIEWS)]
    best = max(DICTIONARIES, key=lambda name: sum(len(_detected(name, view)) for view in tried))
    found = defaultdict(list)
    for v, view in enumerate(views):
        for number, corners in _detected(best, view):
            found[number].append((v, corners))
    return found


def _detected(dictionary: str, view: View) -> list[tuple[int, Array]]:
    """(number, corners [4, 2] px) of the markers in a view."""
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    known = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    corners, numbers, _ = cv2.aruco.ArucoDetector(known, parameters).detectMarkers(
        cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY)
    )
    if numbers is None:
        return []
    # OpenCV's pixel centres are at whole numbers.
    return [(int(n), c.reshape(4, 2) + 0.5) for n, c in zip(np.ravel(numbers), corners, strict=True)]


def _triangulated(seen: Sequence[tuple[View, Array]]) -> Array:
    """The point [3] that lies at these pixels of posed views (linear, Hartley and Zisserman, 12.2)."""
    rows = []
    for view, pixel in seen:
        assert view.pose is not None
        projection = view.camera.K @ view.pose.matrix[:3]
        rows += [pixel[0] * projection[2] - projection[0], pixel[1] * projection[2] - projection[1]]
    system = np.array(rows)
    point = np.linalg.svd(system / np.linalg.norm(system, axis=1, keepdims=True))[2][-1]
    return np.asarray(point[:3] / point[3])
