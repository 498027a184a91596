"""Tracking: a pose near the right one saves the search; nothing wrong may pass for it."""

from dataclasses import replace

import numpy as np
import pytest
from model_factory import make_calibration, make_map, make_model
from splat_scenes import CAMERA, WHITE, box, orbit, put_off

from pad_ros.imaging.geometry import Pose, rotation_angle
from pad_ros.inspector import Inspector
from pad_ros.localization.features import Features
from pad_ros.localization.localizer import FirstLook, Localizer
from pad_ros.localization.result import Localization
from pad_ros.rendering.renderer import Renderer
from pad_ros.verdicts import Reason

POSES = orbit(6)
PART = box()
LOCALIZED = Localization(None, Reason.NOT_LOCALIZED, "localized in full")


def make_inspector(**calibration):
    """A model of the box whose localizer finds nothing, so that what is found was tracked."""
    model = make_model(len(PART))
    sfm_map = replace(make_map(), poses=tuple(POSES[:3]))
    known = replace(make_calibration(len(PART)), **{"max_loss": 0.05, "coverage": 3.0, **calibration})
    return Inspector(replace(model, gaussians=PART, camera=CAMERA, sfm_map=sfm_map, calibration=known), "cpu")


@pytest.fixture(autouse=True)
def no_localizer(monkeypatch):
    monkeypatch.setattr(Localizer, "quick_look", lambda self, *frame: None)
    monkeypatch.setattr(Localizer, "localize", lambda self, *frame: LOCALIZED)


@pytest.fixture(scope="module")
def inspector():
    return make_inspector()


