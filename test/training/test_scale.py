"""Metres for views without a scale: from markers in view, or the part's size."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from splat_scenes import box, photographs_of
from textured_cube import CAMERA, HALF, cube_map, cube_views, draw, ring_poses

from pad_ros.errors import InputError, TrainingError
from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Pose
from pad_ros.imaging.views import Measured, ReferenceViews
from pad_ros.training.fitting import Fit
from pad_ros.training.region import Plane, Region
from pad_ros.training.scale import Scale, by_markers, by_size, extent
from pad_ros.training.splatting import RenderingQuality

SIDE = 0.5  # of a marker, in the units of the views
METRES = 0.04  # what it really is
BIG = CAMERA.resized(640, 640)


def marker(image: np.ndarray, pose: Pose, number: int, middle: tuple[float, float], side: float) -> np.ndarray:
    """The image with an ArUco marker on the plane that the cube stands on."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100)
    pattern = np.pad(cv2.aruco.generateImageMarker(dictionary, number, 140), 30, constant_values=255)
    half = 0.5 * side * 200 / 140
    corners = np.array([(-half, half), (half, half), (half, -half), (-half, -half)]) + middle
    points = np.concatenate([corners, np.full((4, 1), -HALF)], axis=1)
    pixels = BIG.project(pose.transform(points)).astype(np.float32) - 0.5
    square = np.array([[0, 0], [200, 0], [200, 200], [0, 200]], np.float32) - 0.5
    transform = cv2.getPerspectiveTransform(square, pixels)
    cover = cv2.warpPerspective(np.ones((200, 200), np.float32), transform, (640, 640))[..., None]
    shown = cv2.warpPerspective(pattern, transform, (640, 640))[..., None]
    return (image * (1 - cover) + shown * cover + 0.5).astype(np.uint8)


def with_markers(*markers) -> ReferenceViews:
    views = []
    for view, pose in zip(cube_views(12).views, ring_poses(12), strict=True):
        image = draw(pose, BIG)
        for number, (middle, side) in enumerate(markers):
            image = marker(image, pose, number, middle, side)
        views.append(replace(view, image=image, camera=BIG))
    return ReferenceViews(tuple(views), "bench")


def test_markers_give_metres(capsys):
    views = with_markers(((1.1, 0.0), SIDE), ((-1.1, 0.3), SIDE))
    sfm_map, scaled = by_markers(cube_map(), views, METRES)
    factor = METRES / SIDE
    np.testing.assert_allclose(sfm_map.points, factor * cube_map().points, rtol=0.01)
    for view, pose in zip(scaled.views, ring_poses(12), strict=True):
        np.testing.assert_allclose(view.pose.translation, factor * pose.translation, rtol=0.01, atol=1e-9)
    assert "scale: 2 ArUco markers, sides known to 0." in capsys.readouterr().err


def test_markers_that_give_no_scale():
    with pytest.raises(TrainingError, match="bench: --marker: no ArUco marker is seen in 3 of the views; put one or a"):
        by_markers(cube_map(), with_markers(), METRES)
    with pytest.raises(TrainingError, match=r"the sides of the markers differ by \d+ %; markers of one size"):
        by_markers(cube_map(), with_markers(((1.1, 0.0), 0.35), ((-1.1, 0.3), 0.65)), METRES)


def test_the_size_of_the_part_gives_metres():
    gaussians = box(2000)
    views = photographs_of(gaussians, 4)
    quality = RenderingQuality(30.0, 25.0, 0.9, 1)
    region = Region("sphere", (0.0, 0.0, 0.5, 2.0), Plane((0.0, 0.0, 1.0), -0.5))
    ground = Background((255.0, 255.0, 255.0), 10.0)
    fit = Fit(gaussians, quality, views, views[:3], views[3:], views, ground, cube_map(), region)
    metres = by_size(fit, 0.3)
    factor = 0.3 / extent(gaussians)
    assert extent(metres.gaussians) == pytest.approx(0.3, rel=1e-3)
    np.testing.assert_allclose(metres.gaussians.scales, factor * gaussians.scales, rtol=1e-5)
    assert metres.region.numbers[3] == pytest.approx(2 * factor)
    assert metres.region.plane.offset == pytest.approx(-0.5 * factor)
    for chosen in ("views", "targets"):
        for ours, theirs in zip(getattr(metres, chosen), views, strict=True):
            np.testing.assert_allclose(ours.pose.translation, factor * theirs.pose.translation)
    assert len(metres.fitted) == 3 and len(metres.held_out) == 1


def test_one_scale_is_enough():
    views = cube_views(8)
    with pytest.raises(InputError, match="--size and --marker both give the scale; leave one out"):
        Scale(0.1, 0.02).check(views)
    measured = replace(views, measured=Measured("fixture"))
    with pytest.raises(
        InputError, match="poses in a --part-frame are in metres already; leave --size and --marker out"
    ):
        Scale(size=0.1).check(measured)
    Scale().check(measured)
    Scale(size=0.1).check(views)
    with pytest.raises(InputError, match="--size measures Gaussians, but the method renders by nerf: use --marker"):
        Scale(size=0.1).check(views, "nerf")
    Scale(marker=0.1).check(views, "nerf")
