from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from textured_cube import CAMERA, GROUND, cube_map, draw, ring_poses

from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose, rotation_angle, translation_error
from pad_ros.imaging.rect import Rect
from pad_ros.localization import pose_gates as gates
from pad_ros.localization.localizer import Localizer
from pad_ros.localization.pnp import PoseEstimate
from pad_ros.localization.result import Localization
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.settings import LocalizationSettings
from pad_ros.verdicts import Reason

UP = np.array([0, 0, 1.0])
SCENE = Background(None, 0.0)


def query(image: np.ndarray, camera: Camera = CAMERA, **known: Any) -> PreparedQuery:
    return PreparedQuery(image, camera, **{"background": GROUND, **known})


@pytest.fixture(scope="module")
def localizer() -> Localizer:
    return Localizer(cube_map(), GROUND)


def clutter(seed: int = 1) -> np.ndarray:
    """A textured ground without any plain colour, [320, 320, 3]."""
    noise = np.random.default_rng(seed).uniform(0, 255, (320, 320, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    return np.clip(128 + 6 * (smooth - smooth.mean()), 0, 255).astype(np.uint8)


def query_poses() -> list[Pose]:
    """Between the reference views, nearer or farther, rolled."""
    poses = []
    for i, pose in enumerate(ring_poses(40, 3.8)[1::8]):
        poses.append(Pose.look_at(pose.centre * (1 + 0.04 * (-1) ** i), np.array([0.05, 0, 0]), UP, roll=0.3 * (i - 2)))
    return poses


def assert_right(found: Localization, truth: Pose, degrees: float = 0.5) -> None:
    assert found.pose is not None, found.reason_text
    assert found.reason is Reason.NONE
    assert np.degrees(rotation_angle(found.pose, truth)) < degrees
    assert translation_error(found.pose, truth) < 0.01
    assert found.inliers >= 20
    assert 0.5 < found.inliers / found.matches <= 1
    assert 0 < found.residual_px < 2
    assert found.covariance is not None
    assert np.all(np.linalg.eigvalsh(found.covariance) > 0)


def assert_refused(found: Localization, *reasons: Reason) -> None:
    assert not found.localized
    assert found.pose is None
    assert found.covariance is None
    assert found.reason in reasons
    assert found.reason_text


@pytest.mark.parametrize("number", range(5))
def test_held_out_views(localizer: Localizer, number: int) -> None:
    pose = query_poses()[number]
    assert_right(localizer.localize(query(draw(pose))), pose)


@pytest.mark.parametrize("number", range(5))
def test_a_coarse_estimate_comes_near_enough_for_refinement(localizer: Localizer, number: int) -> None:
    pose = query_poses()[number]
    estimate = localizer.coarse_estimate(query(draw(pose)))
    assert estimate is not None and estimate.found.pose is not None and estimate.found.inliers >= 6
    found = estimate.found
    assert np.degrees(rotation_angle(found.pose, pose)) < 3 and translation_error(found.pose, pose) < 0.05


def test_features_of_a_coarse_estimate_confirm_the_right_pose_and_no_other(localizer: Localizer) -> None:
    pose = query_poses()[0]
    estimate = localizer.coarse_estimate(query(draw(pose)))
    assert estimate is not None and localizer.confirms(estimate, pose, CAMERA)
    for degrees in (8.0, 60.0):
        turned = pose @ Pose.identity().retract(np.array([0, 0, np.radians(degrees), 0, 0, 0]))
        assert not localizer.confirms(estimate, turned, CAMERA)


def test_a_coarse_estimate_of_what_is_not_the_part_finds_nothing(localizer: Localizer) -> None:
    for image in (clutter(), np.full((320, 320, 3), np.array(GROUND.colour, np.uint8))):
        estimate = localizer.coarse_estimate(query(image))
        assert estimate is not None and estimate.of_frame
        assert estimate.found.pose is None and estimate.found.reason_text


def test_without_a_plain_background_the_coarse_estimate_is_of_the_frame_and_serves_the_full_search() -> None:
    scene = Localizer(cube_map(), SCENE)
    pose = query_poses()[0]
    shown = query(draw(pose), background=SCENE)
    estimate = scene.coarse_estimate(shown)
    assert estimate is not None and estimate.of_frame and estimate.found.pose is not None
    assert np.degrees(rotation_angle(estimate.found.pose, pose)) < 3
    found, again = (scene.localize(shown, given) for given in (estimate, None))
    assert_right(found, pose)
    np.testing.assert_array_equal(found.pose.matrix, again.pose.matrix)


@pytest.mark.parametrize("number", range(5))
def test_a_quick_estimate_before_another_ground(localizer: Localizer, number: int) -> None:
    pose = query_poses()[number]
    shown = query(draw(pose, ground=clutter()))
    estimate = localizer.quick_estimate(shown)
    assert estimate is not None and estimate.found.pose is not None and not estimate.of_frame
    assert np.degrees(rotation_angle(estimate.found.pose, pose)) < 3
    assert localizer.confirmed_there(shown, pose)
    turned = pose @ Pose.identity().retract(np.array([0, 0, np.radians(60.0), 0, 0, 0]))
    assert not localizer.confirmed_there(shown, turned)


def test_where_a_quick_estimate_does_not_serve(localizer: Localizer) -> None:
    assert localizer.quick_estimate(query(draw(query_poses()[0]))) is None  # the plain background shows the window
    assert localizer.quick_estimate(query(clutter())) is None
    two, camera = two_parts(np.tile(clutter(), (1, 2, 1)))
    assert localizer.quick_estimate(query(two, camera)) is None


def two_parts(ground: Any) -> tuple[np.ndarray, Camera]:
    camera = Camera(640, 320, 420.0, 420.0, 320.0, 160.0)
    left, right = two_poses()
    return draw(left, camera, draw(right, camera, ground)), camera


def two_poses() -> tuple[Pose, Pose]:
    left, right = (
        Pose.from_rt(np.eye(3), np.array([x, 0.0, 0.0])) @ query_poses()[i] for i, x in ((0, -1.3), (2, 1.3))
    )
    return left, right


def test_another_camera(localizer: Localizer) -> None:
    camera = Camera(480, 400, 700.0, 690.0, 225.0, 214.0)
    pose = query_poses()[0]
    assert_right(localizer.localize(query(draw(pose, camera), camera)), pose)


def test_a_small_part_off_centre(localizer: Localizer) -> None:
    camera = Camera(640, 480, 440.0, 440.0, 150.0, 330.0)  # the cube fills 4 % of the frame
    pose = query_poses()[2]
    assert_right(localizer.localize(query(draw(pose, camera), camera)), pose)


def test_another_ground_than_in_the_reference_views(localizer: Localizer) -> None:
    pose = query_poses()[1]
    assert_right(localizer.localize(query(draw(pose, ground=clutter()))), pose)


@pytest.mark.parametrize("ground", ["plain", "clutter"])
def test_of_two_parts_the_region_of_interest_tells_which(localizer: Localizer, ground: str) -> None:
    left, right = two_poses()
    image, camera = two_parts(np.tile(clutter(), (1, 2, 1)) if ground == "clutter" else (255, 255, 255))
    found = localizer.localize(query(image, camera))
    assert_refused(found, Reason.SEVERAL_PARTS)
    assert "region of interest" in found.reason_text
    assert_right(localizer.localize(query(image, camera, region=Rect(0, 0, 320, 320))), left)
    assert_right(localizer.localize(query(image, camera, region=Rect(320, 0, 640, 320))), right)


def test_a_map_without_plain_background() -> None:
    pose = query_poses()[3]
    image = draw(pose, ground=clutter())
    assert_right(Localizer(cube_map(), SCENE).localize(query(image, background=SCENE)), pose)


def test_retrieval_for_large_maps() -> None:
    settings = replace(LocalizationSettings(), retrieve_above=0, retrieved_views=6)
    pose = query_poses()[4]
    assert_right(Localizer(cube_map(), GROUND, settings).localize(query(draw(pose))), pose)


def test_the_same_image_gives_the_same_pose(localizer: Localizer) -> None:
    image = draw(query_poses()[0])
    first, second = (one.localize(query(image)) for one in (localizer, Localizer(cube_map(), GROUND)))
    assert first.pose is not None
    assert second.pose is not None
    np.testing.assert_array_equal(first.pose.matrix, second.pose.matrix)


@pytest.mark.parametrize("name", ["foreign cube", "clutter", "noise", "stripes", "smooth"])
def test_what_is_not_the_part_is_refused(localizer: Localizer, name: str) -> None:
    columns = np.arange(320)
    image = {
        "foreign cube": draw(ring_poses(7)[3], seed=5),
        "clutter": clutter(),
        "noise": np.random.default_rng(0).integers(0, 256, (320, 320, 3)).astype(np.uint8),
        "stripes": np.tile((columns // 10 % 2 * 255).astype(np.uint8)[None, :, None], (320, 1, 3)),
        "smooth": np.tile((columns * 0.7).astype(np.uint8)[None, :, None], (320, 1, 3)),
    }[name]
    assert_refused(localizer.localize(query(image)), Reason.NOT_LOCALIZED, Reason.WEAK_POSE)


def test_too_few_inliers_make_a_weak_pose() -> None:
    strict = Localizer(cube_map(), GROUND, replace(LocalizationSettings(), min_inliers=10_000))
    found = strict.localize(query(draw(query_poses()[0])))
    assert_refused(found, Reason.WEAK_POSE)
    assert found.inliers > 20
    assert "10000" in found.reason_text


@pytest.mark.parametrize(
    ("change", "words"),
    [({"MIN_INLIER_SHARE": 1.01}, "share"), ({"MAX_RESIDUAL": 1e-3}, "px of error"),
     ({"MAX_ROTATION_DEVIATION": 1e-6}, "uncertain"), ({"MAX_SHIFT_DEVIATION": 1e-9}, "uncertain")],
)  # fmt: skip
def test_each_gate_says_what_failed(
    localizer: Localizer, monkeypatch: pytest.MonkeyPatch, change: dict[str, float], words: str
) -> None:
    for name, value in change.items():
        monkeypatch.setattr(gates, name, value)
    found = localizer.localize(query(draw(query_poses()[0])))
    assert_refused(found, Reason.WEAK_POSE)
    assert words in found.reason_text


def test_a_camera_inside_the_part_is_refused(localizer: Localizer) -> None:
    pose = Pose.look_at(np.array([0.1, 0, 0]), np.array([1.0, 0, 0]), UP)
    estimate = PoseEstimate(pose, np.ones(100, bool), 0.3, 1e-8 * np.eye(6))
    assert "inside" in str(localizer.gates.weakness(estimate, 100, 2.0))
    outside = replace(estimate, pose=query_poses()[0])
    assert localizer.gates.weakness(outside, 100, 2.0) is None
