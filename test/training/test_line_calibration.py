"""Calibration on a line: normal variation is forgiven where good units show it and nowhere else; the threshold fits."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from splat_scenes import CAMERA, WHITE, orbit, photographs_of
from test_calibration import GAUSSIANS, calibrated, model_of, noisy

from pad_ros.errors import ImageError, InputError
from pad_ros.inspector import Inspector
from pad_ros.io.good_images import GoodImage
from pad_ros.localization.result import Localization
from pad_ros.rendering.renderer import Renderer
from pad_ros.training import line_calibration
from pad_ros.training.calibration import jittered
from pad_ros.training.line_calibration import MIN_UNITS, calibrate_on_line, report
from pad_ros.verdicts import Reason, Verdict

RENDERER = Renderer(GAUSSIANS, WHITE)
POSES = orbit(24)
NOISE = 3  # grey levels


@dataclass(frozen=True)
class Images:
    """As from a folder."""

    images: tuple[GoodImage, ...]
    source: str = "memory"

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        return iter(self.images)


def picture(i, gaussians=GAUSSIANS, noise=NOISE):
    shown = Renderer(gaussians, WHITE).render(CAMERA, POSES[i]).rgb8
    return np.clip(shown + np.random.default_rng([1, i]).normal(0, noise, shown.shape), 0, 255).astype(np.uint8)


def unit(i, image, name=None, taken=0):
    return GoodImage(f"{i}.png", name or f"unit {i}", 1_700_000_000 * 10**9 + taken, image)


@pytest.fixture(scope="module")
def model():
    views = tuple(noisy(view, i) for i, view in enumerate(photographs_of(GAUSSIANS, 16)))
    return replace(model_of(views), calibration=calibrated(views, rate=0.05), hash="0" * 64)


@pytest.fixture(autouse=True)
def localized(monkeypatch):
    """Each image is found by its number, near its pose; one without content is not found."""

    def localize(self, query, prior=None):
        if query.contrast < 1:
            return Localization(None, Reason.NO_CONTENT, "a uniform image")
        errors = [np.abs(RENDERER.render(CAMERA, pose).rgb8.astype(int) - query.image).mean() for pose in POSES]
        start = jittered(POSES[int(np.argmin(errors))], 0.1, 0.001, np.random.default_rng(0))
        verifier = self.cascade.strategies[0].verifier
        return verifier.judge(verifier.refine(query, start), Localization(None, Reason.NONE, ""))

    monkeypatch.setattr(Inspector, "localize", localize)


def recoloured(seed):
    """A unit whose one corner has another colour, as a label may."""
    rng = np.random.default_rng([7, seed])
    sh = GAUSSIANS.sh.copy()
    corner = np.all(GAUSSIANS.means > (0.2, 0.1, 0.0), axis=1)
    sh[corner] += rng.normal(0, 0.35, (int(corner.sum()), 1, 3)).astype(np.float32)
    return replace(GAUSSIANS, sh=sh)


def scores(model, images):
    return np.array([Inspector(model, "cpu").inspect(image).score for image in images])


def test_noise_of_the_line_is_learned(model):
    """A camera that is three times as noisy: no pose is trusted before, and good parts score as usual after."""
    noisy_line = [picture(i, noise=9) for i in range(24)]
    found = calibrate_on_line(model, Images(tuple(unit(i, noisy_line[i]) for i in range(12))))
    before, after = scores(model, noisy_line[12:]), scores(found.model, noisy_line[12:])
    assert np.all(np.isnan(before))
    assert 0.6 < np.median(after) < 1.5 and np.all(after < found.model.calibration.threshold)
    found.model.calibration.check(len(GAUSSIANS))


def test_what_good_units_differ_in_is_forgiven_there_and_nowhere_else(model):
    varied = Images(tuple(unit(i, picture(i, recoloured(i))) for i in range(0, 24, 2)))
    found = calibrate_on_line(model, varied)
    fresh = [picture(i, recoloured(100 + i)) for i in range(1, 24, 4)]
    before, after = scores(model, fresh), scores(found.model, fresh)
    assert np.median(after) < 0.6 * np.median(before)
    corner = np.all(GAUSSIANS.means > (0.2, 0.1, 0.0), axis=1)
    variation = found.model.calibration.state.variation
    assert variation[corner].mean() > 2 and np.median(variation[~corner]) == pytest.approx(1, abs=0.01)
    stained = picture(1)
    stained[60:70, 60:70] = (255, 0, 255)
    inspection = Inspector(found.model, "cpu").inspect(stained)
    assert inspection.verdict is Verdict.REJECT


def test_the_same_images_give_the_same_model_and_the_old_one_is_untouched(model, tmp_path):
    images = Images(tuple(unit(i, picture(i), taken=i) for i in range(8)))
    before = model.calibration.to_parts()
    first, second = (calibrate_on_line(model, images).model for _ in range(2))
    assert first.save(tmp_path / "a").hash == second.save(tmp_path / "b").hash
    for old, now in zip(before, model.calibration.to_parts(), strict=True):
        assert str(old) == str(now)
    (entry,) = first.training["line_calibrations"]
    assert (entry["units"], entry["images"], entry["left_out"]) == (8, 8, 0)
    assert entry["newest_image"] == "2023-11-14T22:13:20+00:00" and entry["before"]["model"] == "0" * 64
    twice = calibrate_on_line(first, images).model
    assert len(twice.training["line_calibrations"]) == 2
    np.testing.assert_array_equal(twice.calibration.reference_scores, model.calibration.scores)


def shadowed(gaussians=GAUSSIANS):
    """The part where one side of it receives less than half of the light."""
    sh = gaussians.sh.copy()
    side = gaussians.means[:, 0] > 0.1
    colour = 0.5 + 0.28209479 * sh[side, 0]  # of spherical harmonics of degree 0
    sh[side, 0] = (0.65 * colour - 0.5) / 0.28209479
    return replace(gaussians, sh=sh)


def test_light_of_the_line_is_learned_where_all_units_show_it(model):
    images = Images(tuple(unit(i, picture(i, shadowed())) for i in range(0, 24, 2)))
    found = calibrate_on_line(model, images, trust=True)
    state = found.model.calibration.state
    assert state.light_channels == 2 and found.model.training["line_calibrations"][-1]["light"]
    assert any("light of this line" in " ".join(line.split()) for line in report(found, model))
    fresh = [picture(i, shadowed()) for i in range(1, 24, 4)]
    known = Inspector(replace(found.model, calibration=replace(found.model.calibration, scale=1.0)), "cpu")
    unknown = Inspector(replace(model, calibration=replace(model.calibration, scale=1.0, max_loss=1.0)), "cpu")
    before, after = (np.array([i.inspect(image).score for image in fresh]) for i in (unknown, known))
    assert np.median(after) < 0.5 * np.median(before)
    again = calibrate_on_line(found.model, images, trust=True)  # it is known by now
    assert again.model.calibration.state.light_channels == 2


def test_no_light_is_learned_where_it_is_as_it_was(model):
    found = calibrate_on_line(model, Images(tuple(unit(i, picture(i)) for i in range(10))))
    assert found.model.calibration.state.light_channels == 0
    assert not found.model.training["line_calibrations"][-1]["light"]


def test_units_count_not_images(model):
    images = Images(tuple(unit(i, picture(i), name=f"unit {i // 2}") for i in range(12)))
    found = calibrate_on_line(model, images, false_reject_rate=0.1)
    assert len(found.units) == len(found.model.calibration.scores) == 6 and found.images == 12
    assert found.model.calibration.false_reject_rate == 0.1
    text = "\n".join(report(found, model))
    assert "12 images of 6 good units" in text and "95 % confidence" in text and "29 good units" in text


def test_images_that_cannot_teach_are_left_out_with_the_reason(model):
    broken = GoodImage("cut.png", "cut", 0, ImageError("cut.png: damaged"))
    empty = unit(20, np.full((128, 128, 3), 255, np.uint8))
    defective = picture(9)
    defective[55:75, 55:75] = (255, 0, 255)
    good = [unit(i, picture(i)) for i in range(8)]
    images = Images((broken, empty, *good, unit(9, defective)))
    found = calibrate_on_line(model, images)
    why = {image.name: image.why for image in found.left_out}
    assert set(why) == {"cut.png", "20.png", "9.png"}
    assert "damaged" in why["cut.png"] and "NO_CONTENT" in why["20.png"] and "looks defective" in why["9.png"]
    assert found.left_out[-1].inspection.score > 3 and len(found.units) == 8
    trusted = calibrate_on_line(model, images, trust=True)
    assert len(trusted.units) == 9 and {image.name for image in trusted.left_out} == {"cut.png", "20.png"}


def test_what_stands_out_only_by_what_the_others_taught_is_left_out_as_well(model, monkeypatch):
    """Where all good units differ from the reference views, the first look tells no defect from them."""
    monkeypatch.setattr(line_calibration, "_far_from_others", lambda scores: np.inf)
    defective = picture(9)
    defective[55:75, 55:75] = (255, 0, 255)
    images = Images((*[unit(i, picture(i)) for i in range(8)], unit(9, defective)))
    found = calibrate_on_line(model, images)
    assert [image.name for image in found.left_out] == ["9.png"] and "looks defective" in found.left_out[0].why
    without = calibrate_on_line(model, Images(images.images[:8])).model.calibration
    np.testing.assert_array_equal(found.model.calibration.scores, without.scores)
    assert found.model.calibration.threshold == without.threshold
    trusted = calibrate_on_line(model, images, trust=True)
    assert not trusted.left_out and trusted.model.calibration.threshold > 2 * without.threshold


def test_a_pose_of_more_loss_is_asked_for_only_where_there_is_no_other(model, monkeypatch):
    """The first such pose would count before the right one is looked for."""
    found, loose = Inspector.localize, []

    def localize(self, query, prior=None):
        localization = found(self, query, prior)
        if self.model.calibration.max_loss > model.calibration.max_loss:
            loose.append(localization)
        elif np.array_equal(query.image, weak):
            return Localization(None, Reason.WEAK_POSE, "it explains the image badly")
        return localization

    weak = picture(3)
    monkeypatch.setattr(Inspector, "localize", localize)
    calibration = calibrate_on_line(model, Images(tuple(unit(i, picture(i)) for i in range(8))))
    assert len(loose) == 1 and calibration.images == 8 and not calibration.left_out


def test_an_image_that_can_no_longer_be_read_ends_it_in_words(model):
    good = tuple(unit(i, picture(i)) for i in range(6))

    class Vanishing(Images):
        def __iter__(self):
            times.append(1)
            lost = replace(good[0], image=ImageError("0.png: no such file"))
            return iter(good if len(times) == 1 else (lost, *good[1:]))

    times = []
    with pytest.raises(ImageError, match="0.png: no such file"):
        calibrate_on_line(model, Vanishing(good))


def test_reference_views_teach_nothing(model):
    """The model has learned them: each would score far below any other good part, and the threshold would follow."""
    views = [noisy(view, i) for i, view in enumerate(photographs_of(GAUSSIANS, 16))]
    with pytest.raises(InputError, match="0 good units .* 0.png: it is the reference view .*, which the model"):
        calibrate_on_line(model, Images(tuple(unit(i, view.image) for i, view in enumerate(views))))


def test_too_few_units_and_a_model_without_threshold_are_refused(model):
    few = Images(tuple(unit(i, picture(i)) for i in range(MIN_UNITS - 1)))
    with pytest.raises(InputError, match=f"memory: {MIN_UNITS - 1} good units can be used, at least {MIN_UNITS}"):
        calibrate_on_line(model, few)
    with pytest.raises(InputError, match="no threshold to begin with"):
        calibrate_on_line(replace(model, calibration=None), few)
