"""Where the part is in space, in views that show more than the part: a region of the part frame.

By default the part is what the cameras look at: the landmarks near their optical axes that hang together and do not
lie on the plane that the part stands on, or hangs on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..errors import InputError, TrainingError
from ..imaging.geometry import Pose
from .view_matching import focus_point

Points = NDArray[np.float64]  # [N, 3] part frame
Chosen = NDArray[np.bool_]

FORMS = {"sphere": ("X,Y,Z,R", 4), "box": ("X0,Y0,Z0,X1,Y1,Z1", 6)}
WHOLE_SCENE, FOUND = "scene", "auto"  # what --part may say instead of a region
MIN_LANDMARKS = 50  # in a region: with fewer the part is not found again

# Shares of the median distance from the cameras to what they look at.
PLANE_TOLERANCE = 0.008  # of landmarks on the plane
ABOVE_PLANE = 0.02  # landmarks this far above it are no part of it, whatever its noise
LINK = 0.06  # landmarks that hang together are no farther apart
NEAR = 1.0  # landmarks farther from where the axes meet are not looked at

PLANE_SHARE = 0.2  # of the landmarks nearby lie on a plane that something stands on,
BELOW_SHARE = 0.05  # and hardly any below it
PLANE_TRIALS = 1000
NOISE = 4.0  # standard deviations of the landmarks on the plane that its surface reaches up
CENTRED = 0.15  # rad: what lies this far off an optical axis counts half
EXTENT_QUANTILE, EXTENT_MARGIN = 0.98, 1.3  # the sphere is wider than the landmarks, which thin parts have none of


@dataclass(frozen=True)
class Plane:
    """What the part stands on: points x with normal . x = offset; the part is where that is larger."""

    normal: tuple[float, float, float]
    offset: float

    def height(self, points: Points) -> NDArray[np.float64]:
        """[N], how far the points are above the plane."""
        return np.asarray(points @ np.array(self.normal) - self.offset)


@dataclass(frozen=True)
class Region:
    """A sphere or a box in the part frame, and of it only what is above `plane`, where there is one."""

    form: str  # a key of FORMS
    numbers: tuple[float, ...]
    plane: Plane | None = None

    def contains(self, points: Points) -> Chosen:
        """Which of the points [N, 3] lie in the region."""
        inside = self._in_form(points)
        return inside if self.plane is None else inside & (self.plane.height(points) > 0)

    def _in_form(self, points: Points) -> Chosen:
        numbers = np.array(self.numbers)
        if self.form == "sphere":
            return np.asarray(np.linalg.norm(points - numbers[:3], axis=1) < numbers[3])
        return np.asarray(np.all((points > numbers[:3]) & (points < numbers[3:]), axis=1))

    def __str__(self) -> str:
        """As `--part` takes it."""
        return f"{self.form}:{','.join(f'{number:.4g}' for number in self.numbers)}"

    def scaled(self, factor: float) -> Region:
        """The same in a part frame whose unit is 1 / factor of this one's."""
        plane = self.plane and replace(self.plane, offset=factor * self.plane.offset)
        return replace(self, numbers=tuple(factor * number for number in self.numbers), plane=plane)

    def describe(self) -> dict[str, object]:
        """For the manifest."""
        plane = None if self.plane is None else [*self.plane.normal, self.plane.offset]
        return {"region": str(self), "above_plane": plane}


def parse_part(text: str) -> Region | str:
    """The region that `text` describes, or WHOLE_SCENE or FOUND; InputError where it is neither."""
    if text in (WHOLE_SCENE, FOUND):
        return text
    form, _, rest = text.partition(":")
    expected = ", ".join(f"{name}:{numbers}" for name, (numbers, _) in FORMS.items())
    try:
        numbers = tuple(float(number) for number in rest.split(","))
    except ValueError:
        numbers = ()
    if form not in FORMS or len(numbers) != FORMS[form][1] or not all(map(math.isfinite, numbers)):
        raise InputError(f"{text[:80]!r} is no region: expected {expected} in the part frame, {FOUND} or {WHOLE_SCENE}")
    if form == "sphere" and numbers[3] <= 0:
        raise InputError(f"{text!r}: the radius of a sphere must be positive")
    if form == "box" and not all(low < high for low, high in zip(numbers[:3], numbers[3:])):
        raise InputError(f"{text!r}: a box needs X0 < X1, Y0 < Y1 and Z0 < Z1")
    return Region(form, numbers)


def settle_region(part: Region | str, points: Points, poses: Sequence[Pose]) -> Region | None:
    """The region to compare, of what --part says; None: all that the views show.

    points [N, 3]: the map's landmarks. A region that was given loses what is below the plane that the part stands on.
    TrainingError where it holds too few landmarks.
    """
    if part == WHOLE_SCENE:
        return None
    if isinstance(part, str):
        return find_region(points, poses)
    plane = find_plane(points, poses)
    cut = replace(part, plane=plane)
    if plane is not None and np.count_nonzero(cut.contains(points)) >= MIN_LANDMARKS:
        return cut
    if (count := np.count_nonzero(part.contains(points))) >= MIN_LANDMARKS:
        return part
    low, high = (", ".join(f"{x:.3g}" for x in np.percentile(points, q, axis=0)) for q in (5, 95))
    found = find_region(points, poses)
    hint = "" if found is None else f"; the cameras look at {found}"
    raise TrainingError(
        f"--part {part} holds {count} of {len(points)} landmarks, {MIN_LANDMARKS} are needed: most landmarks lie "
        f"between ({low}) and ({high}) of the part frame{hint}"
    )


