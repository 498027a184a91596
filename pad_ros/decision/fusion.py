"""Several views of one part: anomaly gathered on the part's surface, one verdict for the part.

Each pixel of a view that shows the part has a place on it (the reference rendering's depth). A view gives each point
of the surface the highest anomaly of the pixels that fall on it; over the views a point keeps its `agreeing`-th
highest value, so that the score stays on the scale of the images' threshold. With agreeing = 1 a defect in any one
view counts; with 2 it must be seen at the same place by a second view, where a second one looked, which takes out
highlights and silhouettes, as they move with the camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..imaging.background import Background
from ..imaging.geometry import Camera, Pose
from ..rendering.gaussians import Gaussians
from ..rendering.renderer import Renderer
from ..verdicts import Reason, Verdict

Array = NDArray[np.float64]

SURFACE_CELLS = 100  # surface points along the diagonal of the part, at most
SURFACE_PITCH = 1.5  # pixels of those renderings from one surface point to the next, at least
SURFACE_VIEW_SIDE = 200  # px, of the renderings that the surface is taken from
SURFACE_ALPHA = 0.9  # alpha of a pixel that shows the surface and not its edge
EDGE_SLOPE = 4.0  # slope of the surface against the image plane from which on a step is an edge
MAX_DISTANCE = 3.0  # spacings of surface points: a pixel further from the surface than this has not seen it
NEIGHBOURS = 8
MAX_DEFECTS = 32


@dataclass(frozen=True)
class PartDefect:
    """One connected place of the surface above the threshold. position, radius: part frame, part units."""

    position: tuple[float, float, float]
    radius: float
    peak_score: float
    points: int
    views: int  # that saw the place
    views_above: int  # whose own anomaly there was above the threshold


@dataclass(frozen=True, eq=False)
class PartInspection:
    """The answer for one part. values: fused anomaly per surface point [S], NaN where no view looked."""

    verdict: Verdict
    reason: Reason
    reason_text: str
    score: float  # NaN where no point of the surface was judged
    threshold: float
    views: int
    held: int
    rejected: int
    coverage: float  # share of the surface points that a view has judged
    defects: tuple[PartDefect, ...]
    values: Array


@dataclass(frozen=True)
class FusionSettings:
    """views: expected per part, 0: any number. agreeing: views that must agree on a defect where as many looked.
    min_coverage: share of the surface that must have been judged for PASS. max_held: views that may be HOLD."""

    views: int = 0
    agreeing: int = 1
    min_coverage: float = 0.0
    max_held: int = 0


def part_surface(
    gaussians: Gaussians, background: Background, camera: Camera, poses: Sequence[Pose], device: str = "cpu"
) -> Array:
    """Points [S, 3] spread evenly over what at least two reference views (`poses`) see of the part, part frame."""
    renderer = Renderer(gaussians, background, device=device)
    camera = camera.pinhole()
    scale = min(1.0, SURFACE_VIEW_SIDE / max(camera.width, camera.height))
    camera = camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
    views = [_visible(renderer, camera, pose) for pose in poses]
    points = np.concatenate(views) if views else np.zeros((0, 3))
    if len(points) == 0:
        return points
    low, high = np.percentile(points, [0.1, 99.9], axis=0)
    centre = points.mean(axis=0)
    distance = float(np.median([np.linalg.norm(pose.centre - centre) for pose in poses]))
    cell = max(float(np.linalg.norm(high - low)) / SURFACE_CELLS, SURFACE_PITCH * distance / camera.fx)
    places = [np.unique(np.floor((p - low) / cell).astype(np.int64), axis=0) for p in views]
    cells, seen = np.unique(np.concatenate(places), axis=0, return_counts=True)
    kept = cells[seen >= min(2, len(views))]
    return np.asarray(low + (kept + 0.5) * cell)


def _visible(renderer: Renderer, camera: Camera, pose: Pose) -> Array:
    """Points of the surface that a view shows, without edges [P, 3]."""
    rendering = renderer.render(camera, pose)
    depth = rendering.depth
    steps = np.zeros_like(depth)
    for axis in (0, 1):
        step = np.abs(np.diff(depth, axis=axis))
        before, after = [(0, 0), (0, 0)], [(0, 0), (0, 0)]
        before[axis], after[axis] = (1, 0), (0, 1)
        steps = np.maximum(steps, np.maximum(np.pad(step, before), np.pad(step, after)))
    rows, columns = np.nonzero(
        (rendering.alpha >= SURFACE_ALPHA) & (depth > 0) & (steps <= EDGE_SLOPE * depth / camera.fx)
    )
    pixels = np.stack([columns, rows], axis=1).astype(np.float64) + 0.5
    if len(pixels) == 0:
        return np.zeros((0, 3))
    return pose.inverse().transform(camera.rays(pixels) * depth[rows, columns, None].astype(np.float64))


class Surface:
    """The points of a part's surface [S, 3] and which of them are neighbours; shared by all parts of a kind."""

    def __init__(self, points: Array) -> None:
        if len(points) < 2:
            raise ValueError("a surface needs at least two points")
        self.points = np.asarray(points, np.float64)
        self._tree = cKDTree(self.points)
        distances, self.neighbours = self._tree.query(self.points, k=min(NEIGHBOURS, len(points)))
        self.spacing = float(np.median(distances[:, 1]))

    def __len__(self) -> int:
        return len(self.points)

    def gather(self, points: Array, values: NDArray[np.floating], threshold: float) -> Array:
        """The highest value that a view's pixels (points [P, 3], values [P]) bring to each point [S]; NaN: not seen.

        A pixel off the surface has not seen it, but one above the threshold counts at the nearest point all the same.
        """
        found = np.full(len(self), -np.inf)
        finite = np.isfinite(points).all(axis=1) & np.isfinite(values)
        points, values = np.asarray(points, np.float64)[finite], np.asarray(values, np.float64)[finite]
        if len(points):
            # Far off is far off; the squares of the search must not overflow.
            far = 1e6 * max(self.spacing, float(np.abs(self.points).max()))
            distances, nearest = self._tree.query(np.clip(points, -far, far))
            counts = (distances <= MAX_DISTANCE * self.spacing) | (values > threshold)
            np.maximum.at(found, nearest[counts], values[counts])
        return np.where(np.isinf(found), np.nan, found)

    def spread(self, values: Array) -> Array:
        """Each seen point's highest value among its neighbours [S]: poses of views differ by about a point."""
        around = np.where(np.isnan(values), -np.inf, values)[self.neighbours].max(axis=1)
        return np.where(np.isnan(values), np.nan, around)

    def regions(self, chosen: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        """Indices of the connected groups among the chosen points."""
        index = np.flatnonzero(chosen)
        near = chosen[self.neighbours] & chosen[:, None]
        rows, columns = np.nonzero(near)
        links = (np.ones(len(rows), bool), (rows, self.neighbours[rows, columns]))
        _, labels = connected_components(coo_matrix(links, shape=(len(self), len(self))), directed=False)
        return [index[labels[index] == label] for label in np.unique(labels[index])]


class PartFusion:
    """Gathers the views of one part; `result` may be asked for at any time."""

    def __init__(self, surface: Surface | None, threshold: float, settings: FusionSettings) -> None:
        """surface None: there is no model; then only HOLD and REJECT can come of it."""
        self._surface, self.threshold, self._settings = surface, threshold, settings
        size = 0 if surface is None else len(surface)
        self._highest = np.full((settings.agreeing, size), -np.inf)  # falling
        self._seen = np.zeros(size, np.int64)
        self._above = np.zeros(size, np.int64)
        self._views = self._held = self._rejected = 0
        self._hold: tuple[Reason, str] | None = None
        self._standing = ""  # a rejection that the surface cannot confirm or refute

    @property
    def views(self) -> int:
        return self._views

    def add(
        self,
        verdict: Verdict,
        reason: Reason,
        reason_text: str,
        points: Array | None = None,
        values: NDArray[np.floating] | None = None,
        placed: bool = True,
        repeated: bool = False,
    ) -> None:
        """One view: its verdict, and the anomaly [P] of the pixels at points [P, 3] of the part where there is a map.

        placed: whether all its defects lie on the part; a REJECT for one off the part stands without other views.
        repeated: a second answer to the same question; it counts, but not as a view of its own.
        """
        self._views += not repeated
        if verdict is Verdict.HOLD:
            self._held += 1
            self._hold = self._hold or (reason, reason_text)
            return
        own = np.full(len(self._seen), np.nan)
        if self._surface is not None and points is not None and values is not None:
            own = self._surface.gather(points, values, self.threshold)
        seen = ~np.isnan(own)
        above = np.where(seen, own, -np.inf) > self.threshold
        self._seen += seen
        self._above += above
        if verdict is Verdict.REJECT:
            self._rejected += 1
            if not placed or not above.any():  # nothing on the surface that another view could look at
                self._standing = self._standing or reason_text
        if self._surface is not None and self._settings.agreeing > 1:
            own = self._surface.spread(own)
        stacked = np.concatenate([self._highest, np.where(seen, own, -np.inf)[None]])
        self._highest = -np.sort(-stacked, axis=0)[:-1]

    def values(self) -> Array:
        """Fused anomaly [S], NaN where no view has looked."""
        rank = np.clip(self._seen, 1, self._settings.agreeing) - 1
        fused = np.take_along_axis(self._highest, rank[None], axis=0)[0]
        return np.where(self._seen > 0, fused, np.nan)

    def result(self) -> PartInspection:
        values = self.values()
        seen = ~np.isnan(values)
        score = float(values[seen].max()) if seen.any() else math.nan
        coverage = float(seen.mean()) if len(seen) else 0.0
        defects = self._defects(values)
        verdict, reason, text = self._decide(score, coverage, defects)
        return PartInspection(
            verdict, reason, text, score, self.threshold, self._views, self._held, self._rejected, coverage,
            defects, values,
        )  # fmt: skip

    def _decide(self, score: float, coverage: float, defects: Sequence[PartDefect]) -> tuple[Verdict, Reason, str]:
        wanted = self._settings
        about = f"{self._views} views, {100 * coverage:.0f} % of the surface judged"
        if score > self.threshold:
            places = f"{len(defects)} place{'s' if len(defects) != 1 else ''}"
            text = f"score {score:.2f} > threshold {self.threshold:.2f} at {places}; {about}"
            return Verdict.REJECT, Reason.ANOMALY, text
        if self._standing:
            return Verdict.REJECT, Reason.ANOMALY, f"a view rejects: {self._standing}; {about}"
        if self._surface is None:
            return Verdict.HOLD, Reason.NO_MODEL, f"no model; {self._views} views came"
        if not math.isfinite(self.threshold):
            return Verdict.HOLD, Reason.UNCALIBRATED, f"the model has no threshold; {about}"
        if self._views == 0 or self._views < wanted.views:
            return Verdict.HOLD, Reason.DROPPED, f"{self._views} of {max(wanted.views, 1)} views came"
        if self._hold is not None and (self._held > wanted.max_held or self._held >= self._views):
            reason, text = self._hold
            return Verdict.HOLD, reason, f"{self._held} of {about} HOLD, first: {text}"
        if coverage < wanted.min_coverage:
            asked = f"{100 * wanted.min_coverage:.0f} % are asked for"
            return Verdict.HOLD, Reason.OUTSIDE_COVERAGE, f"{about}, {asked}: add viewpoints"
        if not math.isfinite(score):
            return Verdict.HOLD, Reason.OUTSIDE_COVERAGE, f"no place on the part was judged; {about}"
        unconfirmed = f"; {self._rejected} rejected, not confirmed by another view" if self._rejected else ""
        return Verdict.PASS, Reason.NONE, f"score {score:.2f} <= threshold {self.threshold:.2f}; {about}{unconfirmed}"

    def _defects(self, values: Array) -> tuple[PartDefect, ...]:
        """The connected places above the threshold, largest evidence first."""
        if self._surface is None:
            return ()
        found = []
        for region in self._surface.regions(np.where(np.isnan(values), -np.inf, values) > self.threshold):
            points, weights = self._surface.points[region], values[region]
            centre = np.average(points, axis=0, weights=weights)
            radius = float(np.linalg.norm(points - centre, axis=1).max())
            found.append(
                PartDefect(
                    (float(centre[0]), float(centre[1]), float(centre[2])), max(radius, self._surface.spacing),
                    float(weights.max()), len(region), int(self._seen[region].max()), int(self._above[region].max()),
                )
            )  # fmt: skip
        found.sort(key=lambda defect: -defect.peak_score)
        return tuple(found[:MAX_DEFECTS])
