"""The renderer: window, background, depth, features, and the choice of photographs and device."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from splat_scenes import CAMERA, DISTANCE, WHITE, box, orbit, photographs_of

from pad_ros.errors import InputError, MissingDependencyError
from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.rendering.device import resolve_device
from pad_ros.rendering.photographs import NEIGHBOURS, Photograph
from pad_ros.rendering.rasterize import rasterization
from pad_ros.rendering.renderer import Renderer
from pad_ros.rendering.tensors import GaussianTensors

AWAY = Pose.look_at(np.array([DISTANCE, 0, 0]), np.array([2 * DISTANCE, 0, 0]), np.array([0, 0, 1.0]))
BLUE = Background((20.0, 40.0, 200.0), 10.0)


@pytest.fixture(scope="module")
def gaussians():
    return box()


def test_the_window_renders_what_the_full_frame_would(gaussians):
    pose = orbit(5)[1]
    rendering = Renderer(gaussians, BLUE).render(CAMERA, pose)
    g = GaussianTensors.of(gaussians, "cpu")
    image, alpha, _ = rasterization(
        g.means, g.quats, g.scales, g.opacities, g.sh,
        torch.from_numpy(pose.matrix.astype(np.float32))[None], torch.from_numpy(CAMERA.K.astype(np.float32))[None],
        CAMERA.width, CAMERA.height, sh_degree=0, backgrounds=torch.tensor([BLUE.rgb01]), render_mode="RGB+ED",
    )  # fmt: skip
    np.testing.assert_allclose(rendering.rgb, image[0, ..., :3].clamp(0, 1).numpy(), atol=1e-2)
    np.testing.assert_allclose(rendering.alpha, alpha[0, ..., 0].numpy(), atol=3e-2)  # faint tails are cut
    on_part = rendering.alpha > 0.5
    np.testing.assert_allclose(rendering.depth[on_part], image[0, ..., -1].numpy()[on_part], rtol=1e-3)
    assert 0.05 < on_part.mean() < 0.8
    assert rendering.rgb[0, 0] == pytest.approx(np.array(BLUE.rgb01))


def test_depth_is_that_of_the_surface():
    pose = Pose.look_at(np.array([DISTANCE, 0, 0]), np.zeros(3), np.array([0, 0, 1.0]))
    rendering = Renderer(box(4000), WHITE).render(CAMERA, pose)
    centre = rendering.depth[58:70, 58:70][rendering.alpha[58:70, 58:70] > 0.9]
    assert np.median(centre) == pytest.approx(DISTANCE - 0.7, abs=0.03)  # the box's face
    assert rendering.depth[0, 0] == 0


def test_features_are_blended_like_colours(gaussians):
    features = np.stack([np.ones(len(gaussians)), np.linspace(0, 2, len(gaussians))], axis=1).astype(np.float32)
    pose = orbit(5)[2]
    plain, with_features = Renderer(gaussians, WHITE), Renderer(gaussians, WHITE, features)
    rendering = with_features.render(CAMERA, pose)
    assert rendering.features.shape == (128, 128, 2)
    np.testing.assert_allclose(rendering.features[..., 0], rendering.alpha, atol=1e-5)
    assert rendering.features[..., 1].max() <= 2 + 1e-5 and rendering.features[0, 0].max() == 0
    np.testing.assert_allclose(plain.render(CAMERA, pose).rgb, rendering.rgb, atol=1e-6)
    assert plain.render(CAMERA, pose).features.shape == (128, 128, 0)


def test_out_of_sight_there_is_only_background(gaussians):
    renderer = Renderer(gaussians, BLUE)
    assert renderer.window(CAMERA, AWAY) is None
    rendering = renderer.render(CAMERA, AWAY)
    assert np.all(rendering.rgb == np.float32(BLUE.rgb01)) and not rendering.alpha.any() and not rendering.depth.any()
    np.testing.assert_allclose(rendering.rgb8[0, 0], BLUE.colour, atol=1)


def test_a_part_that_leaves_the_image_is_cut(gaussians):
    renderer = Renderer(gaussians, WHITE)
    full = renderer.render(CAMERA, orbit(5)[0])
    left = Camera(64, 128, CAMERA.fx, CAMERA.fy, CAMERA.cx, CAMERA.cy)
    x0, y0, x1, y1 = renderer.window(left, orbit(5)[0])
    assert x0 >= 0 and y0 >= 0 and x1 <= 64 and y1 <= 128
    np.testing.assert_allclose(renderer.render(left, orbit(5)[0]).alpha, full.alpha[:, :64], atol=2e-2)


def test_the_tip_of_something_thin_is_not_cut_off(gaussians):
    """A rod of few Gaussians beside thousands: all of it is in the window."""
    many, rod = gaussians.take(np.arange(2000) % len(gaussians)), gaussians.take(np.arange(1))
    pose = orbit(5)[0]
    tip = pose.inverse().transform(CAMERA.rays(np.array([[120.5, 64.5]])) * pose.translation[2])[0]
    together = replace(
        many, **{name: np.concatenate([getattr(many, name), getattr(rod, name)])
                 for name in ("quats", "scales", "opacities", "sh")},
        means=np.concatenate([many.means, tip[None].astype(np.float32)]),
    )  # fmt: skip
    u, v = CAMERA.project(pose.transform(tip[None]))[0]
    all_of_it, alone = (Renderer(g, WHITE).window(CAMERA, pose) for g in (together, many))
    assert alone.x1 < u < all_of_it.x1 and all_of_it.y0 < v < all_of_it.y1


def test_from_inside_the_part_nothing_breaks(gaussians):
    inside = Pose.look_at(np.array([0.1, 0, 0]), np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    rendering = Renderer(gaussians, WHITE).render(CAMERA, inside)
    assert all(np.all(np.isfinite(x)) for x in (rendering.rgb, rendering.alpha, rendering.depth))


def test_a_scene_without_background_is_rendered_on_black(gaussians):
    rendering = Renderer(gaussians, Background(None, 0.0)).render(CAMERA, orbit(5)[0])
    assert not rendering.rgb[0, 0].any()


def test_photographs_of_the_nearest_views_come_with_the_rendering(gaussians):
    views = photographs_of(gaussians, 8)
    plain = Renderer(gaussians, WHITE)
    photographs = tuple(
        Photograph(v.name, v.image, plain.render(CAMERA, v.pose).depth.astype(np.float16), CAMERA, v.pose)
        for v in views
    )
    renderer = Renderer(gaussians, WHITE, None, "cpu", photographs, 2)
    own = views[3]
    rendering = renderer.render(CAMERA, own.pose)
    assert rendering.photographs.shape == (2, 128, 128, 3) and rendering.seen.shape == (2, 128, 128)
    seen = rendering.seen[0]
    assert seen.sum() > 0.7 * (rendering.alpha > 0.5).sum()  # its own photograph is the nearest one
    np.testing.assert_allclose(rendering.photographs[0][seen].astype(int), own.image[seen].astype(int), atol=1)
    without = renderer.render(CAMERA, own.pose, without=own.name)
    assert without.photographs.shape[0] == 2 and without.seen[0].sum() < seen.sum()
    assert plain.render(CAMERA, own.pose).photographs.shape[0] == 0


def test_where_a_photograph_contradicts_the_rendering_others_count_though_their_depth_differs(gaussians):
    plain, pose = Renderer(gaussians, WHITE), orbit(5)[0]
    shown = plain.render(CAMERA, pose)
    painted = shown.rgb8
    painted[60:66, 60:66] = 255 - painted[60:66, 60:66]
    off = Photograph("off", shown.rgb8, (1.03 * shown.depth).astype(np.float16), CAMERA, pose)
    seen = []
    for image in (shown.rgb8, painted):
        first = Photograph("first", image, shown.depth.astype(np.float16), CAMERA, pose)
        seen.append(Renderer(gaussians, WHITE, None, "cpu", [first, *[off] * NEIGHBOURS], 2).render(CAMERA, pose).seen)
    assert np.array_equal(seen[0][0], seen[1][0])
    more = seen[1][1] & ~seen[0][1]
    assert seen[1][1][61:65, 61:65].all() and more.sum() > 16
    assert not more[:55].any() and not more[:, 72:].any()


# --- device ---


def test_unknown_devices_are_refused():
    for name in ("gpu", "", "cuda:1"):
        with pytest.raises(InputError, match="auto, cpu or cuda"):
            resolve_device(name)


def test_without_cuda_the_cpu_serves_unless_cuda_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("cpu") == resolve_device("auto") == "cpu"
    with pytest.raises(MissingDependencyError, match="no CUDA device"):
        resolve_device("cuda")


def test_without_gsplat_a_gpu_is_not_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("pad_ros.rendering.device.find_spec", lambda name: None)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(MissingDependencyError, match="gsplat"):
        resolve_device("cuda")


def test_a_machine_without_a_driver_needs_no_torch(monkeypatch):
    """Loading torch takes longer than loading a model."""
    monkeypatch.setattr("pad_ros.rendering.device.find_spec", lambda name: object())
    monkeypatch.setattr("pad_ros.rendering.device._driver", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked torch"))
    assert resolve_device("auto") == "cpu"
