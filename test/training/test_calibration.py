"""Calibration: good views give a finite scale and threshold, and no view is judged by its own photograph."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from judging import map_of
from model_factory import make_map, make_model
from published_networks import random_backbone
from splat_scenes import CAMERA, WHITE, box, orbit, photographs_of, put_off

from pad_ros.comparison.calibrated import CalibratedComparison
from pad_ros.comparison.recipe import RecipeComparison
from pad_ros.decision.calibration import Calibration
from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose, rotation_angle
from pad_ros.imaging.views import View
from pad_ros.inspector import Inspector
from pad_ros.localization.result import Localization
from pad_ros.methods.presets import load_method
from pad_ros.rendering.renderer import Renderer
from pad_ros.settings import ScoringSettings
from pad_ros.training.calibration import calibrate, carried_over, covered_angle, jittered, take_photographs
from pad_ros.verdicts import Reason

GAUSSIANS = box(800)
SCORING = ScoringSettings()


def noisy(view, seed):
    noise = np.random.default_rng(seed).normal(0, 3, view.image.shape)
    return replace(view, image=np.clip(view.image + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def views():
    return tuple(noisy(view, i) for i, view in enumerate(photographs_of(GAUSSIANS, 16)))


def model_of(views, gaussians=GAUSSIANS, background=WHITE, scoring=SCORING):
    """An uncalibrated model whose map has the views, though it finds none of them."""
    sfm_map = replace(make_map(len(views)), view_names=tuple(v.name for v in views), poses=tuple(v.pose for v in views))
    settings = {**load_method("pad").to_dict(), "scoring": asdict(scoring)}
    return replace(
        make_model(calibrated=False), settings=settings, camera=views[0].camera, background=background,
        sfm_map=sfm_map, gaussians=gaussians, photographs=take_photographs(gaussians, views, background, "cpu"),
    )  # fmt: skip


def calibrated(views, rate=0.1, scoring=SCORING, comparison=None, **model) -> Calibration:
    """Held-out views (every second) are found by refining a pose near their own."""

    def localize(inspector, query, prior=None):
        (view,) = (v for v in views if np.array_equal(v.image, query.image))
        verifier = inspector.cascade.strategies[0].verifier
        start = jittered(view.pose, 0.3, 0.004, np.random.default_rng(0))
        return verifier.judge(verifier.refine(query, start), Localization(None, Reason.NONE, ""))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inspector, "localize", localize)
        return calibrate(
            model_of(views, scoring=scoring, **model), views[::2], views[1::2], rate, comparison=comparison
        )


@pytest.fixture(scope="module")
def calibration(views):
    return calibrated(views)


def test_calibration_fits_the_model_and_is_sound(calibration):
    calibration.check(len(GAUSSIANS))
    assert calibration.state.features().shape == (800, 4)  # residuals of colour and gradients, rarity, glints
    assert len(calibration.scores) >= 8 and np.all(np.isfinite(calibration.scores)) and np.all(calibration.scores > 0)
    assert np.isfinite(calibration.threshold) and calibration.threshold > 0
    assert calibration.false_reject_rate == 0.1 and 0.1 <= calibration.promised_rate <= 1 / 9
    assert 0 < calibration.max_expected < 0.2
    # One pixel's evidence is bounded, but a defect can always exceed the threshold, by far.
    assert 10 <= calibration.state.max_evidence < np.inf
    assert calibration.state.max_evidence / calibration.scale >= 2 * calibration.threshold * (1 - 1e-6)


def test_good_images_stay_at_the_scale_of_calibration_and_a_patch_does_not(views, calibration):
    photographs = take_photographs(GAUSSIANS, views, WHITE, "cpu")
    renderer = Renderer(GAUSSIANS, WHITE, calibration.state.features(), "cpu", photographs, SCORING.photographs)
    for i, pose in enumerate(orbit(5)):
        rendering = renderer.render(CAMERA, pose)
        noise = np.random.default_rng(50 + i).normal(0, 3, (128, 128, 3))
        image = np.clip(Renderer(GAUSSIANS, WHITE).render(CAMERA, pose).rgb8 + noise, 0, 255).astype(np.uint8)
        good = map_of(image, rendering, calibration).values.max()
        image[60:70, 60:70] = (255, 0, 255)
        bad = map_of(image, rendering, calibration).values.max()
        assert good < 2 * calibration.threshold < bad


def test_the_same_seed_gives_the_same_calibration(views, calibration):
    again = calibrated(views)
    np.testing.assert_array_equal(again.scores, calibration.scores)
    np.testing.assert_array_equal(again.state.residual_mean, calibration.state.residual_mean)
    assert (again.threshold, again.scale) == (calibration.threshold, calibration.scale)
    assert again.state.deviation == calibration.state.deviation


def test_a_model_that_knows_little_can_still_reject(views):
    """Held-out views full of noise raise level and threshold; a defect of the strongest contrast stays above them."""
    rough = tuple(
        replace(v, image=np.random.default_rng(i).integers(0, 256, v.image.shape).astype(np.uint8)) if i % 4 == 1 else v
        for i, v in enumerate(views)
    )
    found = calibrated(rough)
    found.check(len(GAUSSIANS))
    assert found.state.max_evidence >= 10 and found.state.max_evidence / found.scale >= 2 * found.threshold * (1 - 1e-6)


def test_a_held_out_view_is_not_compared_with_its_own_photograph(views, calibration):
    """A stain on a held-out view is on its photograph too; forgiven by that, it would not raise the score."""
    stained = list(views)
    image = stained[5].image.copy()
    image[58:70, 58:70] = (255, 0, 255)
    stained[5] = replace(stained[5], image=image)
    found = calibrated(tuple(stained))
    assert found.scores.max() > 3 * calibration.scores.max()


def test_photographs_are_the_parts_window_with_its_depth(views):
    taken = take_photographs(GAUSSIANS, views[:2], WHITE, "cpu")
    for photograph, view in zip(taken, views, strict=False):
        assert photograph.name == view.name and photograph.pose is view.pose
        h, w = photograph.depth.shape
        assert photograph.image.shape == (h, w, 3) and (photograph.camera.width, photograph.camera.height) == (w, h)
        assert h < 128 and w < 128 and photograph.depth.dtype == np.float16
        x0, y0 = round(CAMERA.cx - photograph.camera.cx), round(CAMERA.cy - photograph.camera.cy)
        np.testing.assert_array_equal(photograph.image, view.image[y0 : y0 + h, x0 : x0 + w])
        inside = view.mask[y0 : y0 + h, x0 : x0 + w]
        assert inside.sum() == view.mask.sum()  # all of the part
        assert 3 < np.median(photograph.depth[inside]) < 4


def test_coverage_follows_the_gaps_between_views():
    views = photographs_of(box(100), 4)
    spread = tuple(replace(view, pose=pose) for view, pose in zip(views * 6, orbit(24), strict=True))
    assert covered_angle(spread, GAUSSIANS) < covered_angle(views, GAUSSIANS) <= np.pi
    centre = GAUSSIANS.centre
    directions = [(v.pose.centre - centre) / np.linalg.norm(v.pose.centre - centre) for v in spread]
    gaps = [max(np.dot(a, b) for b in directions if b is not a) for a in directions]
    assert covered_angle(spread, GAUSSIANS) >= np.arccos(min(gaps))


def test_jitter_is_small_centred_and_repeatable():
    pose = orbit(5)[2]
    moved = [jittered(pose, 0.3, 0.004, np.random.default_rng(seed)) for seed in range(300)]
    angles = np.degrees([rotation_angle(pose, m) for m in moved])
    assert 0.2 < np.sqrt(np.mean(angles**2)) < 0.4
    # The part's origin stays about where it was: the turn is about the part, not about the camera.
    shifts = np.array([m.translation - pose.translation for m in moved]) / np.linalg.norm(pose.centre)
    assert 0.003 < np.sqrt((shifts**2).sum(axis=1).mean()) < 0.005 and np.abs(shifts.mean(axis=0)).max() < 0.001
    again = jittered(pose, 0.3, 0.004, np.random.default_rng(7))
    np.testing.assert_array_equal(again.matrix, moved[7].matrix)
    np.testing.assert_allclose(jittered(pose, 0.0, 0.0, np.random.default_rng(0)).matrix, pose.matrix, atol=1e-12)
    assert rotation_angle(put_off(pose, 0.3, 0, np.random.default_rng(0)), pose) == pytest.approx(np.radians(0.3))


def test_views_that_the_part_fills_are_calibrated_too():
    """No pixel lies beside the part, as in photographs of a scene."""
    camera = Camera(96, 96, 400.0, 400.0, 48.0, 48.0)
    gaussians = box(6000)
    poses = [
        Pose.look_at(np.array([4.0, y, z]), np.zeros(3), np.array([0, 0, 1.0]))
        for y in (-0.5, 0, 0.5)
        for z in (-0.3, 0, 0.3)
    ]
    scene = Background(None, 0.0)
    renderer = Renderer(gaussians, scene)
    views = tuple(View(f"{i}.png", renderer.render(camera, pose).rgb8, camera, pose) for i, pose in enumerate(poses))
    assert all(renderer.render(camera, pose).alpha.min() > 0.5 for pose in poses)
    found = calibrated(views, gaussians=gaussians, background=scene)
    found.check(len(gaussians))
    assert np.isfinite(found.threshold)


def test_a_backbone_gives_a_second_cue_with_statistics_of_its_own(views):
    comparison = CalibratedComparison(SCORING, random_backbone())
    found = calibrated(views, comparison=comparison)
    found.check(len(GAUSSIANS))
    assert found.state.features().shape == (800, 4)
    assert found.state.channels == 2 and np.all(found.state.residual_mean.max(axis=0) > 0)


def test_the_recipe_knows_a_threshold_and_no_surface(views):
    scoring = ScoringSettings(comparison="recipe", backbone="mobilenet_v2", photographs=0, scales=(4.0,))
    found = calibrated(views, scoring=scoring, comparison=RecipeComparison(scoring, random_backbone()))
    found.check(len(GAUSSIANS))
    assert found.state.features().shape == (800, 0) and found.state.deviation == found.state.off_part == ()
    assert np.isfinite(found.threshold) and len(found.scores) == len(views)
    assert np.median(found.scores[:8]) == pytest.approx(1)  # of the held-out views


def test_a_model_that_learned_all_views_keeps_what_unseen_ones_have_shown(views):
    """Few views: the held-out ones are learned afterwards. What is normal is gathered anew, the threshold stays."""
    before = calibrated(views)
    better = GAUSSIANS.take(np.arange(len(GAUSSIANS)) % 10 > 0)  # other Gaussians, and fewer
    after = carried_over(before, model_of(views, better), views)
    assert len(after.state.residual_mean) == len(better)
    after.check(len(better))
    assert after.threshold == before.threshold and after.scale == before.scale and after.max_loss == before.max_loss
    np.testing.assert_array_equal(after.state.factors, before.state.factors)
    assert after.state.max_evidence == before.state.max_evidence
    # More views see each point: less is uncertain.
    assert np.median(after.state.rarity) < np.median(before.state.rarity)
