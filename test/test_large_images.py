"""Queries of many pixels: compared at the model's scale, answered at their own."""

from dataclasses import replace

import numpy as np
import pytest
from box_model import PART, POSES, make_box_model
from judging import flat_calibration
from splat_scenes import CAMERA, WHITE, put_off

from pad_ros.imaging.geometry import distort_map
from pad_ros.inspector import Inspector
from pad_ros.localization.result import Localization
from pad_ros.rendering.renderer import Renderer
from pad_ros.verdicts import Reason

LARGE = CAMERA.resized(512, 512)
DISTORTED = replace(LARGE, distortion=(-0.1, 0.02, 0.0, 0.0))
PRIOR = Localization(put_off(POSES[0], 1.0, 0.005, np.random.default_rng(0)), Reason.NONE, "")
PATCH = np.s_[240:264, 250:274]


def make_inspector():
    known = replace(flat_calibration(len(PART)), max_loss=0.05, coverage=3.0)
    return Inspector(replace(make_box_model(), calibration=known), "cpu")


def pictured(camera, spoiled):
    image = Renderer(PART, WHITE).render(LARGE, POSES[0]).rgb8
    if camera.distorted:
        image = distort_map(image, camera).astype(np.uint8)
    if spoiled:
        image[PATCH] = (255, 0, 255)
    return image


@pytest.mark.parametrize("camera", [LARGE, DISTORTED], ids=["pinhole", "distorted"])
def test_defects_and_map_are_at_the_pixels_of_the_query(camera):
    inspector = make_inspector()
    result = inspector.inspect(pictured(camera, True), camera, PRIOR)
    assert result.reason is Reason.ANOMALY, result.reason_text
    assert result.rendering.camera.width < 200 and result.anomaly_map.compared.shape == result.rendering.alpha.shape
    values = result.anomaly_map.values
    assert values.shape == (512, 512) and values.max() == pytest.approx(result.score, rel=0.2)
    assert np.unravel_index(values.argmax(), values.shape) == pytest.approx((252, 262), abs=16)
    x, y, width, height = result.defects[0].box
    assert abs(x + width / 2 - 262) < 12 and abs(y + height / 2 - 252) < 12 and 16 <= width <= 96
    assert 0.3 < result.defects[0].area / 24**2 < 12 and result.image.shape == (512, 512, 3)


def test_another_process_makes_the_same_rendering():
    inspector = make_inspector()
    query = inspector.prepare(pictured(LARGE, False), LARGE)
    found = inspector.localize(query, PRIOR)
    rendering, again = (inspector.render(query, given) for given in (found, replace(found, rendering=None)))
    assert rendering.camera == again.camera and rendering.camera.width < 200
    np.testing.assert_allclose(rendering.rgb, again.rgb, atol=1e-5)


def test_resolution_and_sharpness_are_judged_on_the_references_pixels():
    inspector = make_inspector()
    large, own = (inspector.inspect(image, camera, PRIOR).conditions for image, camera in (
        (pictured(LARGE, False), LARGE), (Renderer(PART, WHITE).render(CAMERA, POSES[0]).rgb8, CAMERA)))  # fmt: skip
    assert own.resolution <= large.resolution < 1.3 * own.resolution
    assert large.sharpness == pytest.approx(own.sharpness, abs=0.2)
