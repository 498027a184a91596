"""Another ground behind the part than the trained one."""

from dataclasses import replace

import numpy as np
import pytest
from splat_scenes import CAMERA, WHITE, box, orbit, put_off

from pad_ros.imaging.background import Background, background_mask
from pad_ros.imaging.geometry import rotation_angle
from pad_ros.localization.refinement import refine_pose
from pad_ros.photometry.ground import around, as_seen, filled, is_plain_ground, on_ground
from pad_ros.rendering.renderer import Renderer

POSE = orbit(7)[1]
RENDERER = Renderer(box(1500), WHITE)


@pytest.fixture(scope="module")
def rendering():
    return RENDERER.render(CAMERA, POSE)


def stripes():
    y, x = np.mgrid[: CAMERA.height, : CAMERA.width]
    dark = ((x + y) // 9 % 2).astype(np.float32)[..., None]
    return (dark * np.array([0.2, 0.25, 0.3]) + (1 - dark) * np.array([0.55, 0.5, 0.5])).astype(np.float32)


def plain(image, rendering, background):
    return is_plain_ground(background_mask(image, background), rendering)


def test_a_plain_ground_is_known_beside_the_part(rendering):
    assert plain(rendering.rgb8, rendering, WHITE)
    foreign = on_ground(rendering, stripes(), WHITE).rgb8
    assert not plain(foreign, rendering, WHITE)
    assert plain(foreign, rendering, Background(None, 0.0))  # a scene has none


def test_a_part_at_the_border_is_no_foreign_ground(rendering):
    alpha = rendering.alpha.copy()
    alpha[: CAMERA.height // 2] = 1
    image = rendering.rgb8
    image[: CAMERA.height // 2] = 40
    assert not plain(image, rendering, WHITE)
    assert plain(image, replace(rendering, alpha=alpha), WHITE)
    assert plain(image, replace(rendering, alpha=np.ones_like(alpha)), WHITE)  # nothing but the part


def test_the_part_is_put_over_another_ground(rendering):
    seen = on_ground(rendering, stripes(), WHITE)
    np.testing.assert_allclose(seen.rgb[rendering.alpha == 0], stripes()[rendering.alpha == 0], atol=1e-6)
    solid = rendering.alpha > 0.995
    np.testing.assert_allclose(seen.rgb[solid], rendering.rgb[solid], atol=0.01)
    black = Renderer(box(1500), Background((0.0, 0.0, 0.0), 10.0)).render(CAMERA, POSE)
    again = on_ground(black, np.ones_like(black.rgb), Background((0.0, 0.0, 0.0), 10.0))
    np.testing.assert_allclose(again.rgb, rendering.rgb, atol=1e-5)  # no matter what it was rendered over


def test_the_ground_goes_on_behind_the_part(rendering):
    query = on_ground(rendering, stripes(), WHITE).rgb
    ground = filled(query, around(rendering))
    outside = rendering.alpha == 0
    assert np.mean(np.all(ground[outside] == query[outside], axis=1)) > 0.8  # all but the margin around it
    colours = {tuple(c) for c in stripes().reshape(-1, 3).round(3)}
    assert {tuple(c) for c in ground.reshape(-1, 3).round(3)} <= colours
    everywhere = replace(rendering, alpha=np.ones_like(rendering.alpha))
    np.testing.assert_array_equal(filled(query, around(everywhere)), query)


def test_a_pose_is_refined_over_a_foreign_ground_and_in_other_light(rendering):
    truth = orbit(7)[1]
    image = (on_ground(rendering, stripes(), WHITE).rgb * (0.75, 0.7, 0.8) * 255 + 0.5).astype(np.uint8)
    wrong = put_off(truth, 0.5, 0.003, np.random.default_rng(0))
    seen = as_seen(image, RENDERER.render(CAMERA.resized(64, 64), wrong), WHITE)
    refined = refine_pose(seen.image, CAMERA, wrong, seen.over(RENDERER.render))
    assert rotation_angle(refined.pose, truth) < 0.5 * rotation_angle(wrong, truth)
    assert refined.loss < 0.03
    plain = refine_pose(image, CAMERA, wrong, RENDERER.render)
    assert plain.loss > 2 * refined.loss
