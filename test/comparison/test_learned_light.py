"""Light that good units showed: learned per Gaussian, and put on where an image is most like it."""

from dataclasses import replace

import numpy as np
import pytest
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.comparison.learned_light import SUMS, in_nearest_light, learned_light, light_sums
from pad_ros.photometry.prepared_query import PreparedQuery
from pad_ros.rendering.renderer import Renderer

GAUSSIANS = box(800)
RENDERER = Renderer(GAUSSIANS, WHITE)


def lit_query(image, rendering):
    return PreparedQuery(image, CAMERA, WHITE).lit_by(rendering)


def test_gain_and_added_light_are_found_from_their_sums():
    rng = np.random.default_rng(0)
    shown = rng.uniform(0.05, 0.9, (400, 3))
    seen = 0.7 * shown + 0.05
    sums = np.array([[(shown**2).sum(), shown.sum(), (seen * shown).sum(), seen.sum(), 400]])
    np.testing.assert_allclose(learned_light(sums), [[-0.3, 0.05]], atol=2e-3)


def test_what_no_pixel_shows_does_not_change():
    np.testing.assert_array_equal(learned_light(np.zeros((5, SUMS))), np.zeros((5, 2)))


def test_sums_cover_what_the_image_shows():
    pose = orbit(24)[3]
    rendering = RENDERER.render(CAMERA, pose)
    sums = light_sums(lit_query(rendering.rgb8, rendering), RENDERER)
    assert sums.shape == (len(GAUSSIANS), SUMS) and np.all(sums >= 0)
    assert 0 < sums[:, -1].sum() <= np.count_nonzero(rendering.alpha > 0.05)


@pytest.mark.parametrize("light", [0, 1, 2])
def test_the_light_that_an_image_is_most_like_is_chosen(light):
    rendering = RENDERER.render(CAMERA, orbit(24)[3])
    maps = np.zeros((*rendering.alpha.shape, 4), np.float32)
    maps[..., 0], maps[..., 3] = -0.4, 0.1  # the first darkens, the second adds
    shown = rendering
    if light:
        shown = _in(rendering, maps[..., 2 * light - 2 : 2 * light])
    image = (255 * shown.rgb + 0.5).astype(np.uint8)
    lit = replace(lit_query(rendering.rgb8, rendering), image=image)
    found = in_nearest_light(lit, rendering, maps, WHITE)
    np.testing.assert_allclose(found.rgb, shown.rgb, atol=0.01)
    assert (found is rendering) == (light == 0)


def _in(rendering, light):
    part = rendering.rgb - (1 - rendering.alpha[..., None])
    linear = np.maximum(part, 0) ** 2 * (1 + light[..., :1]) + light[..., 1:] * rendering.alpha[..., None] ** 2
    return replace(rendering, rgb=np.sqrt(linear.clip(0, 1)) + 1 - rendering.alpha[..., None])


def test_a_model_without_lights_keeps_its_reference():
    rendering = RENDERER.render(CAMERA, orbit(24)[3])
    lit = lit_query(rendering.rgb8, rendering)
    assert in_nearest_light(lit, rendering, np.zeros((*rendering.alpha.shape, 0), np.float32), WHITE) is rendering
