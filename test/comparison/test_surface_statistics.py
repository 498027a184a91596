"""What difference is normal at a Gaussian: its credit is its share of the pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.comparison.state import ComparisonState
from pad_ros.comparison.surface_statistics import PRIOR_WEIGHT, residual_statistics
from pad_ros.imaging.geometry import Pose
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.rendering.rasterize import rasterization
from pad_ros.rendering.renderer import Renderer
from pad_ros.rendering.tensors import GaussianTensors


def three_gaussians():
    """Two side by side, overlapping, and one half hidden behind them."""
    values = (
        [[0.0, -0.08, 0.0], [0.0, 0.08, 0.0], [-0.6, 0.05, 0.05]], [[1.0, 0, 0, 0]] * 3,
        [[0.05, 0.06, 0.06], [0.05, 0.05, 0.08], [0.07, 0.07, 0.07]], [0.8, 0.6, 0.9], np.zeros((3, 1, 3)),
    )  # fmt: skip
    return Gaussians(*(np.array(x, np.float32) for x in values))


FRONT = Pose.look_at(np.array([4.0, 0, 0]), np.zeros(3), np.array([0, 0, 1.0]))


def weights(gaussians, pose):
    """The blending weight of each Gaussian in each pixel, [H, W, N]: the Gaussians rendered in colours of their own."""
    g = GaussianTensors.of(gaussians, "cpu")
    image, _, _ = rasterization(
        g.means, g.quats, g.scales, g.opacities, torch.eye(len(gaussians)),
        torch.from_numpy(pose.matrix.astype(np.float32))[None], torch.from_numpy(CAMERA.K.astype(np.float32))[None],
        CAMERA.width, CAMERA.height,
    )  # fmt: skip
    return image[0].double().numpy()


def test_statistics_are_those_of_explicit_weights():
    gaussians = three_gaussians()
    rng = np.random.default_rng(0)
    poses = [FRONT, orbit(5)[0], orbit(5)[4]]
    residuals = [rng.uniform(0, 1, (128, 128, 2)).astype(np.float32) for _ in poses]
    samples = [(CAMERA, pose, residual) for pose, residual in zip(poses, residuals, strict=True)]
    found = residual_statistics(Renderer(gaussians, WHITE), samples)

    shares = np.stack([weights(gaussians, pose) for pose in poses])  # [V, H, W, N]
    values = np.stack(residuals).astype(np.float64)  # [V, H, W, C]
    total = shares.sum(axis=(0, 1, 2))
    first = np.einsum("vhwn,vhwc->nc", shares, values)
    second = np.einsum("vhwn,vhwc->nc", shares, values**2)
    overall = first.sum(axis=0) / total.sum()
    overall_square = second.sum(axis=0) / total.sum()
    mean = (first + PRIOR_WEIGHT * overall) / (total[:, None] + PRIOR_WEIGHT)
    np.testing.assert_allclose(found.mean, mean, rtol=2e-3)
    by_view = shares.sum(axis=(1, 2))
    np.testing.assert_allclose(found.rarity, (by_view**2).sum(axis=0) / total**2, rtol=2e-3)
    np.testing.assert_allclose(found.overall_deviation, np.sqrt(overall_square - overall**2), rtol=5e-3)


def test_where_views_differ_more_is_found():
    """A residual only where one Gaussian dominates is expected there, and hardly elsewhere."""
    gaussians = three_gaussians()
    shares = weights(gaussians, FRONT)
    residual = (shares[..., [0]] >= shares.max(axis=2, keepdims=True)).astype(np.float32)
    found = residual_statistics(Renderer(gaussians, WHITE), [(CAMERA, FRONT, residual)])
    assert found.mean.shape == (3, 1) and found.rarity.shape == (3,)
    assert found.mean.dtype == found.rarity.dtype == np.float32
    assert found.mean[0] > 0.7 > 0.4 > found.mean[1]


def test_an_even_residual_is_expected_everywhere():
    gaussians = box(200)
    residual = np.full((128, 128, 1), 0.25, np.float32)
    found = residual_statistics(Renderer(gaussians, WHITE), [(CAMERA, pose, residual) for pose in orbit(3)])
    np.testing.assert_allclose(found.mean, 0.25, atol=1e-4)
    assert np.all(found.overall_deviation > 0)


def test_what_one_view_alone_shows_is_rare():
    gaussians = box(200)
    residual = np.zeros((128, 128, 1), np.float32)
    once = residual_statistics(Renderer(gaussians, WHITE), [(CAMERA, FRONT, residual)])
    assert once.rarity.min() > 0.99  # also where no view looked
    often = residual_statistics(Renderer(gaussians, WHITE), [(CAMERA, FRONT, residual)] * 4)
    seen = once.mean[:, 0] >= 0
    assert np.all(often.rarity[seen] >= 0.24) and often.rarity.min() < 0.26


def test_views_that_show_nothing_of_the_part_give_no_statistics():
    away = Pose.look_at(np.array([4.0, 0, 0]), np.array([8.0, 0, 0]), np.array([0, 0, 1.0]))
    residual = np.zeros((128, 128, 1), np.float32)
    renderer = Renderer(three_gaussians(), WHITE)
    for samples in ([], [(CAMERA, away, residual)]):
        with pytest.raises(ValueError, match="no views"):
            residual_statistics(renderer, samples)


def test_glints_are_the_largest_of_each_gaussian_and_a_view_can_be_left_out():
    renderer, height = Renderer(three_gaussians(), WHITE), CAMERA.height
    shown = [0.1, 0.3, 0.2]
    maps = [np.dstack([np.zeros((height, CAMERA.width)), np.full((height, CAMERA.width), g)]) for g in shown]
    found = residual_statistics(renderer, [(CAMERA, FRONT, m.astype(np.float32)) for m in maps], with_glints=True)
    np.testing.assert_allclose(found.glints, [[0.3, 0.2, 1]] * 3, rtol=1e-5)
    assert found.mean.shape == (3, 1) and found.overall_deviation.shape == (1,)  # the glints are no residual

    state = replace(ComparisonState.without_statistics(3), glints=found.glints)
    np.testing.assert_allclose(state.without_glints_of(1).glints[:, 0], 0.2, rtol=1e-5)
    for other in (0, 2, None):
        np.testing.assert_array_equal(state.without_glints_of(other).glints, found.glints)
