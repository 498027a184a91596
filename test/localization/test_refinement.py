"""Photometric refinement of a pose, on a part made of Gaussians."""

import numpy as np
import pytest
from splat_scenes import CAMERA, WHITE, box, orbit, put_off

from pad_ros.imaging.geometry import Pose, rotation_angle, translation_error
from pad_ros.localization.alignment import Window, seen_window, shifted
from pad_ros.localization.refinement import MAX_ROTATION_DEG, MAX_TRANSLATION, refine_pose
from pad_ros.rendering.renderer import Renderer

DEGREES, SHARE = 0.6, 0.006  # what a pose from landmarks is wrong by


@pytest.fixture(scope="module")
def render():
    return Renderer(box(), WHITE).render


def photograph(render, pose):
    """An 8-bit image of the part with a camera's noise."""
    image = render(CAMERA, pose).rgb8
    noise = np.random.default_rng(0).normal(0, 1.5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def pixel_error(pose, truth):
    """How far the part's points land from where they should, px."""
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (200, 3))
    moved = CAMERA.project(pose.transform(points)) - CAMERA.project(truth.transform(points))
    return float(np.linalg.norm(moved, axis=1).mean())


@pytest.mark.parametrize("seed", range(6))
def test_a_pose_that_is_a_little_wrong_is_put_right(render, seed):
    truth = orbit(6)[seed]
    start = put_off(truth, DEGREES, SHARE, np.random.default_rng(seed))
    found = refine_pose(photograph(render, truth), CAMERA, start, render)
    assert found.accepted and found.loss < found.loss_before
    assert pixel_error(found.pose, truth) < pixel_error(start, truth) / 5
    assert rotation_angle(found.pose, truth) < np.radians(DEGREES) / 4
    assert found.covariance.shape == (6, 6)
    np.testing.assert_allclose(found.covariance, found.covariance.T, rtol=1e-4, atol=1e-12)
    assert np.all(np.linalg.eigvalsh(found.covariance) > 0)


@pytest.mark.parametrize("seed", range(3))
def test_a_defect_does_not_pull_the_pose(render, seed):
    truth = orbit(6)[seed]
    image = photograph(render, truth)
    image[50:78, 45:70] = (255, 0, 255)
    start = put_off(truth, DEGREES, SHARE, np.random.default_rng(seed))
    found = refine_pose(image, CAMERA, start, render)
    assert found.accepted
    assert pixel_error(found.pose, truth) < pixel_error(start, truth) / 4


def test_the_right_pose_stays(render):
    truth = orbit(6)[1]
    found = refine_pose(photograph(render, truth), CAMERA, truth, render)
    assert pixel_error(found.pose, truth) < 0.03
    assert found.loss <= found.loss_before


@pytest.mark.parametrize("seed", range(4))
def test_a_rendering_of_before_saves_all_but_one(render, seed):
    truth = orbit(6)[seed]
    start = put_off(truth, DEGREES, SHARE, np.random.default_rng(seed))
    drawn = []

    def counted(camera, pose):
        drawn.append(pose)
        return render(camera, pose)

    last = render(CAMERA, start)
    found = refine_pose(photograph(render, truth), CAMERA, start, counted, last=last)
    assert found.accepted and found.loss < found.loss_before and found.rendering is not last
    assert pixel_error(found.pose, truth) < pixel_error(start, truth) / 5
    assert len(drawn) <= 2


@pytest.mark.parametrize("shift", [0.02, 0.1])
def test_a_nudge_is_what_a_rendering_from_there_shows(render, shift):
    """Whole, and in the part's window alone."""
    pose = orbit(6)[2]
    there = pose.retract(np.array([0, 0, 0, shift * pose.translation[2] / CAMERA.fx, 0, 0]))
    before, after = render(CAMERA, pose), render(CAMERA, there)
    warp = there.matrix @ pose.inverse().matrix
    whole = shifted(before, warp)
    assert np.abs(whole.rgb - after.rgb).mean() < 0.1 * np.abs(before.rgb - after.rgb).mean()
    image = photograph(render, pose)
    window, (x0, y0, x1, y1) = Window.of(image, before), seen_window(before)
    inner = np.s_[4:-4, 4:-4]
    np.testing.assert_allclose(window.shifted(warp).rgb[inner], whole.rgb[y0:y1, x0:x1][inner], atol=1e-4)


@pytest.mark.parametrize("channels", [1, 8, 9, 11, 17])
def test_all_features_move_alike_however_many_there_are(channels):
    """A model that has learned several lights has more than a vector holds."""
    part, pose = box(), orbit(6)[2]
    feature = np.random.default_rng(0).random((len(part), 1)).astype(np.float32)
    there = pose.retract(np.array([0, 0, 0, 0.1 * pose.translation[2] / CAMERA.fx, 0, 0]))
    warp = there.matrix @ pose.inverse().matrix
    one, many = (
        shifted(Renderer(part, WHITE, np.repeat(feature, count, axis=1)).part(CAMERA, pose), warp).features
        for count in (1, channels)
    )
    np.testing.assert_allclose(many, np.repeat(one, channels, axis=2), atol=1e-5)


def test_what_does_not_lower_the_loss_is_refused(render):
    """A renderer that shows the same whatever the pose: no candidate can be better than the start."""
    truth = orbit(6)[0]
    start = put_off(truth, DEGREES, SHARE, np.random.default_rng(0))
    stubborn = render(CAMERA, start)
    found = refine_pose(photograph(render, truth), CAMERA, start, lambda camera, pose: stubborn)
    assert not found.accepted
    assert found.pose is start and found.loss == found.loss_before and found.covariance is None


@pytest.mark.parametrize("kind", ["black", "white", "noise", "another view"])
def test_an_image_of_something_else_never_leads_far_away(render, kind):
    start = orbit(6)[2]
    image = {
        "black": np.zeros((128, 128, 3), np.uint8),
        "white": np.full((128, 128, 3), 255, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8),
        "another view": photograph(render, orbit(6)[4]),
    }[kind]
    found = refine_pose(image, CAMERA, start, render)
    assert np.all(np.isfinite(found.pose.matrix))
    assert found.loss <= found.loss_before
    assert rotation_angle(found.pose, start) <= np.radians(MAX_ROTATION_DEG) + 1e-6
    assert translation_error(found.pose, start) <= MAX_TRANSLATION + 1e-6
    if not found.accepted:
        assert found.pose is start


def test_a_part_out_of_sight_is_left_where_it_is(render):
    image = photograph(render, orbit(6)[0])
    start = Pose.look_at(np.array([4.0, 0, 0]), np.array([8.0, 0, 0]), np.array([0, 0, 1.0]))  # it looks away
    found = refine_pose(image, CAMERA, start, render)
    assert not found.accepted and found.pose is start and found.loss == float("inf")


def test_a_part_half_out_of_the_image_is_refined_all_the_same(render):
    truth = orbit(6)[0].retract(np.array([0, 0, 0, 1.1, 0, 0]))
    start = put_off(truth, DEGREES / 2, SHARE / 2, np.random.default_rng(3))
    found = refine_pose(photograph(render, truth), CAMERA, start, render)
    assert found.accepted
    assert pixel_error(found.pose, truth) < pixel_error(start, truth) / 3


def test_refining_is_repeatable(render):
    truth = orbit(6)[3]
    image = photograph(render, truth)
    start = put_off(truth, DEGREES, SHARE, np.random.default_rng(0))
    first, second = (refine_pose(image, CAMERA, start, render) for _ in range(2))
    np.testing.assert_array_equal(first.pose.matrix, second.pose.matrix)
    assert first.loss == second.loss
