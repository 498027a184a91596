"""PreparedQuery: everything that the stages need of a query is worked out once."""

from dataclasses import replace

import numpy as np
import pytest
from splat_scenes import CAMERA, WHITE, box, orbit, photographs_of

from pad_ros.imaging.background import Background, part_mask
from pad_ros.imaging.geometry import undistort_image
from pad_ros.imaging.rect import Rect
from pad_ros.photometry import prepared_query
from pad_ros.photometry.ground import on_ground
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.rendering.renderer import Renderer
from pad_ros.training.calibration import take_photographs

PART = box(1500)
BIG = CAMERA.resized(256, 256)
POSE = orbit(7)[1]
DISTORTED = replace(CAMERA, distortion=(-0.2, 0.05, 0.001, 0.0))


@pytest.fixture(scope="module")
def renderer():
    photographs = take_photographs(PART, photographs_of(PART, 4), WHITE, "cpu")
    return Renderer(PART, WHITE, photographs=photographs, nearest_photographs=2)


@pytest.fixture(scope="module")
def rendering(renderer):
    return renderer.part(CAMERA, POSE)


def cluttered(rendering, gain=1.0):
    """The part in front of a ground of many colours."""
    rng = np.random.default_rng(0)
    ground = rng.uniform(0.3, 0.7, rendering.rgb.shape).astype(np.float32)
    return (on_ground(rendering, ground, WHITE).rgb * gain * 255 + 0.5).astype(np.uint8)


