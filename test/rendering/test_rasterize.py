"""The rasterizer against a plain float64 implementation with autograd."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_rasterizer import rasterize as reference
from torch import Tensor

from pad_ros.compute.threads import kernel
from pad_ros.imaging.geometry import Pose
from pad_ros.imaging.rect import Rect
from pad_ros.rendering.rasterize import rasterization


@dataclass
class Scene:
    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmat: Tensor
    features: Tensor | None = None

    def to(self, dtype: torch.dtype, grad: bool = False) -> Scene:
        copies = {}
        for f in fields(self):
            value = getattr(self, f.name)
            copies[f.name] = None if value is None else value.detach().clone().to(dtype).requires_grad_(grad)
        return Scene(**copies)

    def gradients(self) -> dict[str, Tensor]:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: t.grad for name, t in tensors.items() if t is not None and t.grad is not None}


WIDTH, HEIGHT = 45, 37  # not multiples of the tile size
INTRINSICS = torch.tensor([[52.0, 0, 23.1], [0, 49.0, 17.3], [0, 0, 1]])
BACKGROUND = torch.tensor([0.9, 0.4, 0.1])


def make_scene(
    count: int = 120, degree: int | None = None, channels: int = 3, features: int = 0, seed: int = 0
) -> Scene:
    """Gaussians of mixed sizes and shapes around the origin, some of them near or beyond the border."""
    g = torch.Generator().manual_seed(seed)
    colors = torch.rand(count, channels, generator=g)
    if degree is not None:
        colors = 0.4 * torch.randn(count, (degree + 1) ** 2, 3, generator=g)
    centre = np.array([0.7, -1.6, 1.1])
    pose = Pose.look_at(centre, np.array([0.05, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), roll=0.3)
    return Scene(
        means=torch.randn(count, 3, generator=g) * 0.5,
        quats=torch.randn(count, 4, generator=g),
        scales=torch.exp(torch.randn(count, 3, generator=g) * 0.7 - 2.8),
        opacities=torch.rand(count, generator=g) * 0.95 + 0.02,
        colors=colors,
        viewmat=torch.tensor(pose.matrix).float(),
        features=torch.rand(count, features, generator=g) if features else None,
    )


def render(scene: Scene, **options: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
    arguments: dict[str, Any] = {"width": WIDTH, "height": HEIGHT} | options
    image, alpha, meta = rasterization(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, scene.viewmat[None], INTRINSICS[None],
        features=scene.features, **arguments,
    )  # fmt: skip
    return image[0], alpha[0], meta


def render_reference(scene: Scene, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    s = scene if scene.means.dtype == torch.float64 else scene.to(torch.float64)
    return reference(s.means, s.quats, s.scales, s.opacities, s.colors, s.viewmat, INTRINSICS.double(), WIDTH, HEIGHT,
                     features=s.features, **options)  # fmt: skip


def closeness(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-12))


@pytest.mark.parametrize("degree", [None, 0, 1, 2, 3])
def test_image_alpha_and_depth_agree_with_the_plain_implementation(degree: int | None) -> None:
    scene = make_scene(degree=degree)
    image, alpha, meta = render(scene, sh_degree=degree, backgrounds=BACKGROUND[None], render_mode="RGB+ED")
    expected, expected_alpha, depth = render_reference(scene, sh_degree=degree, background=BACKGROUND.double())
    assert image.shape == (HEIGHT, WIDTH, 4) and alpha.shape == (HEIGHT, WIDTH, 1)
    assert float((image[..., :3] - expected).abs().max()) < 2e-5
    assert float((alpha - expected_alpha).abs().max()) < 1e-5
    seen = expected_alpha > 1e-3
    assert float((image[..., 3:] - depth / expected_alpha)[seen].abs().max()) < 1e-4
    assert float(expected_alpha.max()) > 0.99 and float(expected_alpha.min()) < 0.2  # the scene tests something
    assert int((meta["radii"] > 0).all(-1).sum()) > 60


@pytest.mark.parametrize("degree", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("extra", [0, 2])
def test_gradients_of_all_inputs_agree_with_autograd(degree: int | None, extra: int) -> None:
    scene = make_scene(degree=degree, features=extra, seed=1)
    channels = 3 + extra
    background = torch.linspace(0.2, 0.8, channels)
    g = torch.Generator().manual_seed(5)
    v_image, v_alpha, v_depth = (torch.randn(HEIGHT, WIDTH, k, generator=g) for k in (channels, 1, 1))

    ours = scene.to(torch.float32, grad=True)
    back = background.clone().requires_grad_()
    image, alpha, _ = render(ours, sh_degree=degree, backgrounds=back[None], render_mode="RGB+ED")
    ((image * torch.cat([v_image, v_depth * (alpha.detach() > 0.1)], -1)).sum() + (alpha * v_alpha).sum()).backward()

    truth = scene.to(torch.float64, grad=True)
    true_back = background.double().requires_grad_()
    image64, alpha64, depth64 = render_reference(truth, sh_degree=degree, background=true_back)
    expected_depth = depth64 / alpha64.clamp(min=1e-10)
    loss = (image64 * v_image).sum() + (alpha64 * v_alpha).sum()
    (loss + (expected_depth * v_depth * (alpha.detach() > 0.1)).sum()).backward()

    found = ours.gradients() | {"background": back.grad}
    for name, gradient in (truth.gradients() | {"background": true_back.grad}).items():
        if name == "viewmat":
            gradient = gradient[:3]
            found[name] = found[name][:3]
        assert closeness(found[name], gradient) < 3e-4, name


def test_many_channels() -> None:
    scene = make_scene(channels=11)
    image, _, _ = render(scene)
    assert float((image - render_reference(scene)[0]).abs().max()) < 2e-5


def test_gradients_of_the_colours_alone() -> None:
    """They are sums of blending weights, which is how residuals are gathered per Gaussian."""
    scene = make_scene()
    scene.colors.requires_grad_()
    image, alpha, _ = render(scene)
    image.sum().backward()
    assert scene.colors.grad is not None
    torch.testing.assert_close(scene.colors.grad.sum(dim=0), alpha.sum().expand(3), rtol=1e-5, atol=1e-3)


def test_expected_depth_alone() -> None:
    scene = make_scene()
    both, _, _ = render(scene, render_mode="RGB+ED")
    depth, _, _ = render(scene, render_mode="ED")
    assert torch.equal(depth, both[..., 3:])


@pytest.mark.parametrize("window", [(0, 0, 20, 37), (17, 5, 33, 21), (31, 20, 45, 37), (44, 36, 45, 37)])
def test_a_window_equals_that_part_of_the_full_image(window: tuple[int, int, int, int]) -> None:
    rect = Rect(*window)
    scene = make_scene(degree=1).to(torch.float32)
    scene.means = scene.means * 1.6  # some beyond the clamp of the projection
    full, alpha, _ = render(scene, sh_degree=1, render_mode="RGB+ED")
    part, part_alpha, meta = render(scene, sh_degree=1, render_mode="RGB+ED", window=rect)
    w, h = rect.width, rect.height
    assert part.shape == (h, w, 4) and (meta["width"], meta["height"]) == (w, h)
    torch.testing.assert_close(part, full[rect.slices], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(part_alpha, alpha[rect.slices], atol=1e-5, rtol=1e-5)


def test_several_cameras_and_the_gradient_of_means2d() -> None:
    scene = make_scene().to(torch.float32, grad=True)
    other = make_scene(seed=3).viewmat.clone()
    other[2, 3] += 0.5
    views = torch.stack([scene.viewmat.detach(), other])
    image, _, meta = rasterization(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, views, INTRINSICS.expand(2, 3, 3),
        WIDTH, HEIGHT,
    )  # fmt: skip
    alone, _, _ = render(scene)
    assert torch.equal(image[0], alone)
    meta["means2d"].retain_grad()
    image.square().sum().backward()
    assert meta["means2d"].grad.shape == (2, 120, 2)
    assert float(meta["means2d"].grad.abs().max()) > 0
    assert not meta["means2d"].grad[meta["radii"][..., 0] == 0].any()


def test_the_same_input_gives_the_same_bits() -> None:
    results = []
    for _ in range(3):
        scene = make_scene(400, degree=2).to(torch.float32, grad=True)
        image, _, _ = render(scene, sh_degree=2)
        image.square().sum().backward()
        results.append([image.detach(), *scene.gradients().values()])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_nothing_to_see() -> None:
    empty = make_scene(0)
    image, alpha, _ = render(empty, backgrounds=BACKGROUND[None], render_mode="RGB+ED")
    assert (
        torch.equal(image[..., :3], BACKGROUND.expand(HEIGHT, WIDTH, 3)) and not alpha.any() and not image[..., 3].any()
    )

    behind = make_scene(50).to(torch.float32, grad=True)
    with torch.no_grad():
        behind.viewmat[2, :] *= -1
        behind.viewmat[0, :] *= -1
        behind.means *= 0.1
    image, alpha, meta = render(behind)
    image.sum().backward()
    assert not alpha.any() and not meta["radii"].any()
    assert not any(g.any() for g in behind.gradients().values())


def test_broken_gaussians_are_left_out() -> None:
    scene = make_scene(60)
    expected, _, _ = render(scene)
    bad = make_scene(8, seed=9)
    bad.means[0, 0] = float("nan")
    bad.scales[1, 0] = float("inf")
    bad.scales[2, 1] = float("nan")
    bad.quats[3, 0] = float("nan")
    bad.opacities[4] = float("nan")
    bad.opacities[5] = 0.0
    bad.means[6] = float("inf")
    bad.scales[7] = 1e20
    both = {f.name: torch.cat([getattr(scene, f.name), getattr(bad, f.name)]) for f in fields(Scene)
            if f.name not in ("viewmat", "features")}  # fmt: skip
    image, _, meta = render(Scene(**both, viewmat=scene.viewmat))
    assert torch.equal(image, expected)
    assert not meta["radii"][0, 60:].any()


def test_gaussians_from_tiny_to_wider_than_the_image() -> None:
    scene = make_scene(60)
    scene.scales[:20] = torch.tensor([1e-6, 1e-6, 1e-6])
    scene.scales[20:30] = torch.tensor([3.0, 1e-3, 0.02])  # needles across many tiles
    scene.scales[30:33] = 2.0
    scene.opacities[:5] = 1.0
    image, _, _ = render(scene)
    assert float((image - render_reference(scene)[0]).abs().max()) < 1e-4


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([1.0, 5.0, 15.0, 38.0]))
def test_garbage_never_crashes(seed: int, spread: float) -> None:
    """Magnitudes from 10^-spread to 10^spread, with NaN and infinity among them."""
    rng = np.random.default_rng(seed)
    scene = make_scene(200, degree=1).to(torch.float32)
    for f in fields(Scene)[:4]:
        values = getattr(scene, f.name)
        wild = 10.0 ** rng.uniform(-spread, spread, tuple(values.shape)) * rng.choice(
            [-1, 1, 1, 1], tuple(values.shape)
        )
        wild[rng.random(wild.shape) < 0.02] = rng.choice([np.nan, np.inf, -np.inf, 0.0])
        touched = rng.random(wild.shape) < 0.5
        values[touched] = torch.from_numpy(wild.astype(np.float32))[touched]
    scene = scene.to(torch.float32, grad=True)
    image, alpha, _ = render(scene, sh_degree=1, render_mode="RGB+ED")
    (image.sum() + alpha.sum()).backward()
    assert bool(((alpha >= 0) & (alpha <= 1)).all())


def test_several_threads_may_render_at_once() -> None:
    scenes = [make_scene(300, seed=seed) for seed in range(4)]
    expected = [render(scene)[0] for scene in scenes]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            images = list(pool.map(lambda scene: render(scene)[0], scenes))
            assert all(torch.equal(a, b) for a, b in zip(images, expected, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
def test_a_forked_process_can_use_the_threads() -> None:
    """In an interpreter of its own: the threads of other tests' libraries may hold locks while one forks."""
    code = (
        "import os\n"
        "from pad_ros.compute.threads import for_each\n"
        "def work():\n"
        "    done = []\n"
        "    for_each(done.append, 50)\n"
        "    return sorted(done) == list(range(50))\n"
        "assert work()\n"  # the thread pool exists from here on
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if work() else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_kernels_work_where_nothing_can_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available for file")
        return original(**options)

    original = numba.njit
    monkeypatch.setattr(numba, "njit", refuse)
    assert kernel(lambda x: x + 1)(1) == 2


def test_wrong_shapes_are_refused() -> None:
    scene = make_scene(10)
    for changes in (
        {"sh_degree": 1},
        {"render_mode": "D"},
        {"window": Rect(30, 0, 50, 20)},
        {"backgrounds": torch.zeros(1, 4)},
    ):
        with pytest.raises(ValueError):
            render(scene, **changes)


@pytest.mark.gpu
@pytest.mark.parametrize("degree", [None, 3])
def test_agrees_with_gsplat_on_cuda(degree: int | None) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("gsplat", reason="gsplat is not installed")
    results = []
    for device in ("cpu", "cuda"):
        scene = make_scene(400, degree=degree, features=2)
        scene = Scene(**{f.name: getattr(scene, f.name).to(device).requires_grad_() for f in fields(Scene)})
        image, alpha, meta = rasterization(
            scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, scene.viewmat[None],
            INTRINSICS[None].to(device), WIDTH, HEIGHT, sh_degree=degree, features=scene.features,
            render_mode="RGB+ED", window=Rect(7, 3, 37, 33),
        )  # fmt: skip
        meta["means2d"].retain_grad()
        (image[..., :5].square().sum() + alpha.sum()).backward()
        gradients = scene.gradients()
        results.append([image.detach(), alpha.detach(), *(gradients[k] for k in sorted(gradients))])
    for ours, theirs in zip(*results, strict=True):
        assert closeness(ours, theirs.cpu()) < 1e-3
