"""Where the Gaussians start: on the SfM points and within the visual hull."""

from dataclasses import replace

import numpy as np
import pytest
from splat_scenes import CAMERA, SH_C0, arrays, box, orbit, photographs_of

from pad_ros.errors import TrainingError
from pad_ros.imaging.views import View
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.training.initialise import (
    colours_from_views,
    hull_points,
    initial_gaussians,
    part_bounds,
    without_floaters,
)

LOW, HIGH = np.array([-1.2, -1.1, -1.0]), np.array([1.2, 1.1, 1.0])


@pytest.fixture(scope="module")
def views():
    return photographs_of(box(1500), 12)


def beside_silhouette(points, view):
    """Which points the view's image contains beside the part."""
    pixels = np.floor(view.camera.project(view.pose.transform(points))).astype(int)
    inside = np.all((pixels >= 0) & (pixels < 128), axis=1)
    x, y = pixels.clip(0, 127).T
    return inside & ~view.mask[y, x]


def test_hull_points_lie_in_the_silhouettes(views):
    points = hull_points(views, LOW, HIGH, 3000, np.random.default_rng(0))
    assert points.shape == (3000, 3)
    dissent = sum(beside_silhouette(points, view).astype(int) for view in views)
    assert dissent.max() <= 1 and np.mean(dissent == 0) > 0.7  # one view may be wrong about a point
    assert np.all((points >= LOW - 0.1) & (points <= HIGH + 0.1))
    # They fill the box that the part is (1.4 x 1.2 x 1.0), not only some of it.
    assert np.percentile(np.abs(points), 95, axis=0) == pytest.approx([0.7, 0.6, 0.5], rel=0.25)


def test_one_dissenting_view_in_fifty_is_forgiven():
    views = list(photographs_of(box(1500), 50))
    views[7] = replace(views[7], mask=np.zeros_like(views[7].mask))
    assert len(hull_points(tuple(views), LOW, HIGH, 500, np.random.default_rng(0))) == 500
    views[8] = replace(views[8], mask=np.zeros_like(views[8].mask))
    assert len(hull_points(tuple(views), LOW, HIGH, 500, np.random.default_rng(0))) == 0


def test_without_silhouettes_the_box_is_filled(views):
    bare = tuple(replace(view, mask=None) for view in views)
    points = hull_points(bare, LOW, HIGH, 5000, np.random.default_rng(0))
    assert points.shape == (5000, 3)
    np.testing.assert_allclose(points.min(axis=0), LOW, atol=0.02)
    np.testing.assert_allclose(points.max(axis=0), HIGH, atol=0.02)


def test_bounds_hold_the_points_but_not_their_stragglers():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (1000, 3))
    points[:5] = 100
    for silhouettes, widest in ((True, 3.0), (False, 2.0)):
        low, high = part_bounds(points, silhouettes)
        assert np.all(low < -1) and np.all(high > 1)
        assert np.all(high < widest) and np.all(low > -widest)


def test_colours_are_what_the_views_show():
    image = np.zeros((128, 128, 3), np.uint8)
    image[:] = (51, 102, 204)
    views = tuple(View(f"{i}", image, CAMERA, pose) for i, pose in enumerate(orbit(5)))
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    np.testing.assert_allclose(colours_from_views(points, views), np.tile([[0.2, 0.4, 0.8]], (50, 1)), atol=1e-4)
    behind_all = np.array([[0.0, 0.0, 1e6]])
    assert np.all(np.isfinite(colours_from_views(behind_all, views)))


def test_what_no_frame_contains_is_no_part(views):
    far = replace(box(50), means=box(50).means + np.float32([0, 0, 30]))  # beside all frames
    pixels = [view.camera.project(view.pose.transform(far.means.astype(np.float64))) for view in views]
    assert not any(np.all((p >= 0) & (p < 128), axis=1).any() for p in pixels)
    assert len(without_floaters(far, views)) == 0
    assert len(without_floaters(box(50), views)) == 50


@pytest.mark.parametrize("landmarks", [300, 5000])
def test_gaussians_start_on_landmarks_and_in_the_hull(views, landmarks):
    count, rng = 800, np.random.default_rng(0)
    surface = box(landmarks).means.astype(np.float64)
    colours = np.tile(np.array([[255, 128, 0]], np.uint8), (landmarks, 1))
    found = initial_gaussians(views, surface, colours, count, 2, rng)
    assert len(found) == count and found.sh.shape == (count, 9, 3) and found.sh_degree == 2
    assert all(np.all(np.isfinite(x)) for x in (found.means, found.quats, found.scales, found.sh))
    assert float(found.scales.min()) > 0 and 0 < float(found.opacities.min()) <= float(found.opacities.max()) < 1
    np.testing.assert_allclose(np.linalg.norm(found.quats, axis=1), 1, atol=1e-6)
    rgb = found.sh[:, 0] * SH_C0 + 0.5
    orange = np.all(np.abs(rgb - [1, 128 / 255, 0]) < 1e-3, axis=1)
    assert orange.sum() == min(landmarks, count // 2)
    assert not found.sh[:, 1:].any()


def test_the_same_seed_gives_the_same_start(views):
    surface = box(300).means.astype(np.float64)
    colours = np.zeros((300, 3), np.uint8)
    first, second = (initial_gaussians(views, surface, colours, 600, 1, np.random.default_rng(3)) for _ in range(2))
    for a, b in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_landmarks_beside_the_part_are_refused(views):
    few = np.array([[0.9, 0.9, 0.9], [0.901, 0.9, 0.9], [0.9, 0.901, 0.9]])
    with pytest.raises(TrainingError, match="starting points"):
        initial_gaussians(views, few, np.zeros((3, 3), np.uint8), 800, 1, np.random.default_rng(0))


def test_floaters_go_and_the_part_stays(views):
    part = box(300)
    means = part.means.copy()
    means[:40, 2] = np.linspace(0.9, 1.2, 40)  # above the box
    mixed = Gaussians(means, part.quats, part.scales, part.opacities, part.sh)
    left = without_floaters(mixed, views)
    np.testing.assert_array_equal(left.means, means[40:])
    assert len(left.quats) == len(left.scales) == len(left.opacities) == len(left.sh) == 260
    scene = tuple(replace(view, mask=None) for view in views)
    assert len(without_floaters(mixed, scene)) == 300