def photograph(pose, part=PART):
    image = Renderer(part, WHITE).render(CAMERA, pose).rgb8
    noise = np.random.default_rng(0).normal(0, 1.5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def expected(pose, rendered=False):
    """What is known of the frame before: where it was and, mostly, how the part looks from there."""
    return Localization(pose, Reason.NONE, "", rendering=Renderer(PART, WHITE).part(CAMERA, pose) if rendered else None)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("degrees", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("rendered", [False, True])
def test_a_frame_near_the_last_pose_is_tracked(inspector, seed, degrees, rendered):
    truth = POSES[seed]
    near = put_off(truth, degrees, degrees / 200, np.random.default_rng(seed))
    found = inspector.localize(photograph(truth), near=expected(near, rendered))
    assert found.localized and found.reason_text == "tracked"
    assert rotation_angle(found.pose, truth) < np.radians(0.15)
    assert found.rendering is not None and found.covariance.shape == (6, 6)


def test_frame_after_frame_is_tracked_by_what_the_one_before_left(inspector):
    """The part wanders by 2 degrees at a time; errors do not add up, and each picture is rendered anew."""
    found = expected(POSES[0])
    for step in range(8):
        truth = put_off(POSES[0], 2.0 * step, 0.0, np.random.default_rng(1))
        found = inspector.localize(photograph(truth), near=found)
        assert found.reason_text == "tracked" and rotation_angle(found.pose, truth) < np.radians(0.15)
        fresh = Renderer(PART, WHITE).part(CAMERA, found.pose)
        assert np.abs(found.rendering.rgb - fresh.rgb).mean() < 2e-3


def test_a_rendering_for_another_camera_is_not_used(inspector):
    other = replace(CAMERA, fx=CAMERA.fx * 1.5)
    near = replace(expected(POSES[0]), rendering=Renderer(PART, WHITE).part(other, POSES[0]))
    found = inspector.localize(photograph(POSES[0]), near=near)
    assert found.reason_text == "tracked" and rotation_angle(found.pose, POSES[0]) < np.radians(0.15)


def test_a_defect_does_not_end_the_tracking(inspector):
    image = photograph(POSES[0])
    image[60:68, 50:58] = (255, 0, 255)
    found = inspector.localize(image, near=expected(put_off(POSES[0], 1.0, 0.005, np.random.default_rng(0)), True))
    assert found.localized and rotation_angle(found.pose, POSES[0]) < np.radians(0.2)


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_jump_is_localized_in_full(inspector, seed):
    """Wherever the part went, a pose that was tracked is right or there is none."""
    for rendered in (False, True):
        assert inspector.localize(photograph(POSES[seed]), near=expected(POSES[0], rendered)) is LOCALIZED


@pytest.mark.parametrize("rendered", [False, True])
@pytest.mark.parametrize("degrees", [6, 12, 25, 60, 180])
def test_no_wrong_pose_is_tracked(inspector, degrees, rendered):
    for seed in range(4):
        near = put_off(POSES[seed], degrees, 0.02, np.random.default_rng(seed))
        found = inspector.localize(photograph(POSES[seed]), near=expected(near, rendered))
        assert found is LOCALIZED or rotation_angle(found.pose, POSES[seed]) < np.radians(0.3)


@pytest.mark.parametrize("kind", ["another part", "empty", "noise", "negative"])
def test_what_is_not_the_part_is_not_tracked(inspector, kind):
    image = {
        "another part": photograph(POSES[0], box(seed=1)),
        "empty": np.full((128, 128, 3), 255, np.uint8) - np.eye(128, dtype=np.uint8)[..., None] * np.uint8(90),
        "noise": np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8),
        "negative": 255 - photograph(POSES[0]),
    }[kind]
    for rendered in (False, True):
        assert inspector.localize(image, near=expected(POSES[0], rendered)) is LOCALIZED


def test_a_part_out_of_sight_is_not_tracked(inspector):
    away = Pose.look_at(np.array([4.0, 0, 0]), np.array([8.0, 0, 0]), np.array([0, 0, 1.0]))
    assert inspector.localize(photograph(POSES[0]), near=expected(away)) is LOCALIZED


def test_without_a_calibration_there_is_nothing_to_track_by():
    model = replace(make_inspector().model, calibration=None)
    assert Inspector(model, "cpu").localize(photograph(POSES[0]), near=expected(POSES[0])) is LOCALIZED
    assert make_inspector(max_loss=float("inf")).localize(photograph(POSES[0]), near=expected(POSES[0])) is LOCALIZED


def test_viewpoints_that_are_not_covered_are_not_tracked():
    found = make_inspector(coverage=0.1).localize(photograph(POSES[4]), near=expected(POSES[4]))
    assert found is LOCALIZED


def test_a_tracked_frame_gets_its_verdict(inspector):
    result = inspector.inspect(photograph(POSES[1]), near=expected(POSES[1], True))
    assert result.localization.reason_text == "tracked" and np.isfinite(result.score)
    assert result.rendering.alpha.max() > 0.9


def first_look(degrees):
    start = put_off(POSES[0], degrees, 0.005, np.random.default_rng(0))
    seen = Localization(start, Reason.NONE, "localized at first sight", 9, 20, 0.4, np.eye(6))
    features = Features(np.zeros((0, 2)), np.zeros((0, 128), np.uint8), np.zeros(0, np.float32))
    return FirstLook(seen, features, np.zeros((0, 2), np.int64), None, False)


@pytest.mark.parametrize("degrees, convinces", [(2.0, True), (90.0, False)])
def test_a_first_sight_counts_only_where_it_convinces(inspector, monkeypatch, degrees, convinces):
    monkeypatch.setattr(Localizer, "quick_look", lambda self, *frame: first_look(degrees))
    found = inspector.localize(photograph(POSES[0]))
    assert (found is not LOCALIZED) == convinces
    if convinces:
        assert (found.inliers, found.matches) == (9, 20) and rotation_angle(found.pose, POSES[0]) < np.radians(0.15)


@pytest.mark.parametrize("share, confirmed, counts", [(0.8, True, True), (0.8, False, False), (1.1, True, False)])
def test_a_loss_that_does_not_convince_needs_features_that_confirm(monkeypatch, share, confirmed, counts):
    """share: of the largest loss of good views; above it no features help."""
    loss = make_inspector()._refined(photograph(POSES[0]), CAMERA, first_look(2.0).found.pose).loss
    monkeypatch.setattr(Localizer, "quick_look", lambda self, *frame: first_look(2.0))
    monkeypatch.setattr(Localizer, "confirms", lambda self, *look: confirmed)
    found = make_inspector(max_loss=loss / share).localize(photograph(POSES[0]))
    assert (found is not LOCALIZED) == counts


@pytest.mark.parametrize("share, confirmed, counts", [(0.8, True, True), (0.8, False, False), (1.1, True, False)])
def test_features_may_confirm_what_was_tracked(monkeypatch, share, confirmed, counts):
    near = expected(put_off(POSES[0], 1.0, 0.005, np.random.default_rng(0)), True)
    loss = make_inspector()._followed(photograph(POSES[0]), CAMERA, near.pose, near.rendering).loss
    monkeypatch.setattr(Localizer, "quick_look", lambda self, *frame: first_look(180.0))
    monkeypatch.setattr(Localizer, "confirms", lambda self, look, pose, camera: confirmed and pose is not near.pose)
    found = make_inspector(max_loss=loss / share).localize(photograph(POSES[0]), near=near)
    assert (found.reason_text == "tracked") == counts
