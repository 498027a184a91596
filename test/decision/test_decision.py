"""Threshold, p-value and defect regions."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from model_factory import make_calibration

from pad_ros.decision.inspection import DefectKind
from pad_ros.decision.regions import find_defects
from pad_ros.decision.threshold import (
    choose_threshold,
    conformal_threshold,
    largest_rate,
    p_value,
    tail_threshold,
    units_needed,
)
from pad_ros.errors import InputError
from pad_ros.imaging.background import Background, background_mask
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.rendering.result import ReferenceRendering

scores_strategy = hnp.arrays(
    np.float32, st.integers(1, 60), elements=st.floats(2**-7, 100, width=32, allow_subnormal=False)
)
rates = st.floats(0.001, 0.9)


def test_threshold_is_the_score_of_its_rank():
    scores = np.random.default_rng(0).permutation(np.arange(1, 20)).astype(np.float32)  # 19 views
    assert conformal_threshold(scores, 0.05) == (19.0, 0.05)  # ceil(20 * .95) = 19
    assert conformal_threshold(scores, 0.1) == (18.0, 0.1)
    assert conformal_threshold(scores, 0.5) == (10.0, 0.5)


def test_few_views_promise_what_they_can():
    scores = np.array([1.0, 1.2, 0.9, 1.1], np.float32)
    threshold, promised = conformal_threshold(scores, 0.01)
    assert promised == pytest.approx(1 / 5)
    assert threshold >= scores.max() and math.isfinite(threshold)
    threshold, promised = conformal_threshold(np.array([0.7], np.float32), 0.01)
    assert promised == pytest.approx(1 / 2) and 0.7 <= threshold < 2
    threshold, _ = conformal_threshold(np.zeros(3, np.float32), 0.01)  # perfect renderings
    assert math.isfinite(threshold) and threshold >= 0


def test_no_views_give_no_threshold():
    threshold, promised = conformal_threshold(np.zeros(0, np.float32), 0.01)
    assert math.isnan(threshold) and math.isnan(promised)


@given(scores_strategy, rates)
@settings(max_examples=100, deadline=None)
def test_threshold_keeps_its_promise_on_the_views_themselves(scores, rate):
    threshold, promised = conformal_threshold(scores, rate)
    assert promised == pytest.approx(max(rate, 1 / (len(scores) + 1)), rel=1e-9) or promised == rate
    # The next view is as likely to have any of the V + 1 ranks: those above the threshold are at most the promise.
    assert np.count_nonzero(scores > threshold) / (len(scores) + 1) <= promised + 1e-9
    stricter, _ = conformal_threshold(scores, rate / 2)
    assert stricter >= threshold or stricter == pytest.approx(threshold)


@pytest.mark.parametrize("views, rate", [(99, 0.02), (19, 0.1), (12, 0.01), (5, 0.05)])
def test_false_rejects_of_exchangeable_scores_stay_below_the_promise(views, rate):
    rng = np.random.default_rng(0)
    trials, rejected = 3000, 0
    promised = math.nan
    for _ in range(trials):
        drawn = rng.lognormal(0, 0.4, views + 1).astype(np.float32)
        threshold, promised = conformal_threshold(drawn[1:], rate)
        rejected += drawn[0] > threshold
    assert promised >= rate
    assert rejected / trials <= promised + 3 * math.sqrt(promised * (1 - promised) / trials)


@given(scores_strategy, st.floats(0, 200))
@settings(max_examples=60, deadline=None)
def test_p_value_is_a_rank(scores, score):
    p = p_value(score, scores)
    assert 1 / (len(scores) + 1) <= p <= 1
    assert p_value(score + 1, scores) <= p
    assert p_value(float(scores.max()) + 1, scores) == pytest.approx(1 / (len(scores) + 1))
    assert p_value(float(scores.min()), scores) == 1


def test_p_values_of_good_images_are_not_too_small():
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(2000, 20)).astype(np.float32)
    p = np.array([p_value(float(row[0]), row[1:]) for row in drawn])
    for level in (0.05, 0.1, 0.5):
        assert np.mean(p <= level) <= level + 3 * math.sqrt(level * (1 - level) / len(p))


# --- defect regions ---

SIZE, DEPTH = 100, 2.0
CAMERA = Camera(SIZE, SIZE, 120.0, 110.0, 48.0, 52.0)
POSE = Pose.look_at(np.array([1.0, -2.0, 0.7]), np.array([0.1, 0, 0]), np.array([0, 0, 1.0]), roll=0.4)
WHITE = Background((255.0, 255.0, 255.0), 10.0)
GREY, RED, EMPTY = (90, 90, 90), (200, 20, 20), (255, 255, 255)


def scene():
    """A grey square before white, facing the camera: (query, rendering, empty anomaly map)."""
    part = np.zeros((SIZE, SIZE), bool)
    part[20:80, 20:80] = True
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    image[part] = GREY
    alpha = part.astype(np.float32)
    rendering = ReferenceRendering(
        image.astype(np.float32) / 255, alpha, DEPTH * alpha, np.zeros((SIZE, SIZE, 0), np.float32), CAMERA, POSE
    )
    return image, rendering, np.zeros((SIZE, SIZE), np.float32)


def mark(image, values, x, y, w, h, colour, value):
    image[y : y + h, x : x + w] = colour
    values[y : y + h, x : x + w] = value


def test_regions_are_found_named_and_put_in_order():
    image, rendering, values = scene()
    mark(image, values, 5, 30, 8, 10, RED, 3.0)  # beside the part
    mark(image, values, 30, 30, 9, 7, EMPTY, 5.0)  # a hole
    mark(image, values, 60, 60, 6, 6, RED, 4.0)  # a stain
    missing, changed, added = find_defects(values, 1.0, background_mask(image, WHITE), rendering)
    assert (added.kind, added.box, added.area, added.peak_score) == (DefectKind.ADDED, (5, 30, 8, 10), 80, 3.0)
    assert (missing.kind, missing.box, missing.area, missing.peak_score) == (
        DefectKind.MISSING, (30, 30, 9, 7), 63, 5.0,
    )  # fmt: skip
    assert (changed.kind, changed.box, changed.area, changed.peak_score) == (
        DefectKind.CHANGED, (60, 60, 6, 6), 36, 4.0,
    )  # fmt: skip
    assert added.centroid is None
    for region in (missing, changed):
        x, y, w, h = region.box
        ray = CAMERA.rays(np.array([[x + w / 2, y + h / 2]]))[0]
        expected = POSE.inverse().transform(DEPTH * ray[None])[0]
        assert region.centroid == pytest.approx(expected, abs=1e-5)


def test_centroid_leans_to_the_higher_scores():
    image, rendering, values = scene()
    mark(image, values, 40, 40, 20, 4, RED, 2.0)
    (even,) = find_defects(values, 1.0, background_mask(image, WHITE), rendering)
    values[40:44, 56:60] = 50.0
    (uneven,) = find_defects(values, 1.0, background_mask(image, WHITE), rendering)
    even_x, uneven_x = (CAMERA.project(POSE.transform(np.array([r.centroid])))[0, 0] for r in (even, uneven))
    assert even_x == pytest.approx(50) and 55 < uneven_x < 58


def test_without_a_plain_background_every_region_is_changed():
    image, rendering, values = scene()
    mark(image, values, 30, 30, 9, 7, EMPTY, 5.0)
    (region,) = find_defects(values, 1.0, background_mask(image, Background(None, 0.0)), rendering)
    assert region.kind is DefectKind.CHANGED


def test_specks_count_only_when_they_are_strong_or_all_there_is():
    image, rendering, values = scene()
    values[30, 30] = 1.5
    (region,) = find_defects(values, 1.0, background_mask(image, WHITE), rendering)  # why the image is rejected
    assert region.area == 1 and region.box == (30, 30, 1, 1)
    values[10:14, 10:14] = 1.8
    (region,) = find_defects(values, 1.0, background_mask(image, WHITE), rendering)
    assert region.area == 16
    values[30, 30] = 2.5
    assert [r.area for r in find_defects(values, 1.0, background_mask(image, WHITE), rendering)] == [1, 16]


def test_a_region_reaches_beyond_what_exceeds_the_threshold():
    image, rendering, values = scene()
    mark(image, values, 40, 40, 12, 8, RED, 0.6)  # faint, but for two of its pixels
    values[43, 44:46] = 1.1
    mark(image, values, 60, 60, 6, 6, RED, 0.9)  # faint all over: no defect
    (region,) = find_defects(values, 1.0, background_mask(image, WHITE), rendering)
    assert (region.box, region.area) == ((40, 40, 12, 8), 96)
    assert region.peak_score == pytest.approx(1.1)


def test_nothing_above_the_threshold_is_no_defect_and_many_are_cut_to_the_strongest():
    image, rendering, values = scene()
    values[:] = 1.0
    assert find_defects(values, 1.0, background_mask(image, WHITE), rendering) == ()
    values[:] = 0
    peaks = np.random.default_rng(0).permutation(2500) + 2.0
    values[::2, ::2] = peaks.reshape(50, 50)  # single pixels, most of them far above the threshold
    regions = find_defects(values, 1.0, background_mask(image, WHITE), rendering)
    found = [region.peak_score for region in regions]
    assert 10 <= len(found) < 100
    assert found == sorted(peaks, reverse=True)[: len(found)]


def test_a_blurred_map_does_not_hide_the_kind():
    """Far more pixels lie above the threshold than the defect has; those near the peak tell what it is."""
    image, rendering, values = scene()
    mark(image, values, 5, 40, 6, 6, RED, 100.0)
    mark(image, values, 45, 45, 6, 6, EMPTY, 90.0)
    blurred = cv2.GaussianBlur(values, (0, 0), 2)
    added, missing = find_defects(blurred, 1.0, background_mask(image, WHITE), rendering)
    assert added.area > 100 and missing.area > 100
    assert (added.kind, missing.kind) == (DefectKind.ADDED, DefectKind.MISSING)


def test_the_tail_is_found_again_and_one_outlier_changes_it_little():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(50):
        scores = (1 + rng.exponential(0.5, 100)).astype(np.float32)
        threshold, error = tail_threshold(scores, 0.01)
        found.append(threshold)
        spoiled = np.append(scores[1:], np.float32(2 * scores.max()))
        assert abs(tail_threshold(spoiled, 0.01)[0] - threshold) < 0.5 * scores.max()
        assert 0 < error < threshold
    assert np.mean(found) == pytest.approx(1 + 0.5 * math.log(100), rel=0.1)


def test_few_views_or_a_large_rate_have_no_tail():
    assert math.isnan(tail_threshold(np.ones(20, np.float32), 0.01)[0])
    assert math.isnan(tail_threshold(np.ones(100, np.float32), 0.3)[0])


# --- good units of a line ---


def lognormal(count, middle, spread, seed=0):
    return (middle * np.exp(spread * np.random.default_rng(seed).normal(size=count))).astype(np.float32)


def test_units_that_show_none_above_the_threshold_bound_the_rate():
    assert [units_needed(rate) for rate in (0.1, 0.05, 0.02, 0.01)] == [29, 59, 149, 299]
    for rate in (0.1, 0.05, 0.02, 0.01):
        assert largest_rate(0, units_needed(rate)) <= rate < largest_rate(0, units_needed(rate) - 1)
    assert largest_rate(5, 5) == 1.0 and largest_rate(1, 20) == pytest.approx(0.216, abs=1e-3)


def test_many_units_give_the_threshold_by_themselves():
    units = lognormal(150, 2.0, 0.2)
    found = choose_threshold(units, lognormal(100, 1.0, 0.5, 1), 0.01)
    assert (found.value, found.promised_rate) == conformal_threshold(units, 0.01)
    assert math.isnan(found.error)


@pytest.mark.parametrize("middle, spread", [(2.0, 0.1), (0.5, 0.3), (1.0, 0.6)])
def test_few_units_move_and_stretch_the_reference_views_distribution(middle, spread):
    """On average the threshold lies near the quantile that the units' own distribution has."""
    reference = lognormal(2000, 1.0, 0.4, 1)
    found = [choose_threshold(lognormal(12, middle, spread, seed), reference, 0.01).value for seed in range(40)]
    expected = middle * math.exp(2.326 * spread)
    assert np.median(found) == pytest.approx(expected, rel=0.25)
    assert choose_threshold(lognormal(12, middle, spread), reference, 0.01).promised_rate == pytest.approx(1 / 13)


