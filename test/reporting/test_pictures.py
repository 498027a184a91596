import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pad_ros.decision.inspection import DefectKind, DefectRegion
from pad_ros.reporting import pictures

GREY = np.full((60, 80, 3), 128, np.uint8)


def luminance(picture):
    return picture.astype(float) @ [0.299, 0.587, 0.114]


def test_overlay_is_clear_below_half_the_threshold_and_darkens_above():
    values = np.zeros((60, 80), np.float32)
    values[:, 20:40], values[:, 40:60], values[:, 60:] = 0.4, 1.0, 5.0
    white = np.full((60, 80, 3), 255, np.uint8)
    overlay = pictures.heatmap_overlay(white, values, threshold=1.0)
    assert (overlay[:, :40] == 255).all()
    brightness = luminance(overlay)[0, [30, 50, 70]]
    assert brightness[0] > brightness[1] + 30 > brightness[2] + 60


def test_colours_depend_on_the_threshold_and_not_on_the_image():
    rng = np.random.default_rng(0)
    values = rng.random((60, 80), dtype=np.float32)
    outlier = values.copy()
    outlier[0, 0] = 100.0
    for draw in (pictures.heatmap_image, lambda v, t: pictures.heatmap_overlay(GREY, v, t)):
        assert (draw(values, 0.5)[1:] == draw(outlier, 0.5)[1:]).all()
        assert (draw(values * 8, 4.0) == draw(values, 0.5)).all()


def test_the_threshold_is_the_middle_of_the_scale():
    values = np.array([[0.0, 2.0, 4.0, 9.0]], np.float32)
    ramp = np.linspace(0, 4, 256, dtype=np.float32)[None]
    scale = pictures.heatmap_image(ramp, 2.0)[0]
    np.testing.assert_array_equal(pictures.heatmap_image(values, 2.0)[0], scale[[0, 128, 255, 255]])


@settings(deadline=None)
@given(arrays(np.float32, (60, 80)), st.sampled_from([float("nan"), -1.0, 0.0, 1e-30, 2.0, float("inf")]))
def test_any_values_and_threshold_give_a_picture(values, threshold):
    assert pictures.heatmap_image(values, threshold).shape == (60, 80, 3)
    assert pictures.heatmap_overlay(GREY, values, threshold).dtype == np.uint8


def test_boxes_stand_out_from_any_ground_and_stay_off_the_defect():
    defect = DefectRegion((30, 20, 10, 8), 80, 3.0, None, DefectKind.CHANGED)
    at_edge = DefectRegion((0, 0, 80, 60), 10, 3.0, None, DefectKind.ADDED)
    for ground in (0, 128, 255):
        image = np.full((60, 80, 3), ground, np.uint8)
        drawn = pictures.draw_defects(image, [defect, at_edge])
        assert (drawn[20:28, 30:40] == ground).all()
        assert np.ptp(luminance(drawn)) > 100
        assert (image == ground).all()


def test_truth_is_outlined_outside_the_mask():
    mask = np.zeros((60, 80), bool)
    mask[20:30, 30:40] = True
    drawn = pictures.mask_overlay(GREY, mask)
    assert (drawn[mask] == 128).all()
    assert (drawn != GREY).any()
    assert (pictures.mask_overlay(GREY, np.zeros_like(mask)) == GREY).all()


def test_panel_puts_pictures_of_different_size_side_by_side():
    strip = pictures.panel([("a", GREY), ("b", np.zeros((120, 120, 3), np.uint8))])
    assert strip.shape[1] > 80 + 60
    assert strip.shape[0] > 60
    with pytest.raises(ValueError, match="at least one"):
        pictures.panel([])


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="differ in size"):
        pictures.heatmap_overlay(GREY, np.zeros((80, 60), np.float32), 1.0)
