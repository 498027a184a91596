"""Where the part is in a scene."""

import numpy as np
import pytest

from pad_ros.errors import InputError, TrainingError
from pad_ros.imaging.geometry import Pose
from pad_ros.training.region import Region, find_plane, find_region, parse_part, settle_region

UP = np.array([0.0, 0.0, 1.0])


def cameras(count: int = 24, lowest: float = 0.3) -> list[Pose]:
    """A ring of cameras and more above it, 5 units from the origin, that look past it by up to .2."""
    rng = np.random.default_rng(0)
    poses = []
    for k in range(count):
        z = lowest + (0.9 - lowest) * (k % 4) / 4
        angle = 2.4 * k
        direction = np.array([np.cos(angle) * np.sqrt(1 - z * z), np.sin(angle) * np.sqrt(1 - z * z), z])
        poses.append(Pose.look_at(5 * direction, rng.uniform(-0.2, 0.2, 3), UP))
    return poses


def table(rng: np.random.Generator, count: int = 2000) -> np.ndarray:
    """Landmarks of a table at z = -.5, which nobody measures exactly."""
    return np.column_stack([rng.uniform(-3, 3, (count, 2)), -0.5 + rng.normal(0, 0.008, count)])


def part(rng: np.random.Generator, count: int = 600) -> np.ndarray:
    """Landmarks of a box that stands on the table."""
    return rng.uniform([-0.7, -0.4, -0.45], [0.7, 0.4, 0.5], (count, 3))


def clutter(rng: np.random.Generator) -> np.ndarray:
    """A plant at the edge of the table, with more landmarks than the part, and some on the floor."""
    plant = rng.normal([2.6, 0.5, 0.3], 0.25, (900, 3))
    floor = np.column_stack([rng.uniform(-6, 6, (60, 2)), np.full(60, -2.5)])
    return np.concatenate([plant, floor])


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(landmarks, which of them are the part's)."""
    rng = np.random.default_rng(seed)
    points = np.concatenate([part(rng), table(rng), clutter(rng)])
    return points, np.arange(len(points)) < 600


@pytest.mark.parametrize("seed", range(5))
def test_the_part_on_a_table_is_found(seed):
    points, of_part = scene(seed)
    region = find_region(points, cameras())
    inside = region.contains(points)
    assert inside[of_part].mean() > 0.97
    assert inside[~of_part].mean() < 0.01
    assert region.plane.normal == pytest.approx((0, 0, 1), abs=0.02)
    assert -0.5 < region.plane.offset < -0.42


def test_it_does_not_depend_on_the_frame():
    points, of_part = scene()
    turned = Pose.look_at(np.array([3.0, -2.0, 1.0]), np.zeros(3), UP)
    moved = 7 * turned.transform(points)
    poses = []
    for pose in cameras():
        there = pose @ turned.inverse()
        poses.append(Pose.from_rt(there.rotation, 7 * there.translation))
    inside = find_region(moved, poses).contains(moved)
    assert inside[of_part].mean() > 0.97 and inside[~of_part].mean() < 0.01


def test_a_part_that_floats_needs_no_plane():
    rng = np.random.default_rng(1)
    points = np.concatenate([part(rng), clutter(rng)])
    region = find_region(points, cameras())
    assert region.plane is None
    assert region.contains(points)[:600].mean() > 0.97 and not region.contains(points)[600:].any()


def test_the_top_of_a_flat_part_is_not_what_it_stands_on():
    rng = np.random.default_rng(2)
    top = np.column_stack([rng.uniform(-1, 1, (2500, 2)), np.full(2500, -0.2)])
    points = np.concatenate([top, table(rng, 1500)])
    region = find_region(points, cameras())
    assert region.plane.offset < -0.4
    assert region.contains(top).mean() > 0.95


def test_a_bare_table_holds_no_part():
    points = table(np.random.default_rng(3))
    assert find_plane(points, cameras()) is not None
    assert find_region(points, cameras()) is None


def test_a_region_that_is_given_stands_on_the_plane_as_well():
    points, of_part = scene()
    region = settle_region(parse_part("sphere:0,0,0,1.1"), points, cameras())
    assert region.plane is not None
    inside = region.contains(points)
    assert inside[of_part].mean() > 0.97 and not inside[~of_part].any()
    box = settle_region(parse_part("box:-1,-1,-0.6,1,1,1"), points, cameras())
    np.testing.assert_array_equal(box.contains(points), inside)


def test_a_region_below_the_plane_is_taken_as_it_is():
    rng = np.random.default_rng(4)
    below = rng.uniform([-0.3, -0.3, -0.7], [0.3, 0.3, -0.55], (70, 3))
    points = np.concatenate([table(rng), part(rng), below])
    region = settle_region(parse_part("box:-1,-1,-0.8,1,1,-0.53"), points, cameras())
    assert region.plane is None and region.contains(below).all()


def test_a_region_without_landmarks_is_refused_in_words():
    points, _ = scene()
    with pytest.raises(TrainingError) as refused:
        settle_region(parse_part("sphere:9,9,9,0.5"), points, cameras())
    text = str(refused.value)
    assert text.startswith(f"--part sphere:9,9,9,0.5 holds 0 of {len(points)} landmarks, 50 are needed: most landmarks")
    assert "; the cameras look at sphere:" in text


def test_the_whole_scene_is_no_region():
    points, _ = scene()
    assert settle_region("scene", points, cameras()) is None
    assert settle_region("auto", points, cameras()) == find_region(points, cameras())


@pytest.mark.parametrize("text", ["sphere:1,-2,0.5,3", "box:-1,-1,-1,1,2,3"])
def test_regions_are_read_as_they_are_written(text):
    region = parse_part(text)
    assert isinstance(region, Region) and str(region) == text and parse_part(str(region)) == region


@pytest.mark.parametrize(
    "text", ["", "fox", "sphere", "sphere:1,2,3", "box:1,2,3,4", "sphere:a,b,c,d", "sphere:nan,0,0,1", "cone:1,2,3,4"]
)
def test_what_is_no_region_is_refused(text):
    with pytest.raises(InputError, match="is no region: expected sphere:X,Y,Z,R, box:X0,Y0,Z0,X1,Y1,Z1 in the part"):
        parse_part(text)


def test_impossible_regions_are_refused():
    with pytest.raises(InputError, match="the radius of a sphere must be positive"):
        parse_part("sphere:0,0,0,-1")
    with pytest.raises(InputError, match="a box needs X0 < X1"):
        parse_part("box:1,0,0,0,1,1")