@given(scores_strategy, st.integers(0, 40), rates)
def test_any_scores_give_a_threshold(reference, count, rate):
    units = lognormal(count, 1.0, 0.3)
    found = choose_threshold(units, reference, rate)
    assert math.isfinite(found.value) == (count > 0) and (count == 0 or found.value >= 0)
    assert count == 0 or rate <= found.promised_rate <= 1


def test_a_calibration_gives_the_threshold_of_another_rate():
    calibration = make_calibration().with_scores(lognormal(100, 1.0, 0.4), np.zeros(0, np.float32), 0.01)
    looser = calibration.at_rate(0.1)
    assert looser.threshold < calibration.threshold and looser.false_reject_rate == 0.1
    assert looser.at_rate(0.01).threshold == calibration.threshold
    looser.check(20)
    table = dict(calibration.thresholds())
    assert list(table) == [0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001] and table[0.01] == calibration.threshold
    assert sorted(table.values()) == list(table.values())
    with pytest.raises(InputError, match="100 scores of good parts support 0.00099 to 0.5"):
        calibration.at_rate(0.0001)
    with pytest.raises(InputError, match="0.7"):
        calibration.at_rate(0.7)


def test_a_view_far_outside_does_not_raise_the_threshold_for_the_others():
    """A reference view whose pose was found wrong scores ten times as high as any other."""
    ordinary = np.random.default_rng(3).gumbel(0.8, 0.25, 79).astype(np.float32)
    without, _ = tail_threshold(ordinary, 0.01)
    for far in (15.0, 150.0):
        threshold, _ = tail_threshold(np.append(ordinary, np.float32(far)), 0.01)
        assert without < threshold < 1.35 * without
