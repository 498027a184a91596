"""The conditions of an image: what is out of frame, clipped, small or blurred is noticed, and good views are not."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from judging import POSE, flat_calibration
from splat_scenes import CAMERA, WHITE, box

from pad_ros.comparison.protocol import Evidence
from pad_ros.decision.calibration import Calibration
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
from pad_ros.imaging.geometry import Pose, undistort_image
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
     ({"sharpness": 0.7}, Reason.BLUR), ({"field_shift": 0.5}, Reason.BLUR)],
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


def test_interlacing_and_compression_are_measured_in_the_image_as_sent():
    camera = replace(CAMERA.resized(400, 400), distortion=(-0.2, 0.05, 0.0, 0.0))
    rendering = RENDERER.render(camera.pinhole(), POSE)
    sent = cv2.GaussianBlur(undistort_image(rendering.rgb8, camera.pinhole()), (0, 0), 1.0)
    interlaced, packed = sent.copy(), cv2.imdecode(cv2.imencode(".jpg", sent, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)
    interlaced[::2] = np.roll(sent, 3, axis=1)[::2]
    whole, torn, lossy = (measure_conditions(query(i, camera), rendering, OUTLINE) for i in (sent, interlaced, packed))
    assert whole.field_shift < 0.1 and torn.field_shift > 0.5
    assert abs(whole.compression) < 0.1 and lossy.compression > 0.3


def test_interlacing_and_compression_are_measured_in_large_images_before_they_are_shrunk(rendering):
    large = CAMERA.resized(4 * CAMERA.width, 4 * CAMERA.height)
    sent = RENDERER.render(large, POSE).rgb8
    interlaced, packed = sent.copy(), cv2.imdecode(cv2.imencode(".jpg", sent, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)
    interlaced[::2] = np.roll(sent, 3, axis=1)[::2]
    shrunk = [query(image, large).of_size(CAMERA) for image in (sent, interlaced, packed)]
    whole, torn, lossy = (measure_conditions(q, rendering, OUTLINE) for q in shrunk)
    assert whole.field_shift < 0.1 and torn.field_shift > 0.5
    assert whole.compression < 0.2 < lossy.compression


@pytest.mark.parametrize(
    ("unusual", "cause"),
    [({"compression": 0.5}, "compressed"), ({"sharpness": 0.85}, "less sharp"), ({"forgiven": 1.4}, "noise"),
     ({"compression": 0.1}, ""), ({"sharpness": 0.97}, ""), ({"forgiven": 1.1}, ""), ({"compression": math.nan}, ""),
     ({"sharpness": math.nan}, "")],
)  # fmt: skip
@pytest.mark.parametrize("score", [1.0, 1.99, 2.01])
def test_a_doubtful_image_must_be_clearly_below_the_threshold(rendering, score, unusual, cause):
    scores = np.linspace(0.2, 1.8, 80).astype(np.float32)
    calibration = flat_calibration(scores=scores, conditions=replace(LIMITS, max_compression=0.15))
    calibration = calibration.with_scores(scores, scores[:0], 0.02)
    values = np.full((128, 128), score / 2 * calibration.threshold, np.float32)
    unusual = dict(unusual)
    evidence = Evidence(values, forgiven=unusual.pop("forgiven", 1.0))
    result = judge(
        query(rendering.rgb8), Localization(POSE, Reason.NONE, ""), rendering, evidence, replace(GOOD, **unusual),
        calibration, 0.98,
    )  # fmt: skip
    assert 0.5 * calibration.threshold < calibration.surely_below < 0.98 * calibration.threshold
    if score > 2:
        assert result.verdict is Verdict.REJECT
    else:
        assert result.verdict is (Verdict.HOLD if cause and score > 1.5 else Verdict.PASS)
        assert result.verdict is Verdict.PASS or cause in result.reason_text


def test_a_model_made_before_compression_was_measured_holds_nothing_back():
    arrays, values = flat_calibration(conditions=LIMITS).to_parts()
    del values["conditions"]["max_compression"]
    found = Calibration.from_parts(arrays, values)
    assert found.conditions == LIMITS and found.conditions.max_compression > 100
    found.check(1500)


def test_limits_leave_room_below_the_worst_good_view():
    views = [replace(GOOD, resolution=r, sharpness=s) for r, s in ((50, 1.0), (40, 0.9), (60, float("nan")))]
    limits = ConditionLimits.of(views)
    assert limits.min_resolution == pytest.approx(32) and limits.min_sharpness == pytest.approx(0.72)
    assert all(limits.problem(view, 0.98) is None for view in views)
    assert ConditionLimits.of([]) == ConditionLimits()


def test_good_images_that_are_compressed_widen_the_limit():
    trained = ConditionLimits.of([replace(GOOD, compression=c) for c in (-0.02, 0.05, float("nan"))])
    assert trained.max_compression == pytest.approx(0.15)
    assert trained.widened([replace(GOOD, compression=0.5)]).max_compression == pytest.approx(0.6)
