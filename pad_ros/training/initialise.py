"""Where the Gaussians start: on the SfM points, and spread through the part's visual hull."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from ..errors import TrainingError
from ..imaging.views import View
from ..rendering.gaussians import Gaussians

FLOATER_MARGIN = 6  # px
MIN_SHOWING = 2  # views that must contain a point: of what lies beside all frames nothing is known
HULL_VOXELS = 64  # per side of the box that the hull is looked for in
SH_C0 = 0.28209479177387814


def part_bounds(points: NDArray[np.float64], silhouettes: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(low, high) corners [3] of the SfM points without their stragglers, wider on each side.

    Much wider where silhouettes carve the box anyway: thin parts (an aerial) have no SfM points.
    """
    low, high = np.percentile(points, 1, axis=0), np.percentile(points, 99, axis=0)
    margin = (0.4 if silhouettes else 0.15) * (high - low) + 0.05 * np.linalg.norm(high - low)
    return low - margin, high + margin


def hull_points(
    views: tuple[View, ...], low: NDArray[np.float64], high: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Up to `count` random points [N, 3] in the box that no view's silhouette excludes (the visual hull).

    A point outside an image is not judged by it, but two images or more must contain it. One dissenting view in 50 is
    forgiven, because silhouettes have holes where the part has the background's colour.
    """
    masked = [view for view in views if view.mask is not None]
    if not masked:
        return rng.uniform(low, high, size=(count, 3))
    found = [_carve(rng.uniform(low, high, size=(500_000, 3)), masked)]
    # The part fills little of the box: from now on draw only from the voxels (and their neighbours) that hold some.
    size = (high - low) / HULL_VOXELS
    grid = np.zeros((HULL_VOXELS + 2,) * 3, bool)
    grid[tuple(((found[0] - low) / size).astype(np.int64).T + 1)] = True
    cells = np.argwhere(binary_dilation(grid, np.ones((3, 3, 3), bool))) - 1
    total = len(found[0])
    for _ in range(20):
        if total >= count or len(cells) == 0:
            break
        corners = low + size * cells[rng.integers(len(cells), size=4 * count)]
        points = _carve(corners + size * rng.uniform(size=(4 * count, 3)), masked)
        found.append(points)
        total += len(points)
    return rng.permutation(np.concatenate(found))[:count]


def without_floaters(gaussians: Gaussians, views: tuple[View, ...]) -> Gaussians:
    """The Gaussians whose centres lie in the visual hull, or within FLOATER_MARGIN px of it in every view.

    The fit renders only the part's window, so nothing there removes what floats outside all windows, or beside all
    frames: where such a Gaussian is taken for the part, no image shows all of it.
    """
    kernel = np.ones((2 * FLOATER_MARGIN + 1,) * 2, np.uint8)
    masked = [view for view in views if view.mask is not None]
    grown = [replace(view, mask=cv2.dilate(np.asarray(view.mask, np.uint8), kernel) > 0) for view in masked]
    return gaussians.take(_in_hull(gaussians.means.astype(np.float64), grown))


def _in_hull(points: NDArray[np.float64], views: list[View]) -> NDArray[np.bool_]:
    """Which of the points [N, 3] two views or more contain, and no more than one (of many, one in 50) excludes.

    Views must have masks; without any all points are kept.
    """
    kept = np.arange(len(points))
    dissent, showing = np.zeros(len(points), dtype=np.int32), np.zeros(len(points), dtype=np.int32)
    for view in views:
        assert view.mask is not None
        seen, x, y = _pixels(points[kept], view)
        showing[kept[seen]] += 1
        dissent[kept[seen]] += ~view.mask[y, x]
        kept = kept[dissent[kept] <= max(1, len(views) // 50)]
    inside = np.zeros(len(points), bool)
    inside[kept[showing[kept] >= min(MIN_SHOWING, len(views))]] = True
    return inside


def _carve(points: NDArray[np.float64], views: list[View]) -> NDArray[np.float64]:
    return points[_in_hull(points, views)]


def _pixels(points: NDArray[np.float64], view: View) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Which of the points [N, 3] the view's image contains, and the column and row of each of those."""
    assert view.pose is not None
    pixels = view.camera.project(view.pose.transform(points))
    with np.errstate(invalid="ignore"):
        x, y = np.floor(pixels[:, 0]), np.floor(pixels[:, 1])
        seen = np.flatnonzero((x >= 0) & (y >= 0) & (x < view.camera.width) & (y < view.camera.height))
    return seen, x[seen].astype(np.intp), y[seen].astype(np.intp)


def colours_from_views(points: NDArray[np.float64], views: tuple[View, ...]) -> NDArray[np.float32]:
    """Mean colour [N, 3] in 0..1 of what up to 12 of the views show at each point (occlusion ignored)."""
    total = np.zeros((len(points), 3), np.float32)
    weight = np.full((len(points), 1), 1e-6, np.float32)
    for view in views[:: max(1, len(views) // 12)]:
        seen, x, y = _pixels(points, view)
        total[seen] += view.image[y, x] / np.float32(255)
        weight[seen] += 1
    return total / weight


def initial_gaussians(
    views: tuple[View, ...],
    points: NDArray[np.float64],
    colours: NDArray[np.uint8],
    count: int,
    sh_degree: int,
    rng: np.random.Generator,
) -> Gaussians:
    """`count` Gaussians: the SfM points [P, 3] with their colours, the rest drawn from the visual hull."""
    low, high = part_bounds(points, any(view.mask is not None for view in views))
    on_part = np.all((points >= low) & (points <= high), axis=1)
    points, colours = points[on_part], colours[on_part]
    if len(points) > count // 2:
        chosen = rng.choice(len(points), count // 2, replace=False)
        points, colours = points[chosen], colours[chosen]
    extra = hull_points(views, low, high, count - len(points), rng)
    means = np.concatenate([points, extra])
    if len(means) < 100:
        raise TrainingError(
            f"only {len(means)} starting points for the Gaussians: the SfM map and the silhouettes do not "
            "describe a part; check the poses and that the background is plain"
        )
    rgb = np.concatenate([colours.astype(np.float32) / 255, colours_from_views(extra, views)])
    distances, _ = cKDTree(means).query(means, k=4)
    spacing = np.clip(distances[:, 1:].mean(axis=1), 1e-4 * np.linalg.norm(high - low), None)
    spacing = np.minimum(spacing, 5 * np.median(spacing))
    sh = np.zeros((len(means), (sh_degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (rgb - 0.5) / SH_C0
    opacities = np.concatenate([np.full(len(points), 0.5), np.full(len(extra), 0.1)])
    quats = np.tile(np.array([1.0, 0, 0, 0], np.float32), (len(means), 1))
    scales = np.repeat(0.7 * spacing[:, None], 3, axis=1).astype(np.float32)
    return Gaussians(means.astype(np.float32), quats, scales, opacities.astype(np.float32), sh)
