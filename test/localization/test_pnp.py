import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad_ros.imaging.geometry import Camera, Pose, rotation_angle
from pad_ros.localization.pnp import estimate_pose, pose_covariance

CAMERA = Camera(400, 300, 500.0, 510.0, 203.0, 148.0)


def scene(seed: int, count: int) -> tuple[Pose, np.ndarray, np.ndarray]:
    """A pose, points [N, 3] and their pixels [N, 2]."""
    generator = np.random.default_rng(seed)
    centre = generator.normal(size=3)
    pose = Pose.look_at(4 * centre / np.linalg.norm(centre), np.zeros(3), generator.normal(size=3))
    points = generator.uniform(-0.7, 0.7, (count, 3))
    return pose, points, CAMERA.project(pose.transform(points))


def twist_between(estimate: Pose, truth: Pose) -> np.ndarray:
    """The twist [6] with truth.retract(twist) == estimate."""
    relative = estimate @ truth.inverse()
    vector, _ = cv2.Rodrigues(np.array(relative.rotation))
    return np.concatenate([vector[:, 0], relative.translation])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_exact_matches_give_the_exact_pose(seed: int) -> None:
    pose, points, pixels = scene(seed, 30)
    found = estimate_pose(pixels, points, CAMERA, 2.0)
    assert found is not None
    assert np.degrees(rotation_angle(found.pose, pose)) < 1e-3
    assert found.inliers.all()
    assert found.residual_px < 1e-3


def test_wrong_matches_are_told_apart() -> None:
    pose, points, pixels = scene(1, 100)
    generator = np.random.default_rng(0)
    pixels[:50] = generator.uniform(0, 300, (50, 2))
    found = estimate_pose(pixels, points, CAMERA, 2.0)
    assert found is not None
    assert np.degrees(rotation_angle(found.pose, pose)) < 0.05
    assert found.inliers[50:].all()
    assert found.inliers[:50].sum() < 5


def test_the_same_matches_give_the_same_pose() -> None:
    _, points, pixels = scene(2, 60)
    pixels += np.random.default_rng(3).normal(scale=0.7, size=pixels.shape)
    first, second = (estimate_pose(pixels, points, CAMERA, 2.0) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.pose.matrix, second.pose.matrix)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_matches_give_no_pose(count: int) -> None:
    _, points, pixels = scene(4, count)
    assert estimate_pose(pixels, points, CAMERA, 2.0) is None


def test_degenerate_matches_do_not_crash() -> None:
    same = np.zeros((20, 3)), np.full((20, 2), 150.0)
    found = estimate_pose(same[1], same[0], CAMERA, 2.0)
    assert found is None or np.all(np.isfinite(found.covariance))


def test_covariance_is_that_of_the_left_twist() -> None:
    """Monte Carlo: the spread of estimates from noisy pixels, in the form that Pose.retract takes."""
    pose, points, pixels = scene(5, 60)
    generator = np.random.default_rng(6)
    twists, predicted = [], []
    for _ in range(400):
        found = estimate_pose(pixels + generator.normal(scale=0.5, size=pixels.shape), points, CAMERA, 4.0)
        assert found is not None
        twists.append(twist_between(found.pose, pose))
        predicted.append(found.covariance)
    observed, mean = np.cov(np.array(twists).T), np.mean(predicted, axis=0)
    np.testing.assert_allclose(np.sqrt(np.diag(mean)), np.sqrt(np.diag(observed)), rtol=0.15)
    # Whitened by the prediction, the observed covariance must be the identity: correlations agree, too.
    whitening = np.linalg.inv(np.linalg.cholesky(mean))
    np.testing.assert_allclose(whitening @ observed @ whitening.T, np.eye(6), atol=0.3)


def test_perfect_matches_keep_a_covariance() -> None:
    pose, points, _ = scene(7, 40)
    covariance = pose_covariance(pose, points, CAMERA, 0.0)
    assert np.all(np.linalg.eigvalsh(covariance) > 0)


def test_a_pose_with_fewer_inliers_than_asked_for_is_none() -> None:
    _, points, pixels = scene(3, 30)
    pixels[12:] = np.random.default_rng(3).uniform((0, 0), (400, 300), (18, 2))
    assert estimate_pose(pixels, points, CAMERA, 2.0, 12) is not None
    assert estimate_pose(pixels, points, CAMERA, 2.0, 20) is None
    assert estimate_pose(pixels[:8], points[:8], CAMERA, 2.0, 9) is None
