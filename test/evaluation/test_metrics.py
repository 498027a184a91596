import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import trapezoid
from sklearn.metrics import average_precision_score, roc_auc_score

from pad_ros.evaluation import metrics
from pad_ros.evaluation.metrics import Judged, count_pixels
from pad_ros.verdicts import Verdict

SHAPE = (12, 14)


def judged(defective=False, score=0.0, values=None, mask=None, verdict=Verdict.PASS, shape=SHAPE):
    values = np.zeros(shape, np.float32) if values is None else np.asarray(values, np.float32)
    return Judged(defective, verdict, score, values, mask, values.shape)


def pixel_figures(images):
    pooled, _ = count_pixels(images)
    return np.concatenate([pooled.auroc(), pooled.average_precision(), pooled.aupro()])


def random_images(seed, count=6, levels=None):
    """Half of them defective, with two regions each; `levels` makes ties."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(count):
        mask = np.zeros(SHAPE, bool)
        if i % 2:
            mask[1:4, 2:5], mask[8, 9:12] = True, True
        values = rng.normal(size=SHAPE) + 1.0 * mask
        if levels:
            values = np.round(values * levels) / levels
        images.append(judged(bool(i % 2), float(values.max()), values, mask if i % 2 else None))
    return images


def pro_by_hand(images, limit=0.3):
    """The definition, threshold by threshold: every distinct value, regions one at a time (4 and 8 agree here)."""
    values = np.concatenate([image.values.ravel() for image in images])
    masks = [image.mask if image.mask is not None else np.zeros(SHAPE, bool) for image in images]
    good = ~np.concatenate([mask.ravel() for mask in masks])
    points = [(0.0, 0.0)]
    for threshold in np.unique(values)[::-1]:
        overlaps = []
        for image, mask in zip(images, masks, strict=True):
            for rows in (slice(0, 6), slice(6, 12)):  # the two regions of random_images
                if mask[rows].any():
                    overlaps.append((image.values[rows][mask[rows]] >= threshold).mean())
        points.append(((values[good] >= threshold).mean(), np.mean(overlaps)))
    x, y = np.array(points).T
    fine = np.linspace(0, limit, 200_001)
    return trapezoid(np.interp(fine, x, y), fine) / limit


@pytest.mark.parametrize("levels", [None, 3, 1])
@pytest.mark.parametrize("seed", range(4))
def test_pixel_figures_agree_with_scikit_learn_and_the_definition(seed, levels):
    images = random_images(seed, levels=levels)
    values = np.concatenate([image.values.ravel() for image in images])
    truth = np.concatenate([(np.zeros(SHAPE, bool) if i.mask is None else i.mask).ravel() for i in images])
    auroc, precision, aupro = pixel_figures(images)
    assert auroc == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    assert precision == pytest.approx(average_precision_score(truth, values), abs=1e-12)
    assert aupro == pytest.approx(pro_by_hand(images), abs=2e-4)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_image_auroc_agrees_with_scikit_learn_on_ties(good, defective):
    expected = roc_auc_score([0] * len(good) + [1] * len(defective), good + defective)
    assert metrics.auroc(np.array(good, float), np.array(defective, float)) == pytest.approx(expected, abs=1e-12)


def test_roc_curve_ends_and_encloses_the_auroc():
    images = [judged(score=s) for s in (1, 2, 2, 4)] + [judged(True, s) for s in (2, 3, 5)]
    fpr, tpr = metrics.roc_curve(images)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert trapezoid(tpr, fpr) == pytest.approx(metrics.image_auroc(images))


def test_an_image_without_a_score_is_ranked_wrongly():
    images = [judged(score=0.1), judged(True, 0.9)]
    assert metrics.image_auroc(images) == 1.0
    assert metrics.image_auroc([*images, judged(True, float("nan"))]) == 0.5
    assert metrics.image_auroc([*images, judged(False, float("nan"))]) == 0.5


def test_a_missing_map_is_a_miss():
    images = random_images(0)
    mask = images[1].mask
    missing = Judged(True, Verdict.HOLD, float("nan"), None, mask, SHAPE)
    lowest = judged(True, 0.0, np.full(SHAPE, -1e6), mask)
    assert pixel_figures([*images, missing]) == pytest.approx(pixel_figures([*images, lowest]))
    assert metrics.count_regions(missing, 0.5) == (0, 0, 1)


def test_nan_pixels_are_the_lowest():
    images = random_images(1)
    holed = images[1].values.copy()
    holed[2, 3] = np.nan
    low = np.nan_to_num(holed, nan=-1e6)
    a, b = (judged(True, 0.0, v, images[1].mask) for v in (holed, low))
    assert pixel_figures([*images, a]) == pytest.approx(pixel_figures([*images, b]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([np.exp, np.arctan, lambda v: 7 * v - 3, lambda v: v**3]))
def test_invariant_under_monotone_transforms(seed, transform):
    # float64 inputs on a coarse grid: no two values may merge when stored as float32
    images = random_images(seed, levels=4)
    moved = [judged(i.defective, float(transform(i.score)), transform(i.values.astype(float)), i.mask) for i in images]
    assert pixel_figures(moved) == pytest.approx(pixel_figures(images), abs=1e-12)
    assert metrics.image_auroc(moved) == metrics.image_auroc(images)
    assert metrics.localization_f1(moved)[0] == metrics.localization_f1(images)[0]


@settings(deadline=None, max_examples=40)
@given(arrays(np.float32, (4, *SHAPE), elements=st.sampled_from([0.0, 0.5, 1.0, float("inf"), float("nan")])))
def test_any_map_gives_figures_between_0_and_1(stack):
    mask = np.zeros(SHAPE, bool)
    mask[3:5, 3:5] = True
    images = [judged(bool(i % 2), 0.0, values, mask if i % 2 else None) for i, values in enumerate(stack)]
    figures = pixel_figures(images)
    assert np.all((figures >= 0) & (figures <= 1))
    assert 0 <= metrics.localization_f1(images)[0] <= 1


def test_constant_maps_know_nothing():
    mask = np.zeros(SHAPE, bool)
    mask[2:4, 2:6] = True
    images = [judged(), judged(True, mask=mask)]
    prevalence = mask.sum() / (2 * mask.size)
    assert pixel_figures(images) == pytest.approx([0.5, prevalence, 0.15])


def test_one_class_only_is_undefined():
    assert np.isnan(metrics.image_auroc([judged(), judged()]))
    assert np.isnan(pixel_figures([judged(), judged()])).all()
    assert np.isnan(metrics.localization_f1([judged()])[0])
    assert np.isnan(pixel_figures([])).all()


def test_defective_images_without_ground_truth_are_left_out_of_pixel_figures():
    images = random_images(2)
    extra = judged(True, 9.0, np.full(SHAPE, 9.0), None)
    assert pixel_figures([*images, extra]) == pytest.approx(pixel_figures(images))
    assert metrics.localization_f1([*images, extra]) == metrics.localization_f1(images)


def test_regions_count_alike_whatever_their_size():
    mask = np.zeros(SHAPE, bool)
    mask[0:6, 0:6], mask[10, 10] = True, True
    values = np.zeros(SHAPE, np.float32)
    values[0:6, 0:6] = 1.0  # the large region is found, the single pixel is not
    *_, aupro = pixel_figures([judged(), judged(True, values=values, mask=mask)])
    # from (0, .5) straight to (1, 1): mean height over 0..0.3
    assert aupro == pytest.approx(0.5 + 0.5 * 0.15)


def test_diagonal_pixels_are_one_region():
    mask = np.eye(12, 14, dtype=bool)
    values = np.where(np.arange(14)[None] < 6, mask, 0).astype(np.float32)
    *_, aupro = pixel_figures([judged(), judged(True, values=values, mask=mask)])
    assert aupro == pytest.approx(0.5 + 0.5 * 0.15)


def test_regions_of_one_image_by_hand():
    mask = np.zeros(SHAPE, bool)
    mask[1:3, 1:3], mask[9:11, 1:3] = True, True  # two parts of one anomaly
    values = np.zeros(SHAPE, np.float32)
    values[2:4, 2:4] = 2.0  # touches the first part
    values[0, 1:3] = 3.0
    values[1, 1] = 3.0  # a second predicted region on the same anomaly, diagonal to none of the first
    values[6, 10] = 1.5  # false alarm
    values[11, 13] = 0.5  # below the threshold
    image = judged(True, 3.0, values, mask)
    assert metrics.count_regions(image, 1.0) == (1, 1, 0)
    assert metrics.count_regions(image, 9.0) == (0, 0, 1)
    assert metrics.count_regions(judged(values=values), 1.0)[0] == 0


def test_localization_f1_by_hand():
    """Good peaks 1, 3; defective 2 (off the defect), 4 (on it): the best image-level threshold is 2 (F1 = .8)."""

    def with_peak(height, row, mask=None):
        values = np.zeros(SHAPE, np.float32)
        values[row, 5] = height
        return judged(mask is not None, height, values, mask)

    mask = np.zeros(SHAPE, bool)
    mask[2, 4:7] = True
    images = [with_peak(1, 2), with_peak(3, 2), with_peak(2, 9, mask), with_peak(4, 2, mask)]
    f1, threshold = metrics.localization_f1(images)
    assert threshold == 2.0
    assert f1 == pytest.approx(2 * 1 / (2 * 1 + 2 + 1))  # one hit; false alarms on good 3 and off the defect; one miss


def test_rates_follow_their_definitions():
    verdicts = [(False, Verdict.PASS), (False, Verdict.REJECT), (False, Verdict.HOLD), (False, Verdict.PASS),
                (True, Verdict.PASS), (True, Verdict.REJECT), (True, Verdict.HOLD)]  # fmt: skip
    rates = metrics.verdict_rates([judged(d, verdict=v) for d, v in verdicts])
    assert rates == {"false_reject_rate": (1, 4), "escape_rate": (1, 3), "hold_rate": (2, 7)}


def test_counts_per_image_pool_to_the_exact_ones():
    images = random_images(3, count=10)
    pooled, each = count_pixels(images)
    again = each.pooled(np.ones((1, len(images))))
    assert again.auroc() == pytest.approx(pooled.auroc())
    assert again.average_precision() == pytest.approx(pooled.average_precision())
    assert again.aupro() == pytest.approx(pooled.aupro())


def test_a_coarse_grid_stays_close(monkeypatch):
    monkeypatch.setattr(metrics, "MAX_GRID", 40)
    pooled, each = count_pixels(random_images(4, count=30))
    again = each.pooled(np.ones((1, 30)))
    assert each.at.shape[2] == 40 < pooled.at.shape[2]
    assert again.auroc() == pytest.approx(pooled.auroc(), abs=2e-3)
    assert again.average_precision() == pytest.approx(pooled.average_precision(), abs=2e-2)
    assert again.aupro() == pytest.approx(pooled.aupro(), abs=2e-2)


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="mask"):
        judged(True, values=np.zeros((5, 5)), mask=np.zeros((4, 5), bool))
