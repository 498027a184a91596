"""Defects as markers at their places on the part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from ...decision.inspection import DefectKind, DefectRegion
from ...imaging.geometry import Camera, Pose

if TYPE_CHECKING:
    from ...decision.fusion import PartDefect

COLOURS = {
    DefectKind.ADDED: (0.9, 0.1, 0.1),
    DefectKind.MISSING: (0.1, 0.3, 0.9),
    DefectKind.CHANGED: (1.0, 0.6, 0.0),
}
PART_COLOUR = (0.9, 0.1, 0.1)
OPACITY = 0.6

Placed = tuple[tuple[float, float, float], float, tuple[float, float, float], str]  # position, radius, colour, caption


def defect_markers(
    defects: Sequence[DefectRegion], camera: Camera, pose: Pose, stamp: Time, part_frame: str
) -> MarkerArray:
    """A sphere and a caption for each defect that has a place on the part, as large as its region is seen to be."""
    placed: list[Placed] = []
    for defect in defects:
        if defect.centroid is not None:
            depth = float(pose.transform(np.array([defect.centroid]))[0, 2])
            radius = float(np.sqrt(defect.area / np.pi)) * depth / camera.fx
            caption = f"{defect.kind.name} {defect.peak_score:.1f}"
            placed.append((defect.centroid, radius, COLOURS[defect.kind], caption))
    return _markers(placed, stamp, part_frame)


def part_markers(defects: Sequence[PartDefect], stamp: Time, part_frame: str) -> MarkerArray:
    """The same for the places that several views of a part agree on."""
    captions = [f"{d.peak_score:.1f} ({d.views_above} of {d.views} views)" for d in defects]
    placed = [(d.position, d.radius, PART_COLOUR, caption) for d, caption in zip(defects, captions)]
    return _markers(placed, stamp, part_frame)


def _markers(placed: Sequence[Placed], stamp: Time, part_frame: str) -> MarkerArray:
    """Spheres with captions; they replace those shown before."""
    header = Header(stamp=stamp, frame_id=part_frame)
    found = [Marker(header=header, action=Marker.DELETEALL)]
    for i, ((x, y, z), radius, (red, green, blue), caption) in enumerate(placed):
        common = {"header": header, "ns": "defects", "action": Marker.ADD}
        sphere = Marker(id=2 * i, type=Marker.SPHERE, color=ColorRGBA(r=red, g=green, b=blue, a=OPACITY), **common)
        sphere.scale.x = sphere.scale.y = sphere.scale.z = 2 * radius
        text = Marker(id=2 * i + 1, type=Marker.TEXT_VIEW_FACING, text=caption, **common)
        text.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
        text.scale.z = max(radius, 1e-9)
        for marker, above in ((sphere, 0.0), (text, 2 * radius)):
            marker.pose.position = Point(x=float(x), y=float(y), z=float(z) + above)
            marker.pose.orientation.w = 1.0
            found.append(marker)
    return MarkerArray(markers=found)
