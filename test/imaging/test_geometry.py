"""Cameras, poses and the conversions between conventions."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad_ros.errors import InputError
from pad_ros.imaging.geometry import (
    OPENGL_FROM_OPENCV,
    Camera,
    Pose,
    distort_map,
    keypoints_from_opencv,
    rotation_angle,
    translation_error,
    undistort_image,
)

PHONE = Camera(160, 120, 130.0, 131.0, 82.0, 57.0, (0.06, -0.03, 0.002, -0.001))
WIDE = Camera(160, 120, 95.0, 95.0, 80.0, 60.0, (-0.18, 0.04, 0.0, 0.0))

coordinate = st.floats(-10, 10)
vector = st.tuples(coordinate, coordinate, coordinate).map(np.array)
angle = st.floats(-3.1, 3.1)
turn = st.tuples(angle, angle, angle).map(np.array)


@st.composite
def poses(draw):
    rotation, _ = cv2.Rodrigues(draw(turn))
    return Pose.from_rt(rotation, draw(vector))


# --- poses ---


@given(poses(), vector)
def test_inverse_undoes_transform(pose, point):
    there = pose.transform(point[None])
    np.testing.assert_allclose(pose.inverse().transform(there)[0], point, atol=1e-9)
    np.testing.assert_allclose(pose.transform(pose.centre[None])[0], 0, atol=1e-9)


@given(poses())
def test_quaternion_round_trip(pose):
    q = pose.quaternion()
    assert q[0] >= 0 and np.linalg.norm(q) == pytest.approx(1)
    np.testing.assert_allclose(Pose.from_quaternion(q, pose.translation).matrix, pose.matrix, atol=1e-9)
    np.testing.assert_allclose(Pose.from_quaternion(-3 * q, pose.translation).matrix, pose.matrix, atol=1e-9)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0), (0, 0.6, -0.8)])
@pytest.mark.parametrize("angle", [0.0, 1e-9, np.pi / 2, np.pi - 1e-9, np.pi])
def test_quaternion_at_its_singular_angles(axis, angle):
    expected = np.concatenate([[np.cos(angle / 2)], np.sin(angle / 2) * np.array(axis, float)])
    q = Pose.from_quaternion(expected, np.zeros(3)).quaternion()
    np.testing.assert_allclose(abs(q @ expected), 1, atol=1e-12)


@given(poses())
def test_opengl_round_trip(pose):
    np.testing.assert_allclose(
        Pose.from_opengl_camera_to_world(pose.to_opengl_camera_to_world()).matrix, pose.matrix, atol=1e-9
    )


def test_opengl_axes():
    # Blender's camera at rest looks along -z with y up: a point in front and above is (0, 1, -5) in the world.
    pose = Pose.from_opengl_camera_to_world(np.eye(4))
    np.testing.assert_allclose(pose.transform(np.array([[2.0, 1.0, -5.0]])), [[2, -1, 5]])
    np.testing.assert_allclose(OPENGL_FROM_OPENCV @ OPENGL_FROM_OPENCV, np.eye(4))
    np.testing.assert_allclose(Pose.from_opengl_camera_to_world(np.eye(4)[:3]).matrix, pose.matrix)


@given(poses(), turn, vector)
def test_retract(pose, rotation, translation):
    moved = pose.retract(np.concatenate([rotation, translation]))
    r, _ = cv2.Rodrigues(rotation)
    np.testing.assert_allclose(moved.rotation, r @ pose.rotation, atol=1e-9)
    np.testing.assert_allclose(moved.translation, r @ pose.translation + translation, atol=1e-9)
    np.testing.assert_allclose(pose.retract(np.zeros(6)).matrix, pose.matrix, atol=1e-12)


@given(poses(), st.floats(1e-9, 3.1))
def test_rotation_angle(pose, size):
    turned = pose.retract(np.array([0, size, 0, 0, 0, 0]))
    assert rotation_angle(pose, turned) == pytest.approx(size, rel=1e-6, abs=1e-14)
    assert rotation_angle(turned, pose) == pytest.approx(size, rel=1e-6, abs=1e-14)


def test_translation_error_is_a_share_of_the_distance():
    truth = Pose.look_at(np.array([0.0, 0, 4]), np.zeros(3), np.array([0.0, 1, 0]))
    near = Pose.look_at(np.array([0.0, 0, 4.1]), np.zeros(3), np.array([0.0, 1, 0]))
    assert translation_error(near, truth) == pytest.approx(0.1 / 4)


@given(vector.filter(lambda v: np.linalg.norm(v) > 0.1), vector.filter(lambda v: np.linalg.norm(v) > 0.1), angle)
def test_look_at(centre, up, roll):
    pose = Pose.look_at(centre, np.zeros(3), up, roll)
    np.testing.assert_allclose(pose.centre, centre, atol=1e-9)
    np.testing.assert_allclose(pose.transform(np.zeros((1, 3)))[0], [0, 0, np.linalg.norm(centre)], atol=1e-9)


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 0, -1), (1, 1, 1)])
def test_look_along_up(up):
    up = np.array(up, float)
    pose = Pose.look_at(3 * up, np.zeros(3), up)
    np.testing.assert_allclose(pose.centre, 3 * up, atol=1e-9)


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([2.0, 2, 2, 1]),
        np.diag([1.0, 1, -1, 1]),
        np.diag([1.0, 1, 1, 2]),
        np.zeros((4, 4)),
        np.eye(3),
        np.full((4, 4), np.nan),
        np.full((4, 4), np.inf),
        np.full((4, 4), 1e300),
        np.eye(4) + np.eye(4, k=1) * 0.1,
        [[1, 0, 0, np.inf], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
    ],
)
def test_not_a_pose(matrix):
    with pytest.raises(InputError):
        Pose(np.asarray(matrix))
    with pytest.raises(InputError):
        Pose.from_opengl_camera_to_world(np.asarray(matrix))


@given(st.lists(st.floats(), min_size=16, max_size=16))
def test_any_matrix_is_a_pose_or_refused(values):
    try:
        pose = Pose(np.reshape(values, (4, 4)))
    except InputError:
        return
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-9)


def test_a_pose_is_made_exactly_rigid_and_constant():
    noisy = np.eye(4)
    noisy[:3, :3] += 1e-4
    pose = Pose(noisy)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-14)
    with pytest.raises(ValueError):
        pose.matrix[0, 3] = 1
    noisy[0, 3] = 7
    assert pose.matrix[0, 3] == 0


@pytest.mark.parametrize(
    "quaternion", [(0, 0, 0, 0), (np.nan, 0, 0, 1), (1, 0, 0), (np.inf, 0, 0, 0), (1e200, 1e200, 0, 0)]
)
def test_not_a_quaternion(quaternion):
    with pytest.raises(InputError):
        Pose.from_quaternion(np.array(quaternion, float), np.zeros(3))


# --- cameras ---


@pytest.mark.parametrize(
    "values",
    [
        (0, 10, 1, 1, 0, 0),
        (10, -1, 1, 1, 0, 0),
        (10, 10, 0, 1, 0, 0),
        (10, 10, 1, -1, 0, 0),
        (10, 10, np.nan, 1, 0, 0),
        (10, 10, 1, np.inf, 0, 0),
        (10, 10, 1, 1, np.nan, 0),
        (10, 10, 1, 1, 0, 0, (0, 0, np.nan, 0)),
        (10, 10, 1, 1, 0, 0, (0, 0, 0)),
    ],
)
def test_impossible_camera(values):
    with pytest.raises(InputError):
        Camera(*values)


@pytest.mark.parametrize("fov", [0.0, -1.0, np.pi, 7.0, np.nan])
def test_impossible_field_of_view(fov):
    with pytest.raises(InputError):
        Camera.from_fov(100, 80, fov)


def test_field_of_view():
    camera = Camera.from_fov(400, 300, 0.6911112070083618)
    assert (camera.fx, camera.cx, camera.cy) == pytest.approx((555.555, 200, 150), abs=1e-2)
    edge = camera.rays(np.array([[0.0, 150]]))[0]
    assert 2 * np.arctan(-edge[0]) == pytest.approx(0.6911112070083618)


@pytest.mark.parametrize("camera", [PHONE, WIDE, PHONE.pinhole()])
@given(pixel=st.tuples(st.floats(0, 160), st.floats(0, 120)), depth=st.floats(0.01, 1000))
def test_project_undoes_rays(camera, pixel, depth):
    ray = camera.rays(np.array([pixel]))
    assert ray[0, 2] == 1
    np.testing.assert_allclose(camera.project(depth * ray)[0], pixel, atol=1e-6)


def test_project_agrees_with_opencv():
    points = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 5), (50, 3))
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), PHONE.K, np.array(PHONE.distortion))
    np.testing.assert_allclose(PHONE.project(points), expected[:, 0], atol=1e-9)


def test_behind_the_camera_is_nan():
    pixels = PHONE.project(np.array([[0.0, 0, -1], [0, 0, 0], [0, 0, 1]]))
    assert np.isnan(pixels[:2]).all() and np.isfinite(pixels[2]).all()


@given(vector, st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 400), st.integers(1, 400))
def test_crop_and_resize_follow_projection(point, x0, y0, width, height):
    point = np.array([[point[0], point[1], 12 + point[2]]])
    pixel = PHONE.project(point)[0]
    np.testing.assert_allclose(PHONE.cropped(x0, y0, 50, 40).project(point)[0], pixel - (x0, y0), atol=1e-6)
    scaled = PHONE.resized(width, height).project(point)[0]
    np.testing.assert_allclose(scaled, pixel * (width / 160, height / 120), atol=1e-6)


def test_resizing_an_image_keeps_pixel_centres():
    # The centroid of a blob, measured in the shrunk image, is where the resized camera projects to.
    y, x = np.mgrid[:120, :160] + 0.5
    blob = np.exp(-((x - 61.3) ** 2 + (y - 77.9) ** 2) / 60).astype(np.float32)
    small = cv2.resize(blob, (80, 60), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:60, :80] + 0.5
    centroid = np.array([(small * x).sum(), (small * y).sum()]) / small.sum()
    np.testing.assert_allclose(centroid * 2, [61.3, 77.9], atol=0.01)


def test_opencv_keypoints_are_moved_by_half_a_pixel():
    np.testing.assert_array_equal(keypoints_from_opencv(np.zeros((2, 2), np.float32)), np.full((2, 2), 0.5))


# --- undistortion ---


def blobs(camera, points):
    """A white image with a dark spot where `camera` sees each point."""
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    image = np.full((camera.height, camera.width), 255.0)
    for u, v in camera.project(points):
        image -= 230 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 2.0**2))
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def centroids(image, near):
    found = []
    for u, v in near:
        window = np.s_[int(v) - 6 : int(v) + 7, int(u) - 6 : int(u) + 7]
        weight = np.maximum(250.0 - image[window][..., 0], 0)
        y, x = np.mgrid[window] + 0.5
        found.append([(weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()])
    return np.array(found)


@pytest.mark.parametrize("camera", [PHONE, WIDE])
def test_undistorted_image_is_what_the_pinhole_sees(camera):
    points = np.array([[-0.5, -0.35, 1.2], [0.5, 0.35, 1.2], [0.0, 0.0, 1.2], [0.45, -0.3, 1.2]])
    undistorted = undistort_image(blobs(camera, points), camera)
    expected = camera.pinhole().project(points)
    np.testing.assert_allclose(centroids(undistorted, expected), expected, atol=0.15)
    assert np.abs(expected - camera.project(points)).max() > 0.5  # else the test proves nothing


@pytest.mark.parametrize("camera", [PHONE, WIDE])
def test_distort_map_undoes_undistortion(camera):
    y, x = np.mgrid[:120, :160]
    smooth = (128 + 60 * np.sin(x / 15) + 60 * np.cos(y / 12)).astype(np.uint8)
    image = np.repeat(smooth[..., None], 3, axis=2)
    again = distort_map(undistort_image(image, camera)[..., 0].astype(np.float32), camera)
    inner = np.s_[20:-20, 20:-20]
    np.testing.assert_allclose(again[inner], smooth[inner], atol=3)


def test_without_distortion_images_stay_as_they_are():
    image = np.zeros((120, 160, 3), np.uint8)
    values = np.zeros((120, 160), np.float32)
    assert undistort_image(image, PHONE.pinhole()) is image
    assert distort_map(values, PHONE.pinhole()) is values


@settings(max_examples=30)
@given(st.tuples(*[st.floats(-0.1, 0.1)] * 2, *[st.floats(-0.01, 0.01)] * 2))
def test_rays_with_any_mild_distortion(distortion):
    camera = Camera(160, 120, 130.0, 130.0, 80.0, 60.0, distortion)
    pixels = np.array([[0.0, 0], [160, 120], [80, 60], [0, 120], [33, 99]])
    np.testing.assert_allclose(camera.project(camera.rays(pixels)), pixels, atol=1e-4)
