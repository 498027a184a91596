"""Gaussians prepared once: the pictures of the rasterizer that fits them, whatever they are, from wherever."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from splat_scenes import CAMERA, DISTANCE, box, orbit

from pad_ros.imaging.geometry import Pose
from pad_ros.imaging.rect import Rect
from pad_ros.rendering.cpu import rasterizer as _cpu
from pad_ros.rendering.cpu.inference import FixedGaussians
from pad_ros.rendering.cpu.tiles import sort_by_tile
from pad_ros.rendering.gaussians import Gaussians

WINDOW = Rect(20, 10, 120, 100)
BACKGROUND = np.array([0.2, 0.5, 0.9, 0, 0], np.float32)


def both(gaussians, pose, window=WINDOW):
    """(picture, transmittance) as the fit renders them, and from what was prepared."""
    rng = np.random.default_rng(1)
    features = rng.uniform(0, 1, (len(gaussians), 2)).astype(np.float32)
    view = _cpu.PinholeView.of(
        pose.matrix.astype(np.float32), CAMERA.K.astype(np.float32), (CAMERA.width, CAMERA.height), window,
        (0.01, 1e10), gaussians.eps2d,
    )  # fmt: skip
    g = gaussians
    splats = _cpu.Splats(g.means, g.quats, g.scales, g.opacities, g.sh, g.sh_degree, features)
    projected = _cpu.project(view, splats)
    done = _cpu.composite(view, projected, g.opacities, BACKGROUND, with_depth=True)
    return (done.image, done.transmittances), FixedGaussians.of(g, features).render(view, BACKGROUND)


def wild(count, degree, seed):
    """Gaussians of all shapes and opacities: needles, discs, nearly invisible ones, some behind the camera."""
    rng = np.random.default_rng(seed)
    return Gaussians(
        rng.normal(0, 1.5, (count, 3)).astype(np.float32), rng.normal(size=(count, 4)).astype(np.float32),
        np.exp(rng.uniform(-6, -1, (count, 3))).astype(np.float32), rng.uniform(0, 1, count).astype(np.float32) ** 3,
        rng.normal(0, 0.2, (count, (degree + 1) ** 2, 3)).astype(np.float32), 0.1,
    )  # fmt: skip


def assert_alike(before, after):
    for one, other in zip(before, after, strict=True):
        difference = np.abs(one - other)
        assert difference.mean() < 1e-5 and difference.max() < 2e-2  # alpha just above and below 1/255


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_same_picture_as_the_fit_sees(degree):
    assert_alike(*both(wild(301, degree, degree), orbit(5)[degree]))
    assert_alike(*both(box(500), orbit(5)[degree]))


@given(st.integers(0, 40), st.integers(0, 1000))
def test_any_number_of_any_gaussians_from_among_them(count, seed):
    inside = Pose.look_at(np.random.default_rng(seed).normal(0, 1, 3), np.zeros(3), np.array([0.0, 0, 1]))
    before, after = both(wild(count, 1, seed), inside)
    assert np.isfinite(after[0]).all() and np.isfinite(after[1]).all()
    assert np.mean(np.abs(before[1] - after[1]) > 1e-2) < 1e-2


def test_out_of_sight_there_is_only_background():
    away = Pose.look_at(np.array([DISTANCE, 0, 0]), np.array([2 * DISTANCE, 0, 0]), np.array([0, 0, 1.0]))
    _, (image, through) = both(box(50), away)
    assert (through == 1).all() and (image == np.append(BACKGROUND, np.float32(0))).all()


def test_entries_stay_within_the_box_that_room_was_made_for():
    """A circle that ends a hair before a pixel of the next tile: within the slack of its row's span."""
    half = 12.4999
    packed = np.array([[20, 20, -1 / half**2, 0, -1 / half**2, 0, half, half]], np.float32)
    offsets, tile_offsets, tile_gaussians, places = sort_by_tile(np.zeros(1, np.int32), packed, 64, 64)
    assert offsets.tolist() == [0, 4] and sorted(places.tolist()) == [0, 1, 2, 3] and not tile_gaussians.any()
    assert np.flatnonzero(np.diff(tile_offsets)).tolist() == [0, 1, 4, 5]
