"""The verdict: PASS and REJECT by the threshold, HOLD without one, where the defect is."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from judging import LOCALIZATION, POSE, changed, flat_calibration, map_of, verdict_of
from splat_scenes import CAMERA, WHITE, box

from pad_ros.comparison.calibrated import pooled
from pad_ros.comparison.expectation import SMALLEST
from pad_ros.decision.inspection import DefectKind
from pad_ros.imaging.geometry import Camera, Pose, distort_map
from pad_ros.rendering.renderer import Renderer
from pad_ros.verdicts import Reason, Verdict

GAUSSIANS = box(1500)
CALIBRATION = flat_calibration()


@pytest.fixture(scope="module")
def rendering():
    return Renderer(GAUSSIANS, WHITE, CALIBRATION.state.features()).render(CAMERA, POSE)


def judge(image, rendering, calibration=CALIBRATION, camera=CAMERA):
    return verdict_of(image, rendering, calibration, camera=camera)


def test_pooling_wants_a_defect_to_stand_out_in_all_windows():
    even = np.full((40, 40), 3, np.float32)
    np.testing.assert_allclose(pooled(even, (1.0, 3.0)), 3, rtol=1e-5)
    np.testing.assert_array_equal(pooled(even, (2.0,)), cv2.GaussianBlur(even, (0, 0), 2.0))
    values = np.zeros((40, 40), np.float32)
    values[10, 10] = 10  # one pixel
    values[24:34, 24:34] = 3  # a region of less evidence in each
    found = pooled(values, (1.0, 3.0))
    small, large = (cv2.GaussianBlur(values, (0, 0), scale) for scale in (1.0, 3.0))
    assert found[29, 29] > 4 * found[10, 10]
    assert found[29, 21] < 0.5 * large[29, 21] and found[10, 10] < 0.5 * small[10, 10]
    assert (found >= 0).all() and found.dtype == np.float32


def test_a_good_image_passes(rendering):
    result = judge(rendering.rgb8, rendering)
    assert (result.verdict, result.reason) == (Verdict.PASS, Reason.NONE)
    assert result.score < 0.5 and result.threshold == 2.0 and result.p_value == 1
    assert result.localization is LOCALIZATION and result.rendering is rendering and result.defects == ()


@pytest.mark.parametrize("size", [4, 12])
def test_a_patch_is_rejected_and_found(rendering, size):
    image = rendering.rgb8
    image[60 : 60 + size, 66 : 66 + size] = (255, 0, 255)
    result = judge(image, rendering)
    assert (result.verdict, result.reason) == (Verdict.REJECT, Reason.ANOMALY)
    assert result.score > 2.0 and result.p_value == pytest.approx(1 / 20)
    defect = result.defects[0]
    x, y, w, h = defect.box
    assert x <= 66 and x + w >= 66 + size and y <= 60 and y + h >= 60 + size
    assert defect.kind is DefectKind.CHANGED and defect.peak_score == pytest.approx(result.score)
    centre = CAMERA.project(POSE.transform(np.array([defect.centroid])))[0]
    assert centre == pytest.approx([66 + size / 2, 60 + size / 2], abs=3)
    row, column = np.unravel_index(result.anomaly_map.values.argmax(), result.anomaly_map.values.shape)
    assert 58 <= row < 62 + size and 64 <= column < 68 + size


def test_a_rejected_image_always_has_a_defect_region(rendering):
    """Also where less than the smallest area is above the threshold."""
    image = rendering.rgb8
    image[60:64, 66:70] = (255, 0, 255)
    result = judge(image, rendering)
    for share in (0.5, 0.9, 0.99, 0.9999):
        just = judge(image, rendering, changed(CALIBRATION, threshold=share * result.score))
        assert just.verdict is Verdict.REJECT and just.defects[0].peak_score == pytest.approx(result.score)


def test_material_beside_the_part_is_added(rendering):
    image = rendering.rgb8
    image[4:12, 4:12] = (30, 30, 30)
    result = judge(image, rendering)
    assert result.verdict is Verdict.REJECT and result.defects[0].kind is DefectKind.ADDED
    assert result.defects[0].centroid is None


def test_a_ground_in_other_light_is_no_evidence_and_what_stands_on_it_is(rendering):
    """White that one channel saturates stays tinted when the light is undone."""
    image = rendering.rgb8
    image[(rendering.alpha == 0)] = (255, 250, 246)
    far = map_of(image, rendering, CALIBRATION).values[:10, :10]
    assert far.max() < 0.3
    image[4:12, 4:12] = (30, 30, 30)
    assert judge(image, rendering).verdict is Verdict.REJECT
    image[:, :40] = (30, 30, 30)  # much that is foreign makes nothing of it normal
    assert judge(image, rendering).verdict is Verdict.REJECT


def test_what_is_expected_there_is_forgiven(rendering):
    """The same stain, on a surface that good views show just as different."""
    image = rendering.rgb8
    image[60:68, 66:74] = (255, 0, 255)
    strange = changed(CALIBRATION, residual_mean=CALIBRATION.state.residual_mean + np.float32(2))
    expecting = Renderer(GAUSSIANS, WHITE, strange.state.features()).render(CAMERA, POSE)
    assert judge(image, rendering).score > 10 * max(judge(image, expecting, strange).score, 0.01)


def test_a_side_that_is_badly_known_is_not_passed(rendering):
    """HOLD instead of PASS; what exceeds even that expectation is still a defect."""
    image = rendering.rgb8
    expected = map_of(image, rendering, CALIBRATION).expected
    assert expected == pytest.approx(0.02 + SMALLEST, rel=0.2)
    strict = changed(CALIBRATION, max_expected=0.9 * expected)
    result = judge(image, rendering, strict)
    assert (result.verdict, result.reason) == (Verdict.HOLD, Reason.POOR_RENDERING)
    assert "add reference views" in result.reason_text and result.defects == ()
    assert judge(image, rendering, changed(CALIBRATION, max_expected=1.1 * expected)).verdict is Verdict.PASS
    image[60:72, 66:78] = (255, 0, 255)
    assert judge(image, rendering, strict).verdict is Verdict.REJECT


def test_the_threshold_itself_still_passes(rendering):
    image = rendering.rgb8
    image[60:64, 66:70] = (120, 120, 120)
    score = judge(image, rendering).score
    assert score > 0
    assert judge(image, rendering, changed(CALIBRATION, threshold=score)).verdict is Verdict.PASS
    assert judge(image, rendering, changed(CALIBRATION, threshold=0.999 * score)).verdict is Verdict.REJECT


@pytest.mark.parametrize("calibration", [None, changed(CALIBRATION, threshold=math.nan)])
def test_without_a_threshold_every_verdict_is_hold(rendering, calibration):
    features = Renderer(GAUSSIANS, WHITE).render(CAMERA, POSE) if calibration is None else rendering
    result = judge(rendering.rgb8, features, calibration)
    assert (result.verdict, result.reason) == (Verdict.HOLD, Reason.UNCALIBRATED)
    assert result.reason_text and math.isnan(result.score) and math.isnan(result.threshold)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("picture", ["rgb", "alpha", "depth", "features"])
@pytest.mark.parametrize("part", [np.s_[60:64, 60:64], np.s_[:, :]])
def test_a_rendering_that_is_not_finite_is_hold(rendering, picture, part, value):
    """Also where a photograph would explain what the rendering does not show."""
    broken = getattr(rendering, picture).copy()
    broken[part] = value
    photographs, seen = rendering.rgb8[None], np.ones((1, *rendering.alpha.shape), bool)
    result = judge(rendering.rgb8, replace(rendering, photographs=photographs, seen=seen, **{picture: broken}))
    assert (result.verdict, result.reason) == (Verdict.HOLD, Reason.INTERNAL_ERROR)
    assert "not finite" in result.reason_text and result.defects == ()


def test_a_score_that_is_no_number_is_hold(rendering, monkeypatch):
    nothing = np.full(rendering.alpha.shape, np.nan, np.float32)
    monkeypatch.setattr("pad_ros.comparison.calibrated.excess", lambda *arguments: (nothing, 0.0, 1.0))
    result = judge(rendering.rgb8, rendering)
    assert (result.verdict, result.reason) == (Verdict.HOLD, Reason.INTERNAL_ERROR)
    assert result.reason_text and result.defects == ()


def test_through_a_distorting_lens_the_map_is_at_the_querys_pixels():
    """A patch near the corner of a distorted query: its region and its point on the part are where they are seen."""
    pinhole = Camera(128, 128, 80.0, 80.0, 64.0, 64.0)
    camera = replace(pinhole, distortion=(-0.2, 0.03, 0.0, 0.0))
    pose = Pose.look_at(np.array([1.7, 0.0, 0.0]), np.zeros(3), np.array([0.0, 0, 1]))  # so near that it fills the view
    rendering = Renderer(GAUSSIANS, WHITE, CALIBRATION.state.features()).render(pinhole, pose)
    image = np.stack([distort_map(np.ascontiguousarray(rendering.rgb[..., c]), camera) for c in range(3)], axis=2)
    image = (255 * image + 0.5).astype(np.uint8)
    clean = judge(image, rendering, camera=camera).anomaly_map.values
    x, y, size = 100, 96, 8
    moved = camera.project(pinhole.rays(np.array([[104.0, 100.0]])))[0] - [104, 100]
    assert np.linalg.norm(moved) > 3  # what the lens does there
    image[y : y + size, x : x + size] = (255, 0, 255)
    result = judge(image, rendering, camera=camera)
    assert result.verdict is Verdict.REJECT and clean[90:112, 94:114].max() < 0.2 * result.score
    defect = min(result.defects, key=lambda d: abs(d.box[0] + d.box[2] / 2 - 104) + abs(d.box[1] + d.box[3] / 2 - 100))
    bx, by, w, h = defect.box
    assert bx <= x + 1 and bx + w >= x + size - 1 and by <= y + 1 and by + h >= y + size - 1
    seen = camera.project(pose.transform(np.array([defect.centroid])))[0]
    assert seen == pytest.approx([x + size / 2, y + size / 2], abs=1.5)
