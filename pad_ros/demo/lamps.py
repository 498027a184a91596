"""The lamps around a demo part: a large one that casts soft shadows, and a bright room with a softbox."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Pose

Array = NDArray[np.float64]
Gain = tuple[float, float, float]  # linear RGB, relative to the studio


@dataclass(frozen=True)
class Lamps:
    """Light in the part's frame.

    key_direction: towards the large lamp. key_gain, room_gain: colour and brightness of the lamp and of the room.
    azimuth: radians by which lamp and room are turned about the part's z axis. turntable: the part turns about z while
    camera, lamp and room keep still, so that the light keeps its azimuth to the camera instead of to the part.
    floor: how bright the floor is that glossy faces mirror, relative to the studio.
    """

    key_direction: tuple[float, float, float] = (0.45, -0.55, 0.704)
    key_gain: Gain = (1.0, 1.0, 1.0)
    room_gain: Gain = (1.0, 1.0, 1.0)
    azimuth: float = 0.0
    turntable: bool = False
    floor: float = 1.0

    def for_view(self, pose: Pose) -> Lamps:
        """The lamps as they stand around the part when the camera is at `pose`; the same for all but on a turntable."""
        if not self.turntable:
            return self
        turned = float(np.arctan2(pose.centre[1], pose.centre[0]))
        return replace(self, azimuth=self.azimuth + turned, turntable=False)

    def key(self) -> Array:
        """The direction [3] towards the large lamp."""
        x, y, z = self.key_direction
        c, s = np.cos(self.azimuth), np.sin(self.azimuth)
        return np.array([c * x - s * y, s * x + c * y, z])

    def row(self) -> Array:
        """The numbers [12] that the shading kernel reads."""
        turn = np.cos(self.azimuth), np.sin(self.azimuth)
        return np.array([*turn, *self.key_direction, *self.key_gain, *self.room_gain, self.floor])


STUDIO = Lamps()
LAMPS = {
    "studio": STUDIO,
    "moved": Lamps(key_direction=(0.55, -0.42, 0.72), key_gain=(0.96, 1.0, 1.05)),  # by 9 degrees, slightly cooler
    "day": Lamps(room_gain=(1.1, 1.14, 1.2)),
    "night": Lamps(room_gain=(0.76, 0.73, 0.68)),
    "turntable": Lamps(turntable=True),
}