def counted(monkeypatch, name):
    """Every call of a function of the module, by its arguments."""
    calls, original = [], getattr(prepared_query, name)

    def call(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(prepared_query, name, call)
    return calls


def test_it_is_undistorted_once(monkeypatch, rendering):
    calls = counted(monkeypatch, "undistort_image")
    query = PreparedQuery(rendering.rgb8, DISTORTED, WHITE)
    assert query.undistorted is query.undistorted
    np.testing.assert_array_equal(query.undistorted, undistort_image(rendering.rgb8, DISTORTED))
    assert not query.pinhole.distorted and query.pinhole == CAMERA
    _ = query.part_mask, query.lit_by(rendering), query.contrast
    assert len(calls) == 1


def test_the_empty_cell_is_undistorted_as_well():
    view = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    query = PreparedQuery(view, DISTORTED, WHITE, (view, view))
    assert len(query.empty_cell) == 2 and query.empty_cell is query.empty_cell
    np.testing.assert_array_equal(query.empty_cell[1], undistort_image(view, DISTORTED))


def test_the_region_restricts_the_part(rendering):
    image = rendering.rgb8
    whole = PreparedQuery(image, CAMERA, WHITE).part_mask
    np.testing.assert_array_equal(whole, part_mask(image, WHITE))
    region = Rect(40, 50, 70, 80)
    within = PreparedQuery(image, CAMERA, WHITE, region=region).part_mask
    inside = np.zeros_like(whole)
    inside[region.slices] = True
    np.testing.assert_array_equal(within, whole & inside)
    assert 0 < within.sum() < whole.sum()
    assert PreparedQuery(image, CAMERA, Background(None, 0.0), region=region).part_mask is None


def test_contrast_is_that_of_all_values():
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert PreparedQuery(image, CAMERA, WHITE).contrast == pytest.approx(image.std())
    assert PreparedQuery(np.full_like(image, 90), CAMERA, WHITE).contrast == pytest.approx(0, abs=1e-6)


def test_light_and_ground_are_kept_for_the_same_rendering(monkeypatch, renderer, rendering):
    fits = counted(monkeypatch, "fit_light")
    query = PreparedQuery(cluttered(rendering, 0.75), CAMERA, WHITE)
    lit = query.lit_by(rendering)
    assert query.lit_by(rendering) is lit and len(fits) == 1
    assert not lit.plain and lit.light.gain == pytest.approx((0.75, 0.75, 0.75), abs=0.05)
    other = query.lit_by(renderer.part(CAMERA, orbit(7)[2]))
    assert other is not lit and len(fits) == 2


@pytest.mark.parametrize(("gain", "undone"), [(0.75, True), (0.6, True), (0.3, False)])
def test_a_light_beyond_the_limits_is_undone_while_a_pose_is_searched(rendering, gain, undone):
    query = PreparedQuery(cluttered(rendering, gain), CAMERA, WHITE)
    lit, searching = query.lit_by(rendering), query.lit_while_searching(rendering)
    assert searching.light.known == undone
    assert lit.light.known == (gain == 0.75)  # for the verdict the limits hold
    assert (searching is lit) == (lit.light.known or not undone)
    if undone:
        assert searching.light.gain == pytest.approx((gain,) * 3, abs=0.05)
    assert query.lit_by(rendering) is lit


def test_an_overexposed_ground_is_still_the_ground_of_the_reference_views(rendering):
    """White cannot become brighter, so undoing the light makes it grey."""
    image = (1.2 * 255 * rendering.rgb).clip(0, 255).astype(np.uint8)
    lit = PreparedQuery(image, CAMERA, WHITE).lit_by(rendering)
    assert lit.plain and lit.light.gain == pytest.approx((1.2, 1.2, 1.2), abs=0.02)
    corner = np.abs(lit.values - lit.cut_off(rendering).rgb)[:20, :20]
    assert corner.max() < 0.01


def test_photographs_that_are_added_change_nothing_of_them(monkeypatch, renderer):
    rendering = renderer.part(BIG, POSE)
    query = PreparedQuery(cluttered(rendering, 0.75), BIG, WHITE)
    lit = query.lit_by(rendering)
    kept = lit.values, lit.behind, lit.shading
    calls = [counted(monkeypatch, name) for name in ("fit_light", "fit_shading", "filled")]
    complete = renderer.with_photographs(rendering)
    again = query.lit_by(complete)
    assert again.rendering is complete and len(complete.photographs) == 2
    assert (again.image, again.light, again.plain) == (lit.image, lit.light, lit.plain)
    assert all(new is old for new, old in zip((again.values, again.behind, again.shading), kept, strict=True))
    assert len(again.shaded.photographs) == 2 and len(lit.shaded.photographs) == 0
    assert query.lit_by(complete) is again and calls == [[], [], []]


def test_a_smaller_rendering_serves_the_whole_image(renderer, rendering):
    query = PreparedQuery(cluttered(rendering, 0.75), CAMERA, WHITE)
    small = renderer.part(CAMERA.resized(64, 64), POSE)
    lit, full = query.lit_by(small), query.lit_by(rendering)
    assert lit.image.shape == query.image.shape == (128, 128, 3) and not lit.plain
    assert lit.light.gain == pytest.approx(full.light.gain, abs=0.03)
    assert lit.background_mask.shape == (64, 64) and lit.behind.shape == (128, 128, 3)
    for of_size in (small, rendering):
        over = lit.over_ground(of_size)
        free = of_size.alpha == 0
        assert over.rgb.shape == of_size.rgb.shape and over.pose is of_size.pose
        assert np.abs(over.rgb[free] - of_size.rgb[free]).mean() > 0.3  # no longer white
    np.testing.assert_allclose(full.over_ground(rendering).rgb[rendering.alpha == 0], full.behind[rendering.alpha == 0])


def test_in_front_of_the_background_of_the_reference_views_nothing_is_composed(rendering):
    lit = PreparedQuery(rendering.rgb8, CAMERA, WHITE).lit_by(rendering)
    assert lit.plain and lit.over_ground(rendering) is rendering
    assert lit.image is not None and lit.light.same
    scene = PreparedQuery(cluttered(rendering), CAMERA, Background(None, 0.0)).lit_by(rendering)
    assert scene.plain and scene.background_mask is None


def test_the_rendering_takes_the_place_of_the_part(rendering):
    image = cluttered(rendering)
    lit = PreparedQuery(image, CAMERA, WHITE).lit_by(rendering)
    free, solid = rendering.alpha == 0, rendering.alpha > 0.995
    np.testing.assert_allclose(lit.in_place.rgb[free], image[free] / 255, atol=1e-6)
    np.testing.assert_allclose(lit.in_place.rgb[solid], rendering.rgb[solid], atol=0.02)


def test_views_of_the_empty_cell_show_what_the_part_hides(rendering):
    ground = np.random.default_rng(0).uniform(0.3, 0.7, rendering.rgb.shape).astype(np.float32)
    cell = (ground * 255 + 0.5).astype(np.uint8)
    image = on_ground(rendering, cell.astype(np.float32) / 255, WHITE).rgb8
    other = 255 - cell
    lit = PreparedQuery(image, CAMERA, WHITE, (other, cell)).lit_by(rendering)
    np.testing.assert_allclose(lit.behind, cell / 255, atol=0.01)


def test_a_shrunk_query_keeps_all_that_is_known_of_it(renderer):
    rendering = renderer.part(BIG, POSE)
    region = Rect(41, 50, 201, 255)
    query = PreparedQuery(rendering.rgb8, BIG, WHITE, (rendering.rgb8,), region)
    small = query.shrunk(2.0)
    assert small.camera == CAMERA and small.image.shape == (128, 128, 3) == small.empty[0].shape
    assert small.region == Rect(20, 25, 101, 128) and small.whole is query and query.whole is None
    blocks = query.image.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3))
    assert np.abs(small.image - blocks).max() <= 0.5
    assert query.shrunk(2.01) is small and small.shrunk(1.0) is small and query.of_size(BIG) is query
    assert small.shrunk(2.0).whole is query


def test_an_overview_has_few_pixels_and_is_the_query_itself_where_that_has():
    image = np.zeros((1500, 2000, 3), np.uint8)
    query = PreparedQuery(image, CAMERA.resized(2000, 1500), WHITE)
    height, width = query.overview.image.shape[:2]
    assert height * width <= prepared_query.OVERVIEW_PIXELS * 1.25 and width / height == pytest.approx(4 / 3, rel=0.01)
    assert query.overview is query.overview
    small = PreparedQuery(image[:400, :400], CAMERA.resized(400, 400), WHITE)
    assert small.overview is small


def test_how_the_ground_differs_from_the_trained_one(rendering):
    change = PreparedQuery(cluttered(rendering), CAMERA, WHITE).lit_by(rendering).ground_change
    assert change.min() >= -1 and change.max() < 0 and np.abs(change).max() == 1  # darker than white in all channels
    assert PreparedQuery(rendering.rgb8, CAMERA, WHITE).lit_by(rendering).ground_change is None
    brown = on_ground(rendering, np.full_like(rendering.rgb, (0.6, 0.4, 0.2)), WHITE).rgb8
    change = PreparedQuery(brown, CAMERA, WHITE).lit_by(rendering).ground_change
    assert change[2] == -1 < change[1] < change[0] < 0  # most of the blue is missing
