"""The conditions of an image: what is out of frame, clipped, small or blurred is noticed, and good views are not."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from judging import POSE, flat_calibration
from splat_scenes import CAMERA, WHITE, box

from pad_ros.comparison.protocol import Evidence
from pad_ros.decision.conditions import (
    ConditionLimits,
    clipped_share,
    measure_conditions,
    resolution,
    share_in_frame,
    sharpness,
)
from pad_ros.decision.inspection import Conditions
from pad_ros.decision.judge import judge
from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Pose
from pad_ros.localization.result import Localization
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.rendering.renderer import Renderer
from pad_ros.verdicts import Reason, Verdict

RENDERER = Renderer(box(1500), WHITE)
OUTLINE = RENDERER.coarse(0.5)
GOOD = Conditions(1.0, 0.0, 0.0, True, 50.0, 1.0)
LIMITS = ConditionLimits(30.0, 0.8)


@pytest.fixture(scope="module")
def rendering():
    return RENDERER.render(CAMERA, POSE)


def query(image, camera=CAMERA):
    return PreparedQuery(image, camera, WHITE)


def moved(share):
    """The camera's image plane moved so that the part leaves the frame sideways."""
    return replace(CAMERA, cx=CAMERA.cx + share * CAMERA.width)


def test_a_part_in_the_frame_is_all_in_view(rendering):
    assert share_in_frame(OUTLINE, CAMERA, POSE) == 1
    found = measure_conditions(query(rendering.rgb8), rendering, OUTLINE)
    assert (found.view_share, found.clipped, found.light_known) == (1, 0, True)
    assert found.sharpness == pytest.approx(1, abs=0.1) and found.light < 0.01


@pytest.mark.parametrize("share", [0.2, 0.4, 0.5, 0.7])
def test_the_share_in_the_frame_is_that_of_the_pixels(share):
    wide = replace(CAMERA, width=4 * CAMERA.width, cx=CAMERA.cx + 1.5 * CAMERA.width)
    alpha = RENDERER.render(wide, POSE).alpha
    frame = slice(round((1.5 - share) * CAMERA.width), round((2.5 - share) * CAMERA.width))
    expected = alpha[:, frame].sum() / alpha.sum()
    assert share_in_frame(OUTLINE, moved(share), POSE) == pytest.approx(expected, abs=0.03)


def test_a_part_behind_the_camera_is_not_in_view():
    away = Pose.look_at(np.array([4.0, 0, 0]), np.array([8.0, 0, 0]), np.array([0, 0, 1.0]))
    assert share_in_frame(OUTLINE, CAMERA, away) == 0


def test_a_scene_without_background_has_no_frame_to_leave(rendering):
    scene = PreparedQuery(rendering.rgb8, moved(0.5), Background(None, 0.0))
    assert measure_conditions(scene, RENDERER.render(moved(0.5), POSE), OUTLINE).view_share == 1


@pytest.mark.parametrize("gain, hides", [(1.0, False), (1.1, False), (1.4, True)])
def test_overexposure_counts_where_it_can_hide_something(rendering, gain, hides):
    bright = replace(rendering, rgb=np.clip(rendering.rgb * 0.2 + 0.72, 0, 0.94).astype(np.float32))
    image = (bright.rgb * gain * 255 + 0.5).clip(0, 255).astype(np.uint8)
    lit = query(image).lit_by(bright)
    lit = replace(lit, light=replace(lit.light, gain=(gain,) * 3))
    assert (clipped_share(lit, image, bright) > 0.3) == hides


def test_blur_lowers_sharpness_and_a_small_shift_does_not(rendering):
    image = rendering.rgb8
    sharp = sharpness(image, rendering)
    assert sharpness(cv2.GaussianBlur(image, (0, 0), 1.5), rendering) < 0.7 * sharp
    assert sharpness(np.roll(image, 1, axis=1), rendering) > 0.85 * sharp


def test_resolution_follows_size_and_distance(rendering):
    half = RENDERER.render(CAMERA.resized(CAMERA.width // 2, CAMERA.height // 2), POSE)
    assert resolution(half, OUTLINE) == pytest.approx(resolution(rendering, OUTLINE) / 2, rel=0.01)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"view_share": 0.9}, Reason.PARTIAL_VIEW), ({"clipped": 0.1}, Reason.LIGHT),
     ({"light_known": False}, Reason.LIGHT), ({"resolution": 29.0}, Reason.RESOLUTION),
     ({"sharpness": 0.7}, Reason.BLUR)],
)  # fmt: skip
def test_what_is_not_as_in_good_views_is_hold_instead_of_pass_and_a_defect_is_still_rejected(rendering, change, reason):
    assert LIMITS.problem(GOOD, 0.98) is None
    found, text = LIMITS.problem(replace(GOOD, **change), 0.98)
    assert found is reason and text
    calibration = replace(flat_calibration(), conditions=LIMITS)
    for value, verdict in ((1.0, Verdict.HOLD), (9.0, Verdict.REJECT)):
        values = np.zeros((128, 128), np.float32)
        values[60:64, 60:64] = value
        result = judge(
            query(rendering.rgb8), Localization(POSE, Reason.NONE, ""), rendering, Evidence(values),
            replace(GOOD, **change), calibration, 0.98,
        )  # fmt: skip
        assert result.verdict is verdict and (verdict is Verdict.REJECT or result.reason is reason)


def test_limits_leave_room_below_the_worst_good_view():
    views = [replace(GOOD, resolution=r, sharpness=s) for r, s in ((50, 1.0), (40, 0.9), (60, float("nan")))]
    limits = ConditionLimits.of(views)
    assert limits.min_resolution == pytest.approx(32) and limits.min_sharpness == pytest.approx(0.72)
    assert all(limits.problem(view, 0.98) is None for view in views)
    assert ConditionLimits.of([]) == ConditionLimits()
