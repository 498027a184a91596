"""The fit: it comes closer to the photographs, is repeatable, keeps to its bounds, and can be interrupted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from splat_scenes import CAMERA, WHITE, arrays, box, photographs_of

from pad_ros.compute.threads import only_our_threads
from pad_ros.imaging.background import Background
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.rendering.tensors import GaussianTensors
from pad_ros.settings import SplattingSettings
from pad_ros.training import splatting, train_views
from pad_ros.training.initialise import initial_gaussians
from pad_ros.training.splatting import fit_gaussians, rendering_quality

FOREVER = float("inf")  # so that the number of steps alone decides
SETTINGS = SplattingSettings(gaussians=400, steps=120, sh_degree=1, relocate_every=40)


@pytest.fixture(scope="module", autouse=True)
def as_in_training():
    with only_our_threads():
        yield


@pytest.fixture(scope="module")
def views():
    return photographs_of(box(600), 9)


@pytest.fixture(scope="module")
def start(views):
    surface = box(600, seed=1).means.astype(np.float64)
    colours = np.full((600, 3), 128, np.uint8)
    return initial_gaussians(views, surface, colours, SETTINGS.gaussians, 1, np.random.default_rng(0))


def same(a: Gaussians, b: Gaussians) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(arrays(a), arrays(b), strict=True))


def test_the_fit_comes_closer_also_on_views_that_it_has_not_seen(views, start):
    fitted, held_out = views[1:], views[:1]
    before = rendering_quality(start, fitted, WHITE)
    found = fit_gaussians(start, fitted, WHITE, SETTINGS, FOREVER)
    after = rendering_quality(found, fitted, WHITE)
    assert after.psnr > before.psnr + 2 and after.ssim > before.ssim and after.views == 8
    unseen = rendering_quality(found, held_out, WHITE)
    assert unseen.psnr > rendering_quality(start, held_out, WHITE).psnr + 1
    assert unseen.psnr_part < unseen.psnr  # the background is easy
    assert 0 < len(found) <= len(start) and found.sh_degree == 1
    assert all(np.isfinite(x).all() for x in arrays(found))
    assert float(found.scales.min()) > 0 and found.means.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.quats, axis=1), 1, atol=1e-5)


def test_large_views_are_fitted_coarsely_first(views, start, monkeypatch):
    """Small windows first, then larger, then whole ones; the result is good at full size."""
    rendered = []
    render = train_views.TrainView.render

    def watched(view, *arguments):
        rendered.append(view.window.area)
        return render(view, *arguments)

    monkeypatch.setattr(train_views.TrainView, "render", watched)
    monkeypatch.setattr(splatting, "FIRST_PIXELS", 1000)
    monkeypatch.setattr(splatting, "COARSE_PIXELS", 2000)
    found = fit_gaussians(start, views, WHITE, SETTINGS, FOREVER)
    first, coarse, whole = rendered[:36], rendered[36:60], rendered[60:]
    assert np.median(first) < 0.7 * np.median(coarse) < 0.7 * 0.7 * np.median(whole)
    monkeypatch.undo()
    assert rendering_quality(found, views, WHITE).psnr > rendering_quality(start, views, WHITE).psnr + 2


def test_what_no_view_shows_much_of_is_dropped_before_the_last_steps(views, start):
    whole = fit_gaussians(start, views, WHITE, replace(SETTINGS, kept=1.0), FOREVER)
    half = fit_gaussians(start, views, WHITE, replace(SETTINGS, kept=0.5), FOREVER)
    assert len(half) <= 0.5 * len(start) < len(whole)
    quality = [rendering_quality(found, views, WHITE).psnr for found in (start, half, whole)]
    assert quality[0] + 2 < quality[1] and quality[2] - 1.5 < quality[1]


def test_the_most_seen_are_those_that_fill_most_pixels(views):
    part = box(600)
    shown = part.opacities.copy()
    shown[::3] = 0.005  # below what a pixel takes up
    windows = [train_views.TrainView.of(view, 8, "cpu") for view in views]
    faint = GaussianTensors.of(replace(part, opacities=shown), "cpu")
    chosen = train_views.most_seen(faint, windows, 0.4).numpy()
    assert len(chosen) == 240 and (np.diff(chosen) > 0).all() and (chosen % 3 != 0).all()


def test_a_view_shrinks_with_its_camera_and_mask(views):
    small = train_views.shrunk(views[0], 0.5)
    assert small.image.shape == (64, 64, 3) and small.mask.shape == (64, 64) and small.mask.dtype == bool
    assert (small.camera.width, small.camera.fx) == (64, CAMERA.fx / 2)
    assert abs(4 * small.mask.sum() - views[0].mask.sum()) < 0.1 * views[0].mask.sum()


def test_the_same_seed_gives_the_same_gaussians(views, start):
    settings = replace(SETTINGS, steps=50, relocate_every=20)
    first, second, other = (fit_gaussians(start, views, WHITE, settings, FOREVER, seed=seed) for seed in (1, 1, 2))
    assert same(first, second)
    assert not (len(first) == len(other) and same(first, other))


def test_the_start_is_left_as_it_was(views, start):
    copies = [x.copy() for x in arrays(start)]
    fit_gaussians(start, views, WHITE, replace(SETTINGS, steps=5), FOREVER)
    assert all(np.array_equal(x, y) for x, y in zip(arrays(start), copies, strict=True))


def test_time_that_is_up_ends_the_fit(views, start):
    endless = replace(SETTINGS, steps=10**9)
    found = fit_gaussians(start, views, WHITE, endless, 0.5)
    assert len(found) > 0


def test_few_views_are_fitted_in_fewer_steps(views, start, monkeypatch):
    """Else they are learned by heart, and score far lower than a query would."""
    steps = []
    step = splatting._Fit.step
    monkeypatch.setattr(splatting._Fit, "step", lambda fit, share: steps.append(share) or step(fit, share))
    monkeypatch.setattr(splatting, "STEPS_PER_VIEW", 5)
    fit_gaussians(start, views[:4], WHITE, SETTINGS, FOREVER)
    assert len(steps) == 20 and steps[-1] == pytest.approx(0.95)


def test_of_few_views_gaussians_fade_faster(views, start, monkeypatch):
    faded = fit_gaussians(start, views[:8], WHITE, replace(SETTINGS, steps=60), FOREVER)
    monkeypatch.setattr(splatting, "FADING_VIEWS", 0.0)
    usual = fit_gaussians(start, views[:8], WHITE, replace(SETTINGS, steps=60), FOREVER)
    assert faded.opacities.sum() < usual.opacities.sum()


def test_views_of_a_scene_without_silhouettes_are_fitted_too(start):
    plain = Background(None, 0.0)
    views = tuple(replace(view, mask=None) for view in photographs_of(box(600), 4))
    before = rendering_quality(start, views, plain)
    found = fit_gaussians(start, views, plain, replace(SETTINGS, steps=40), FOREVER)
    assert rendering_quality(found, views, plain).psnr > before.psnr


def test_a_view_that_shows_no_part_does_no_harm(views, start):
    empty = replace(
        views[0], image=np.full((128, 128, 3), 255, np.uint8), mask=np.zeros((CAMERA.height, CAMERA.width), bool)
    )
    found = fit_gaussians(start, (*views[:3], empty), WHITE, replace(SETTINGS, steps=30), FOREVER)
    assert all(np.isfinite(x).all() for x in arrays(found))


def test_an_interrupt_ends_the_fit_at_once(views, start, monkeypatch):
    calls = 0
    right = splatting.photometric_gradient

    def interrupted(*arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return right(*arguments)

    monkeypatch.setattr(splatting, "photometric_gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_gaussians(start, views, WHITE, SETTINGS, FOREVER)
    assert calls == 3


def test_quality_of_a_perfect_model(views):
    quality = rendering_quality(box(600), views, WHITE)
    assert quality.psnr > 45 and quality.psnr_part > 40 and quality.ssim > 0.99


def test_views_rendered_jointly_are_what_each_is_alone(views, start):
    train = [train_views.TrainView.of(view, 8, "cpu") for view in views[:3]]
    gaussians = GaussianTensors.of(start, "cpu")
    alone, jointly = (train_views.render_together(train, gaussians, torch.zeros(1, 3), 1, how) for how in (False, True))
    for (rgb, alpha), (other, its_alpha) in zip(alone, jointly, strict=True):
        assert rgb.shape == other.shape
        assert float((other - rgb).abs().mean()) < 1e-6 and float((its_alpha - alpha).abs().mean()) < 1e-6
        np.testing.assert_allclose(other, rgb, atol=1 / 255)  # what just reaches alpha 1/255, or just does not


def test_steps_of_several_views_lead_as_far(views, start, monkeypatch):
    one = rendering_quality(fit_gaussians(start, views, WHITE, SETTINGS, FOREVER), views, WHITE)
    monkeypatch.setattr(splatting, "_views_per_step", lambda views, device: 4)
    several = rendering_quality(fit_gaussians(start, views, WHITE, SETTINGS, FOREVER), views, WHITE)
    assert several.psnr > one.psnr - 1
    assert several.psnr > rendering_quality(start, views, WHITE).psnr + 2


def test_the_result_is_the_mean_of_the_last_steps(views, start, monkeypatch):
    seen = []
    average = splatting._Parameters.average

    def noted(self):
        average(self)
        seen.append([value.detach().clone() for value in self._values()])

    monkeypatch.setattr(splatting._Parameters, "average", noted)
    found = fit_gaussians(start, views, WHITE, SETTINGS, FOREVER)
    assert len(seen) == 12  # a tenth of the steps
    means = torch.stack([values[0] for values in seen]).mean(dim=0).numpy()
    opacities = torch.sigmoid(torch.stack([values[3] for values in seen]).mean(dim=0)).numpy()
    np.testing.assert_allclose(found.means, means[opacities > splatting.DEAD_OPACITY], atol=1e-5)


def test_without_time_to_settle_the_last_step_is_the_result(views, start):
    settings = replace(SETTINGS, relocate_until=1.0)  # Gaussians are moved to the end, so there is no mean of them
    found = fit_gaussians(start, views, WHITE, settings, FOREVER)
    assert rendering_quality(found, views, WHITE).psnr > rendering_quality(start, views, WHITE).psnr + 2


def test_gaussians_are_added_after_the_first_stage(views, start, monkeypatch):
    counts = []
    parameters = splatting._Parameters.gaussians

    def counted(self):
        found = parameters(self)
        counts.append(len(found.means))
        return found

    monkeypatch.setattr(splatting._Parameters, "gaussians", counted)
    settings = replace(SETTINGS, gaussians=900, kept=1.0)
    found = fit_gaussians(start, views, WHITE, settings, FOREVER)
    assert counts[30] == len(start) == 400 and counts[60] == 900
    assert all(np.isfinite(x).all() for x in arrays(found))
    assert rendering_quality(found, views, WHITE).psnr > rendering_quality(start, views, WHITE).psnr + 2
    assert settings.starting == 900 and replace(settings, first_gaussians=300).starting == 300
