"""From where a part has not been seen yet, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..imaging.geometry import Array, Pose
from .view_matching import focus_point

REACH = np.radians(30.0)  # a view from as near to a direction shows what is seen from there
HEIGHTS = (15, 45, 75)  # degrees above the plane z = 0 of the part frame
TURNS = (8, 6, 1)  # directions at each height, evenly around z; one from above


def missing_directions(poses: Sequence[Pose], lowest: float = 0.0) -> list[str]:
    """The directions, of those from `lowest` degrees on upwards, that no view comes near; all without views.

    The part is where the optical axes of the views meet; its z points up, and azimuths count from x towards y.
    """
    seen = _directions(poses)
    missing = []
    for height, turns in zip(HEIGHTS, TURNS, strict=True):
        if height < lowest:
            continue
        azimuths = [round(360 * k / turns) for k in range(turns)]
        left = [azimuth for azimuth in azimuths if not _reached(_direction(azimuth, height, turns), seen)]
        if left and turns == 1:
            missing.append("from above")
        elif left:
            around = "all around" if len(left) == turns else f"azimuth {', '.join(map(str, left))}"
            missing.append(f"{around} at {height} degrees")
    return missing


def _directions(poses: Sequence[Pose]) -> Array:
    """Unit vectors [V, 3] from the part to the cameras."""
    if not poses:
        return np.zeros((0, 3))
    centres = np.array([pose.centre for pose in poses])
    part = np.zeros(3)
    if len(poses) > 1:
        part = focus_point(np.array([pose.rotation[2] for pose in poses]), centres)
    apart = centres - part
    return np.asarray(apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-9))


def _direction(azimuth: float, height: float, turns: int) -> Array:
    if turns == 1:
        return np.array([0.0, 0.0, 1.0])
    a, h = np.radians(azimuth), np.radians(height)
    return np.array([np.cos(a) * np.cos(h), np.sin(a) * np.cos(h), np.sin(h)])


def _reached(direction: Array, seen: Array) -> bool:
    return bool(len(seen)) and float((seen @ direction).max()) >= np.cos(REACH)
