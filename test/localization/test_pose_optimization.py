"""Gradient descent through the rasterizer: it reaches the pose, by the published schedules."""

import numpy as np
import pytest
from box_model import PART, POSES, photograph
from splat_scenes import CAMERA, WHITE, put_off

from pad_ros.imaging.geometry import Pose, rotation_angle, translation_error
from pad_ros.localization.pose_optimization import PoseOptimizer
from pad_ros.localization.view_matcher import around_points
from pad_ros.methods.presets import load_method
from pad_ros.rendering.renderer import Renderer
from pad_ros.settings import OptimizationSettings

SMALL = 64 * 64
STEPS = OptimizationSettings(steps=60, decay_steps=15, decay=0.5, pixels=SMALL)


def optimizer(**changes: object) -> PoseOptimizer:
    return PoseOptimizer(Renderer(PART, WHITE), OptimizationSettings(**{**vars(STEPS), **changes}))


def error(pose: Pose, truth: Pose) -> float:
    return float(np.degrees(rotation_angle(pose, truth)))


@pytest.mark.parametrize("ssim_weight", [0.0, 0.2])
def test_a_pose_that_is_off_is_reached(ssim_weight):
    truth = POSES[1]
    start = put_off(truth, 6.0, 0.02, np.random.default_rng(3))
    image, fit = photograph(truth), optimizer(ssim_weight=ssim_weight)
    found = fit.fit(image, CAMERA, start)
    assert error(start, truth) > 5 and error(found, truth) < 0.6
    assert translation_error(found, truth) < 0.01
    assert np.array_equal(found.matrix, fit.fit(image, CAMERA, start).matrix)


def test_what_has_no_weight_does_not_pull():
    truth = POSES[1]
    image = photograph(truth)
    image[50:78, 40:62] = (20, 180, 20)
    start = put_off(truth, 3.0, 0.0, np.random.default_rng(0))
    weights = np.ones(image.shape[:2], np.float32)
    weights[44:84, 34:68] = 0
    fit = optimizer(ssim_weight=0.0)
    assert error(fit.fit(image, CAMERA, start, weights), truth) < 0.6
    nothing = np.zeros_like(weights)
    assert error(fit.fit(image, CAMERA, start, nothing), start) == pytest.approx(0, abs=1e-4)


def test_a_part_out_of_sight_leaves_the_pose_as_it_is():
    away = Pose.from_rt(np.eye(3), np.array([0.0, 0.0, -50.0])) @ POSES[0]
    assert error(optimizer(steps=3).fit(photograph(POSES[0]), CAMERA, away), away) < 3


def test_the_published_schedules():
    splatpose = PoseOptimizer(Renderer(PART, WHITE), load_method("splatpose").optimization)
    assert splatpose.rate(99) == pytest.approx(0.008) and splatpose.rate(0) == pytest.approx(0.01 * 0.8**0.01)
    igs = PoseOptimizer(Renderer(PART, WHITE), load_method("igspad").optimization)
    assert [igs.rate(i) for i in (0, 199, 200, 299)] == pytest.approx([0.01, 0.01, 0.001, 0.001])
    assert (splatpose.settings.steps, igs.settings.steps) == (175, 300)


def test_weights_around_points():
    weights = around_points(np.array([[3.5, 2.5], [90.0, 90.0]]), 1, (10, 8))
    assert weights.shape == (10, 8) and weights.sum() == 5 and weights[2, 3] == weights[1, 3] == 1
    assert not around_points(np.zeros((0, 2)), 5, (10, 8)).any()
