import numpy as np
import pytest

from pad_ros.evaluation import confidence, metrics
from pad_ros.evaluation.metrics import Judged, count_pixels
from pad_ros.verdicts import Verdict

SHAPE = (10, 10)


def make(seed=0, good=8, defective=10, gap=1.0):
    rng = np.random.default_rng(seed)
    images = []
    for i in range(good + defective):
        mask = np.zeros(SHAPE, bool)
        if i >= good:
            mask[2:4, 3:6] = True
        values = (rng.normal(size=SHAPE) + gap * mask).astype(np.float32)
        verdict = Verdict.REJECT if values.max() > 2.5 else Verdict.PASS
        images.append(Judged(i >= good, verdict, float(values.max()), values, mask if i >= good else None, SHAPE))
    return images


def test_wilson_by_hand():
    low, high = confidence.wilson(0, 20)
    assert (low, high) == (0.0, pytest.approx(3.841459 / 23.841459, abs=1e-5))
    assert confidence.wilson(20, 20) == (pytest.approx(1 - high), 1.0)
    assert confidence.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert np.isnan(confidence.wilson(0, 0)).all()


def test_resampling_keeps_both_groups():
    defective = np.array([False] * 5 + [True] * 7)
    weights = confidence.resampling_weights(defective, 200, seed=1)
    assert (weights[:, ~defective].sum(axis=1) == 5).all()
    assert (weights[:, defective].sum(axis=1) == 7).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(12), abs=0.25)


def test_each_resample_equals_the_figures_of_the_resampled_set(monkeypatch):
    """Weights are a shortcut: the figures must be those of a list in which images really repeat."""
    monkeypatch.setattr(confidence, "BATCH", 3)
    images = make()
    weights = confidence.resampling_weights(np.array([i.defective for i in images]), 8, seed=3)
    pixels = confidence._pixel_figures(count_pixels(images)[1], weights)
    auroc, f1 = confidence._image_auroc(images, weights), confidence._localization_f1(images, weights)
    for k, row in enumerate(weights):
        repeated = [image for image, times in zip(images, row, strict=True) for _ in range(int(times))]
        exact, _ = count_pixels(repeated)
        assert auroc[k] == pytest.approx(metrics.image_auroc(repeated))
        assert f1[k] == pytest.approx(metrics.localization_f1(repeated)[0])
        assert pixels["pixel_auroc"][k] == pytest.approx(exact.auroc()[0])
        assert pixels["pixel_ap"][k] == pytest.approx(exact.average_precision()[0])
        assert pixels["aupro"][k] == pytest.approx(exact.aupro()[0])


def test_intervals_hold_the_estimate_and_repeat_themselves():
    images = make()
    pooled, each = count_pixels(images)
    found = confidence.intervals(images, each)
    assert found == confidence.intervals(images, each)
    estimates = {"image_auroc": metrics.image_auroc(images), "pixel_auroc": pooled.auroc()[0],
                 "pixel_ap": pooled.average_precision()[0], "aupro": pooled.aupro()[0]}  # fmt: skip
    estimates |= {name: k / n for name, (k, n) in metrics.verdict_rates(images).items()}
    for name, value in estimates.items():
        low, high = found[name]
        assert 0 <= low <= value <= high <= 1, name
    assert set(found) == {*estimates, "f1_localization"}


def test_more_images_narrow_the_interval():
    def width(count):
        images = make(1, good=count, defective=count, gap=2.0)
        low, high = confidence.intervals(images, count_pixels(images)[1])["image_auroc"]
        return high - low

    assert width(40) < width(6)


def test_one_class_only_has_no_intervals():
    images = [i for i in make() if not i.defective]
    found = confidence.intervals(images, count_pixels(images)[1])
    assert np.isnan(found["image_auroc"]).all()
    assert np.isnan(found["aupro"]).all()
    assert np.isnan(found["escape_rate"]).all()
    assert not np.isnan(found["false_reject_rate"]).any()
