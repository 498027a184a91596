from dataclasses import replace

import numpy as np
import pytest
from textured_cube import CAMERA, GROUND, HALF, cube_map, cube_views, draw, ring_poses

from pad_ros.errors import TrainingError
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.training.incremental import is_guess
from pad_ros.training.mapping import build_map
from pad_ros.training.view_matching import epipolar_error, focus_point, pairs_by_pose


def test_landmarks_lie_on_the_part() -> None:
    found = cube_map()
    off = np.abs(np.abs(found.points).max(axis=1) - HALF)
    assert len(found.points) > 500
    assert np.median(off) < 0.01
    assert np.mean(off < 0.05) > 0.97


def test_the_map_keeps_the_poses_and_describes_every_view() -> None:
    found = cube_map()
    for pose, truth in zip(found.poses, ring_poses(24), strict=True):
        np.testing.assert_array_equal(pose.matrix, truth.matrix)
    assert found.cameras == (CAMERA,) * 24
    assert set(found.descriptor_view) == set(range(24))
    assert np.bincount(found.descriptor_landmark).min() >= 3
    assert found.descriptors.dtype == np.uint8
    assert found.view_descriptors.shape == (24, found.vocabulary.size)
    np.testing.assert_allclose(np.linalg.norm(found.view_descriptors, axis=1), 1, atol=1e-5)


def test_keypoints_are_where_their_landmarks_project() -> None:
    found = cube_map()
    own = found.descriptor_view == 3
    pixels = CAMERA.project(found.poses[3].transform(found.points[found.descriptor_landmark[own]]))
    error = np.linalg.norm(pixels - found.keypoints[own], axis=1)
    assert np.median(error) < 0.3
    assert error.max() < 3


def test_views_of_different_cameras() -> None:
    views = list(cube_views(18).views)
    other = Camera(400, 300, 500.0, 480.0, 190.0, 160.0)
    for i in range(0, 18, 2):
        pose = views[i].pose
        assert pose is not None
        views[i] = replace(views[i], camera=other, image=draw(pose, other))
    found, _ = build_map(ReferenceViews(tuple(views), "two cameras"), GROUND)
    assert set(found.cameras) == {other, CAMERA}
    assert np.median(np.abs(np.abs(found.points).max(axis=1) - HALF)) < 0.015


@pytest.mark.slow
def test_unposed_views_are_mapped_and_strangers_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    guess = Camera(320, 320, 480.0, 480.0, 160.0, 160.0)  # the true focal length is 440 px
    views = [replace(view, camera=guess, pose=None) for view in cube_views(24).views]
    stranger = View("good/stranger.png", draw(ring_poses(5)[2], seed=8), guess)
    found, used = build_map(ReferenceViews((*views[:5], stranger, *views[5:]), "cube"), GROUND)
    assert used.posed
    assert len(used) >= 22
    assert stranger.name not in found.view_names
    assert "good/stranger.png" in capsys.readouterr().err
    assert found.view_names == tuple(view.name for view in used.views)
    assert used.views[0].camera.fx == pytest.approx(CAMERA.fx, rel=0.03)
    # The part is centred, and its bounding sphere has a radius of about 1.
    assert np.abs(0.5 * (found.points.min(axis=0) + found.points.max(axis=0))).max() < 0.25
    assert 0.85 < np.percentile(np.linalg.norm(found.points, axis=1), 99) < 1.15
    assert all(pose.centre[2] > 0 for pose in found.poses), "up should be up"
    # Up to a similarity the camera centres are the true ones.
    true = {view.name: pose.centre for view, pose in zip(views, ring_poses(24), strict=True)}
    centres = np.array([pose.centre for pose in found.poses])
    expected = np.array([true[name] for name in found.view_names])
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    expected_distances = np.linalg.norm(expected[:, None] - expected[None], axis=2)
    scale = np.median(distances[distances > 0] / expected_distances[distances > 0])
    np.testing.assert_allclose(distances, scale * expected_distances, atol=0.1 * scale)


def test_too_few_views() -> None:
    with pytest.raises(TrainingError, match="2 views"):
        build_map(cube_views(2), GROUND)


def test_views_without_features() -> None:
    blank = [replace(view, image=np.full_like(view.image, 255)) for view in cube_views(4).views]
    with pytest.raises(TrainingError, match="landmarks"):
        build_map(ReferenceViews(tuple(blank), "blank"), GROUND)
    unposed = [replace(view, pose=None) for view in blank]
    with pytest.raises(TrainingError, match="overlap"):
        build_map(ReferenceViews(tuple(unposed), "blank"), GROUND)


def test_unrelated_poses_give_an_error() -> None:
    poses = ring_poses(6)
    wrong = [replace(view, pose=poses[(5 * i + 2) % 6]) for i, view in enumerate(cube_views(6).views)]
    with pytest.raises(TrainingError, match="poses"):
        build_map(ReferenceViews(tuple(wrong), "shuffled"), GROUND)


def test_epipolar_error_is_zero_for_true_pairs() -> None:
    generator = np.random.default_rng(0)
    first, second = ring_poses(24)[:2]
    camera = Camera(300, 320, 400.0, 410.0, 150.0, 170.0)
    points = generator.uniform(-0.5, 0.5, (20, 3))
    p, q = CAMERA.project(first.transform(points)), camera.project(second.transform(points))
    error = epipolar_error(p, q, CAMERA, camera, second @ first.inverse())
    assert error.max() < 1e-6
    shifted = epipolar_error(p, q + [0, 6], CAMERA, camera, second @ first.inverse())
    assert 2 < np.median(shifted) < 6  # Sampson: shared between both images


def test_pairs_are_neighbours() -> None:
    pairs = pairs_by_pose(ring_poses(24), 4)
    assert all(i < j for i, j in pairs)
    assert max(min(j - i, 24 - j + i) for i, j in pairs) <= 4
    assert len(pairs) >= 24 * 2
    assert pairs_by_pose(ring_poses(3), 16) == [(0, 1), (0, 2), (1, 2)]


def test_focus_point_of_a_ring() -> None:
    target = np.array([0.3, -0.2, 0.1])
    poses = [Pose.look_at(pose.centre, target, np.array([0, 0, 1.0])) for pose in ring_poses(8)]
    axes, centres = np.array([p.rotation[2] for p in poses]), np.array([p.centre for p in poses])
    np.testing.assert_allclose(focus_point(axes, centres), target, atol=1e-4)


def test_guessed_cameras() -> None:
    assert is_guess(Camera(640, 480, 700.0, 700.0, 320.0, 240.0))
    assert not is_guess(Camera(640, 480, 700.0, 702.0, 320.0, 240.0))
    assert not is_guess(Camera(640, 480, 700.0, 700.0, 318.2, 240.0))
