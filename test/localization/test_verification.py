"""PoseVerifier: which poses the image supports, and what may not pass for one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from box_model import PART, POSES, make_box_model, photograph
from splat_scenes import CAMERA, WHITE, put_off

from pad_ros.imaging.geometry import Pose, rotation_angle
from pad_ros.localization.alignment import shifted
from pad_ros.localization.localizer import Localizer
from pad_ros.localization.refinement import Refinement, unexplained
from pad_ros.localization.result import Localization
from pad_ros.localization.verification import CONVINCING_SHARE, PoseLimits, PoseVerifier
from pad_ros.photometry.ground import on_ground
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.rendering.renderer import Renderer
from pad_ros.settings import RefinementSettings
from pad_ros.verdicts import Reason

FOUND = Localization(POSES[1], Reason.NONE, "localized", 50, 60, 0.5, np.eye(6))
SURE = 1e-8 * np.eye(6)
NEAR, FAR = put_off(POSES[0], 5.0, 0.0, np.random.default_rng(0)), POSES[4]
RENDERER = Renderer(PART, WHITE)


def verifier(limits=None, settings=None):
    model = make_box_model()
    localizer = Localizer(model.sfm_map, WHITE)
    limits = limits or PoseLimits(0.05, math.radians(20))
    return PoseVerifier(RENDERER, localizer, POSES[:1], settings or RefinementSettings(), limits)


def query(image):
    return PreparedQuery(image, CAMERA, WHITE)


def refinement(pose=NEAR, accepted=True, loss=0.01, covariance=SURE):
    return Refinement(pose, accepted, 0.1, loss, covariance, RENDERER.part(CAMERA, pose), pose)


def test_what_can_be_decided_by_the_image():
    assert verifier().decisive
    assert not verifier(PoseLimits()).decisive and not verifier(settings=RefinementSettings(renderings=1)).decisive
    assert PoseLimits(0.5).convincing_loss == CONVINCING_SHARE * 0.5
    assert PoseLimits().convincing_loss == math.inf


def test_viewpoints_far_from_the_reference_views_are_not_covered():
    assert verifier().uncovered(NEAR) is None
    problem = verifier().uncovered(FAR)
    assert problem and "20 are covered" in problem
    angle = math.degrees(math.acos(POSES[0].centre @ FAR.centre / np.linalg.norm(POSES[0].centre) ** 2))
    assert f"{angle:.0f} degrees" in problem
    assert verifier(PoseLimits(0.05, math.pi)).uncovered(FAR) is None


def test_what_convinces_takes_the_place_of_what_was_found():
    refined = refinement()
    accepted = verifier().accept(refined, FOUND, 0.01)
    assert (accepted.pose, accepted.covariance, accepted.loss) == (NEAR, SURE, 0.01)
    assert accepted.rendering is refined.rendering and accepted.rendered_from is NEAR
    assert (accepted.inliers, accepted.matches, accepted.reason_text) == (50, 60, "localized")


@pytest.mark.parametrize(
    "refined",
    [refinement(accepted=False), refinement(loss=0.0101), refinement(loss=math.nan), refinement(loss=math.inf),
     refinement(covariance=None), refinement(covariance=np.eye(6)), refinement(pose=FAR)],
    ids=["not accepted", "loss", "loss NaN", "loss infinite", "no covariance", "uncertain", "not covered"],
)  # fmt: skip
def test_what_does_not_convince_is_not_accepted(refined):
    assert verifier().accept(refined, FOUND, 0.01) is None


def test_matched_poses_are_judged_by_the_largest_loss_of_good_views():
    judged = verifier().judge(refinement(loss=0.05), FOUND)
    assert (judged.pose, judged.reason, judged.loss) == (NEAR, Reason.NONE, 0.05)
    for loss in (0.0501, math.inf, math.nan):
        judged = verifier().judge(refinement(loss=loss), FOUND)
        assert judged.pose is None and judged.reason is Reason.WEAK_POSE
        assert f"{loss:.3f}" in judged.reason_text and "0.050" in judged.reason_text
        assert (judged.inliers, judged.matches) == (50, 60)
    unlimited = verifier(PoseLimits(math.inf, math.radians(20)))
    assert unlimited.judge(refinement(loss=10.0), FOUND).pose is NEAR


def test_matched_poses_keep_their_covariance_where_refining_gave_none():
    judged = verifier().judge(refinement(accepted=False, covariance=None), FOUND)
    assert judged.pose is NEAR and judged.covariance is FOUND.covariance


def test_matched_poses_from_uncovered_viewpoints_are_held():
    judged = verifier().judge(refinement(pose=FAR), FOUND)
    assert judged.pose is None and judged.reason is Reason.OUTSIDE_COVERAGE and "degrees" in judged.reason_text


def as_made(refined):
    """The rendering that the refinement says it left."""
    made = RENDERER.part(CAMERA, refined.rendered_from)
    return shifted(made, (refined.pose @ refined.rendered_from.inverse()).matrix)


@pytest.mark.parametrize("seed", range(3))
def test_a_pose_is_refined_from_the_rendering_of_the_frame_before(seed):
    start = put_off(POSES[seed], 1.0, 0.005, np.random.default_rng(seed))
    refined = verifier().follow(query(photograph(POSES[seed])), start, RENDERER.part(CAMERA, start))
    assert refined.accepted and rotation_angle(refined.pose, POSES[seed]) < np.radians(0.15)
    np.testing.assert_allclose(refined.rendering.rgb, as_made(refined).rgb, atol=1e-4)


@pytest.mark.parametrize("kind", ["the query itself", "another side"])
def test_a_misleading_rendering_of_the_frame_before_is_never_the_result(kind):
    """What it shows decides nothing: the pose is found from new renderings, or not at all."""
    image = photograph(POSES[0])
    start = put_off(POSES[0], 1.0, 0.005, np.random.default_rng(0))
    made = RENDERER.part(CAMERA, start)
    other = image / np.float32(255) if kind == "the query itself" else RENDERER.part(CAMERA, POSES[3]).rgb
    refined = verifier().refine(query(image), start, replace(made, rgb=other.astype(np.float32)))
    np.testing.assert_allclose(refined.rendering.rgb, as_made(refined).rgb, atol=1e-4)
    assert not refined.accepted or rotation_angle(refined.pose, POSES[0]) < np.radians(1.1)


@pytest.mark.parametrize("levels", [(0.125, 0.25, 0.5), (0.5, 1.0)])
def test_a_coarse_rendering_is_never_the_result(levels):
    """Coarse ones lack Gaussians and features, at whatever size."""
    refine = verifier(settings=RefinementSettings(levels=levels)).refine
    away = Pose.look_at(np.array([4.0, 0, 0]), np.array([8.0, 0, 0]), np.array([0, 0, 1.0]))
    for start, image in ((NEAR, photograph(POSES[0])), (POSES[0], photograph(POSES[3])), (away, photograph(POSES[0]))):
        refined = refine(query(image), start)
        if refined.hopeless:
            assert verifier().accept(refined, FOUND, 0.05) is None
            assert verifier().judge(refined, FOUND).rendering is None
            continue
        np.testing.assert_allclose(refined.rendering.rgb, as_made(refined).rgb, atol=1e-4)


def test_in_front_of_another_background_the_part_alone_must_be_explained():
    start = put_off(POSES[0], 0.5, 0.003, np.random.default_rng(0))
    ground = np.random.default_rng(0).uniform(0.3, 0.5, (CAMERA.height, CAMERA.width, 3)).astype(np.float32)
    image = on_ground(RENDERER.part(CAMERA, POSES[0]), ground, WHITE).rgb8
    refined = verifier().refine(query(image), start)
    assert refined.accepted and refined.loss < 0.01
    assert rotation_angle(refined.pose, POSES[0]) < np.radians(0.15)
    np.testing.assert_allclose(refined.rendering.rgb, as_made(refined).rgb, atol=1e-4)


def test_another_light_is_explained_and_a_wrong_pose_is_not():
    """A lamp from one side, in front of the plain background of the reference views."""
    big, limits = CAMERA.resized(256, 256), PoseLimits(0.045, math.radians(20))
    slope = np.linspace(0.55, 1.0, big.width, dtype=np.float32)[None, :, None]
    good = RENDERER.part(big, POSES[0])
    rgb = np.where(good.alpha[..., None] > 0.5, good.rgb * slope, good.rgb)
    lit = PreparedQuery((255 * rgb + 0.5).astype(np.uint8), big, WHITE)
    start = put_off(POSES[0], 0.5, 0.003, np.random.default_rng(0))
    right, wrong = (verifier(limits).refine(lit, pose) for pose in (start, POSES[3]))
    unshaded = unexplained(lit.lit_by(right.rendering).image, right.rendering)
    assert unshaded > limits.max_loss > right.loss and rotation_angle(right.pose, POSES[0]) < np.radians(1)
    assert wrong.loss > limits.max_loss


@pytest.mark.parametrize("seed", [1, 2])
def test_a_light_a_little_beyond_the_limits_does_not_mislead(seed):
    """Where it was not undone, the pose was refined to one 2 degrees off."""
    big = CAMERA.resized(256, 256)
    ground = np.random.default_rng(0).uniform(0.3, 0.5, (256, 256, 3)).astype(np.float32)
    rgb = 0.62 * on_ground(RENDERER.part(big, POSES[0]), ground, WHITE).rgb
    dark = PreparedQuery((255 * rgb + 0.5).astype(np.uint8), big, WHITE)
    refined = verifier().refine(dark, put_off(POSES[0], 1.0, 0.006, np.random.default_rng(seed)))
    assert refined.accepted and rotation_angle(refined.pose, POSES[0]) < np.radians(0.15)


def settled(monkeypatch, *answers):
    """(what `settle` gives, poses it refined from) where refining NEAR, and then what that gave, has these outcomes."""
    begun, left = [], list(answers)
    monkeypatch.setattr(PoseVerifier, "refine", lambda self, query, pose, last=None: begun.append(pose) or left.pop(0))
    return verifier().settle(query(photograph(POSES[0])), NEAR), begun


def near_by(pose, degrees, **outcome):
    return refinement(put_off(pose, degrees, 0.0, np.random.default_rng(1)), **outcome)


def test_a_pose_that_refining_turns_far_is_refined_until_it_stays(monkeypatch):
    halfway = near_by(NEAR, 4.0, loss=0.03)
    farther = near_by(halfway.pose, 4.0, loss=0.02)
    there = near_by(farther.pose, 0.5)
    assert settled(monkeypatch, halfway, farther, there) == (there, [NEAR, halfway.pose, farther.pose])
    for no_better in (replace(farther, loss=0.031), replace(farther, accepted=False)):
        assert settled(monkeypatch, halfway, no_better) == (halfway, [NEAR, halfway.pose])


def test_a_pose_that_was_refined_from_nearby_is_refined_once(monkeypatch):
    near = near_by(NEAR, 1.0)
    assert settled(monkeypatch, near) == (near, [NEAR])
    nowhere = near_by(NEAR, 9.0, accepted=False)
    assert settled(monkeypatch, nowhere) == (nowhere, [NEAR])


@pytest.mark.parametrize("seed", range(3))
def test_a_pose_far_off_finds_its_way(seed):
    start = put_off(POSES[0], 25.0, 0.005, np.random.default_rng(seed))
    refined = verifier().settle(query(photograph(POSES[0])), start)
    assert refined.accepted and rotation_angle(refined.pose, POSES[0]) < np.radians(0.15)


def test_the_rendering_of_a_pose_is_in_the_light_of_the_reference_views():
    big = CAMERA.resized(512, 512)  # so that coarse renderings, too, tell the light
    image = RENDERER.render(big, POSES[0]).rgb8
    brighter = np.minimum(image * np.array([1.0, 1.0, 1.2]), 255).astype(np.uint8)  # its blue is cut off at 255
    start = put_off(POSES[0], 1.0, 0.0, np.random.default_rng(0))
    refined = verifier(PoseLimits(0.5, math.pi)).refine(PreparedQuery(brighter, big, WHITE), start)
    assert refined.accepted
    np.testing.assert_allclose(refined.rendering.rgb[0, 0], WHITE.rgb01)


def at_scale(camera, resolution):
    image = RENDERER.render(camera, POSES[0]).rgb8
    model = make_box_model()
    judge = PoseVerifier(RENDERER, Localizer(model.sfm_map, WHITE), POSES[:1], RefinementSettings(),
                         PoseLimits(0.05, math.radians(20)), resolution)  # fmt: skip
    return judge, PreparedQuery(image, camera, WHITE)


def test_a_query_with_more_pixels_than_the_reference_views_is_refined_at_their_scale():
    own = make_box_model().sfm_map.resolution(RENDERER.centre, CAMERA)
    judge, large = at_scale(CAMERA.resized(512, 512), own)
    start = put_off(POSES[0], 2.0, 0.01, np.random.default_rng(1))
    refined = judge.settle(large, start)
    assert refined.accepted and rotation_angle(refined.pose, POSES[0]) < math.radians(0.15)
    assert 128 <= refined.rendering.camera.width < 1.25 * 128
    assert judge.at_model_scale(large, refined.pose).pinhole == refined.rendering.camera
    for camera, resolution in ((CAMERA, own), (CAMERA.resized(512, 512), math.inf)):
        judge, query_ = at_scale(camera, resolution)
        assert judge.at_model_scale(query_, POSES[0]) is query_


def test_what_explains_nothing_is_not_rendered_in_full():
    other = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    refined = verifier().refine(query(other), POSES[0])
    assert refined.hopeless and refined.loss > 0.1 and refined.rendering.camera.width < CAMERA.width
    assert verifier().accept(refined, FOUND, 0.05) is None
    assert verifier().judge(refined, FOUND).reason is Reason.WEAK_POSE
    assert not verifier().refine(query(photograph(POSES[0])), NEAR).hopeless


def test_a_pose_of_25_degrees_off_is_still_found_from_there():
    start = put_off(POSES[0], 25.0, 0.0, np.random.default_rng(2))
    refined = verifier().settle(query(photograph(POSES[0])), start)
    assert refined.accepted and rotation_angle(refined.pose, POSES[0]) < math.radians(0.3)
