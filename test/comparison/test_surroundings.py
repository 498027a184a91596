"""How unlike the ground things around the part are, and verdicts in front of another background."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import POSE, SIZE, belt, corner, flat_calibration, query_of, verdict_of
from splat_scenes import CAMERA, WHITE, box

from pad_ros.comparison.surroundings import distance_from_ground
from pad_ros.decision.inspection import DefectKind
from pad_ros.photometry.ground import on_ground
from pad_ros.rendering.renderer import Renderer
from pad_ros.verdicts import Reason, Verdict

CALIBRATION = flat_calibration(scale=0.7)  # what good views reach, off the mean of windows that single pixels leave


@pytest.fixture(scope="module")
def rendering():
    return Renderer(box(1500), WHITE, CALIBRATION.state.features()).render(CAMERA, POSE)


def judge(image, rendering):
    return verdict_of(image, rendering, CALIBRATION)


def paint(image, centre, colour, size=6):
    x, y = centre
    h = size // 2
    image[max(y - h, 0) : y + h, max(x - h, 0) : x + h] = colour


@pytest.mark.parametrize("ground", ["belt", "gradient", "dark"])
def test_a_good_part_passes_before_any_ground(rendering, ground):
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE
    grounds = {
        "belt": belt(),
        "gradient": np.stack([0.3 + 0.4 * x, 0.5 - 0.3 * y, 0.4 + 0.2 * x * y], axis=2),
        "dark": np.full((SIZE, SIZE, 3), 0.1, np.float32),
    }
    result = judge(query_of(rendering, grounds[ground].astype(np.float32)), rendering)
    assert result.verdict is Verdict.PASS, result.reason_text


def test_each_kind_of_defect_is_named_before_a_belt(rendering):
    beside, middle = corner(rendering)
    ground = belt()
    for place, colour, kind in (
        (beside, (220, 30, 30), DefectKind.ADDED),
        (middle, (255, 0, 255), DefectKind.CHANGED),
        (middle, None, DefectKind.MISSING),
    ):
        image = query_of(rendering, ground)
        x, y = place
        paint(image, place, (255 * ground[y, x]).astype(np.uint8) if colour is None else colour)
        result = judge(image, rendering)
        assert result.verdict is Verdict.REJECT and result.defects[0].kind is kind
        bx, by, w, h = result.defects[0].box
        assert bx <= x <= bx + w and by <= y <= by + h


def test_before_a_plain_ground_a_thin_strip_a_little_unlike_it_is_found(rendering):
    """As before the trained background: not only what is as unlike the ground as black is unlike white."""
    ground = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    (x, y), _ = corner(rendering)
    image = query_of(rendering, ground)
    assert judge(image, rendering).verdict is Verdict.PASS
    image[y - 1 : y + 2, x - 4 : x + 4] = (165, 128, 128)
    result = judge(image, rendering)
    assert result.verdict is Verdict.REJECT and result.defects[0].kind is DefectKind.ADDED


@pytest.mark.parametrize("empty_cell", [False, True])
@pytest.mark.parametrize("shade, verdict", [(0.6, Verdict.PASS), (0.45, Verdict.REJECT)])
def test_what_is_dark_as_the_part_beside_it_is_no_shadow(rendering, shade, verdict, empty_cell):
    """A black foot that moved, before a grey ground."""
    ground = np.full((SIZE, SIZE, 3), 0.45, np.float32)
    (x, y), _ = corner(rendering)
    foot = np.hypot(*(np.mgrid[:SIZE, :SIZE] - np.array([y, x])[:, None, None])) < 12
    black = np.where(foot[..., None], 1 - (1 - 0.45 * 0.45) * rendering.alpha[..., None], rendering.rgb)
    rendering = replace(rendering, rgb=black.astype(np.float32))
    image = query_of(rendering, ground)
    empty = [(255 * ground + 0.5).astype(np.uint8)] if empty_cell else []
    assert verdict_of(image, rendering, CALIBRATION, empty=empty).verdict is Verdict.PASS
    paint(image, (x, y), 255 * 0.45 * shade)
    assert verdict_of(image, rendering, CALIBRATION, empty=empty).verdict is verdict


def test_shadow_beside_the_part_is_no_defect_and_what_lies_far_off_does_not_count(rendering):
    beside, _ = corner(rendering)
    image = query_of(rendering, belt())
    x, y = beside
    shade = cv2.GaussianBlur(
        (np.hypot(*(np.mgrid[:SIZE, :SIZE] - np.array([y, x])[:, None, None])) < 9) * 0.5, (0, 0), 2
    )
    image = (image * (1 - shade[..., None] * (rendering.alpha < 0.5)[..., None])).astype(np.uint8)
    assert judge(image, rendering).verdict is Verdict.PASS
    away = cv2.distanceTransform((rendering.alpha < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    row, column = np.unravel_index(away.argmax(), away.shape)
    if away.max() > 0.08 * SIZE + 8:
        paint(image, (int(column), int(row)), (220, 30, 30), 6)
        assert judge(image, rendering).verdict is Verdict.PASS


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_ground_is_not_strange_and_foreign_colour_is(rendering, seed):
    query = on_ground(rendering, belt(seed), WHITE).rgb
    beside, _ = corner(rendering)
    clean = distance_from_ground(query, rendering)
    outside = clean.judged & (rendering.alpha == 0)
    assert np.mean(clean.values[outside] <= max(clean.normal, 0.02)) > 0.97
    paint(query, beside, (0.9, 0.1, 0.1))
    foreign = distance_from_ground(query, rendering)
    assert foreign.values[beside[1], beside[0]] > 0.3 and foreign.normal == pytest.approx(clean.normal, abs=0.02)


def test_without_ground_in_sight_nothing_is_said_of_it(rendering):
    filled = replace(rendering, alpha=np.ones_like(rendering.alpha))
    assert distance_from_ground(rendering.rgb, filled) is None


def test_without_ground_in_sight_nothing_passes(rendering, monkeypatch):
    """What was added beside the part could not be told there."""
    image = query_of(rendering, belt())
    assert judge(image, rendering).verdict is Verdict.PASS
    monkeypatch.setattr("pad_ros.comparison.measurement.distance_from_ground", lambda query, shown: None)
    result = judge(image, rendering)
    assert (result.verdict, result.reason) == (Verdict.HOLD, Reason.POOR_RENDERING)
    assert "ground" in result.reason_text and np.isfinite(result.score)


@pytest.mark.parametrize("gain", [1.0, 0.8])
def test_views_of_the_empty_cell_show_what_hides_in_the_colours_of_the_ground(rendering, gain):
    """Grey material on a grey belt; the cell may have been brighter when it was empty."""
    ground = belt()
    (x, y), _ = corner(rendering)
    image = query_of(rendering, ground)
    good = image.copy()
    paint(image, (x, y), (255 * ground).mean(axis=(0, 1)) + (70 if ground[y, x].mean() < 0.5 else -70))
    views = [np.roll(255 * ground * gain, 3, axis=0).astype(np.uint8), (255 * ground * gain + 0.5).astype(np.uint8)]
    assert verdict_of(good, rendering, CALIBRATION, empty=views).verdict is Verdict.PASS
    found = verdict_of(image, rendering, CALIBRATION, empty=views)
    assert found.verdict is Verdict.REJECT and found.defects[0].kind is DefectKind.ADDED
    bx, by, w, h = found.defects[0].box
    assert bx <= x <= bx + w and by <= y <= by + h
