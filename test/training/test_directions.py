"""Which directions a part was not seen from, in words."""

import numpy as np
import pytest
from textured_cube import ring_poses

from pad_ros.imaging.geometry import Pose
from pad_ros.training.directions import missing_directions

ALL = ["all around at 15 degrees", "all around at 45 degrees", "from above"]
PART = np.array([3.0, 1.0, 0.5])  # where the part is in its frame


def view(azimuth, height):
    a, h = np.radians(azimuth), np.radians(height)
    direction = np.array([np.cos(a) * np.cos(h), np.sin(a) * np.cos(h), np.sin(h)])
    return Pose.look_at(PART + 0.4 * direction, PART, np.array([0, 0, 1.0]))


def test_without_views_all_is_missing():
    assert missing_directions([]) == ALL
    assert missing_directions([], lowest=30) == ALL[1:]


def test_what_lies_between_views_is_seen():
    low, middle = [view(azimuth, 15) for azimuth in range(0, 360, 45)], [view(a, 45) for a in range(0, 360, 60)]
    assert missing_directions([*low, *middle, view(0, 80)]) == []
    assert missing_directions([*low, *middle]) == ["from above"]
    half = [view(azimuth, 15) for azimuth in range(0, 180, 45)]
    assert missing_directions(half)[0] == "azimuth 180, 225, 270, 315 at 15 degrees"


@pytest.mark.parametrize("count", [1, 12])
def test_a_ring_leaves_the_top(count):
    assert "from above" in missing_directions(ring_poses(count))
