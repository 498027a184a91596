"""The surroundings' shading: smooth changes over the surface are taken up, defects are not."""

import numpy as np
import pytest
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.photometry.shading import fit_shading
from pad_ros.rendering.renderer import Renderer

BIG = CAMERA.resized(256, 256)


@pytest.fixture(scope="module")
def rendering():
    return Renderer(box(4000), WHITE).render(BIG, orbit(7)[1])


def shaded(query, rendering):
    """The rendering as the query's surroundings shade it; itself where they do not."""
    shading = fit_shading(query, rendering)
    return rendering if shading is None else shading.apply(rendering, WHITE)


def error(query, rendering, where):
    return float(np.abs(query - rendering.rgb)[where].mean())


def test_a_slope_of_light_over_the_part_is_taken_up(rendering):
    solid = rendering.alpha > 0.99
    light = np.linspace(0.65, 1.0, BIG.height, dtype=np.float32)[:, None, None]
    query = np.where(solid[..., None], rendering.rgb * light, rendering.rgb)
    found = shaded(query, rendering)
    assert error(query, found, solid) < 0.3 * error(query, rendering, solid)
    np.testing.assert_allclose(found.rgb[rendering.alpha == 0], rendering.rgb[rendering.alpha == 0])
    again = shaded(query, rendering)
    np.testing.assert_array_equal(again.rgb, found.rgb)


def test_the_same_light_changes_nothing_and_a_defect_is_no_light(rendering):
    assert shaded(rendering.rgb, rendering) is rendering
    rows, columns = np.nonzero(rendering.alpha > 0.99)
    y, x = int(np.median(rows)), int(np.median(columns))
    spot = np.s_[y - 8 : y + 8, x - 8 : x + 8]
    query = rendering.rgb * np.float32(0.8)
    query[spot] = (0.9, 0.1, 0.9)
    found = shaded(query, rendering)
    assert np.abs(query - found.rgb)[spot].mean() > 0.7 * np.abs(query - rendering.rgb * 0.8)[spot].mean()


def test_a_part_hardly_in_sight_is_left_alone(rendering):
    small = Renderer(box(500), WHITE).render(CAMERA.resized(24, 24), orbit(7)[1])
    assert shaded(small.rgb * np.float32(0.7), small) is small