def find_region(points: Points, poses: Sequence[Pose]) -> Region | None:
    """What the cameras look at, as a sphere above the plane that it stands on; None where nothing stands out."""
    centre, distance = _looked_at(poses)
    near = points[np.linalg.norm(points - centre, axis=1) < NEAR * distance]
    plane = find_plane(points, poses)
    if plane is not None:
        near = near[plane.height(near) > (ABOVE_PLANE - PLANE_TOLERANCE) * distance]
    if len(near) < MIN_LANDMARKS:
        return None
    groups = _hanging_together(near, LINK * distance)
    weight = np.bincount(groups, _centredness(near, poses))
    group = near[groups == int(weight.argmax())]
    if len(group) < MIN_LANDMARKS:
        return None
    low, high = np.percentile(group, [1, 99], axis=0)
    middle = 0.5 * (low + high)
    radius = EXTENT_MARGIN * float(np.quantile(np.linalg.norm(group - middle, axis=1), EXTENT_QUANTILE))
    return Region("sphere", (*map(float, middle), radius), plane)


def find_plane(points: Points, poses: Sequence[Pose]) -> Plane | None:
    """The surface of the plane that what the cameras look at stands on; None where there is none.

    Most of its landmarks lie on it, hardly any below, and the cameras are above. By random samples of three (Fischler
    and Bolles 1981), always the same.
    """
    centre, distance = _looked_at(poses)
    near = points[np.linalg.norm(points - centre, axis=1) < NEAR * distance]
    if len(near) < MIN_LANDMARKS:
        return None
    tolerance = PLANE_TOLERANCE * distance
    cameras = np.array([pose.centre for pose in poses])
    rng = np.random.default_rng(0)
    best, most = None, PLANE_SHARE * len(near)
    for _ in range(PLANE_TRIALS):
        a, b, c = near[rng.choice(len(near), 3, replace=False)]
        plane = _upright(np.cross(b - a, c - a), a, cameras)
        count = 0 if plane is None else _standing(plane, near, tolerance)
        if count > most:
            best, most = plane, count
    if best is None:
        return None
    for _ in range(3):
        on = near[np.abs(best.height(near)) < tolerance]
        refined = _upright(np.linalg.svd(on - on.mean(axis=0), full_matrices=False)[2][2], on.mean(axis=0), cameras)
        if refined is None or _standing(refined, near, tolerance) < PLANE_SHARE * len(near):
            break
        best = refined
    heights = best.height(near[np.abs(best.height(near)) < tolerance])
    noise = 1.4826 * float(np.median(np.abs(heights)))
    return replace(best, offset=best.offset + min(max(NOISE * noise, 0.25 * tolerance), 1.5 * tolerance))


def _looked_at(poses: Sequence[Pose]) -> tuple[Points, float]:
    """The point [3] nearest to all optical axes, and the cameras' median distance from it."""
    centres = np.array([pose.centre for pose in poses])
    centre = focus_point(np.array([pose.rotation[2] for pose in poses]), centres)
    return centre, max(float(np.median(np.linalg.norm(centres - centre, axis=1))), 1e-9)


def _upright(normal: Points, point: Points, cameras: Points) -> Plane | None:
    """The plane through the point whose upper side most cameras are on; None where they are on both sides."""
    length = float(np.linalg.norm(normal))
    if length < 1e-12:
        return None
    normal = normal / length
    above = float(np.mean((cameras - point) @ normal > 0))
    if above < 0.5:
        normal, above = -normal, 1 - above
    x, y, z = map(float, normal)
    return Plane((x, y, z), float(normal @ point)) if above > 0.9 else None


def _standing(plane: Plane, points: Points, tolerance: float) -> int:
    """How many of the points lie on the plane; 0 where more than a few are below it."""
    heights = plane.height(points)
    if np.count_nonzero(heights < -2 * tolerance) > BELOW_SHARE * len(points):
        return 0
    return int(np.count_nonzero(np.abs(heights) < tolerance))


def _hanging_together(points: Points, link: float) -> NDArray[np.int32]:
    """For each point [N] the number of its group: groups are farther than `link` from each other."""
    pairs = cKDTree(points).query_pairs(link, output_type="ndarray")
    ones = np.ones(len(pairs), np.int8)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(points), len(points)))
    return np.asarray(connected_components(graph, directed=False)[1])


def _centredness(points: Points, poses: Sequence[Pose]) -> NDArray[np.float64]:
    """[N], the mean over the cameras of how near to the optical axis each point is, 1 on it."""
    total = np.zeros(len(points))
    for pose in poses:
        seen = pose.transform(points)
        off = np.arctan2(np.linalg.norm(seen[:, :2], axis=1), seen[:, 2])
        total += 1 / (1 + (off / CENTRED) ** 2)
    return total / len(poses)
