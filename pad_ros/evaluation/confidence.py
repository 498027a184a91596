"""How sure the figures of one test set are: 95 % confidence intervals.

Ranking and pixel figures: percentile bootstrap over images, good and defective ones resampled separately (Efron and
Tibshirani, 1993, ch. 13); the pixels of an image stay together, since they err together. A resample is a weight for
each image's counts, where scipy.stats.bootstrap would go through all pixels a thousand times. Rates: Wilson's score
interval, which stays valid at 0 of 20. Neither covers what another training run or another part would give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from .metrics import (
    Array,
    Judged,
    PixelCounts,
    best_f1_thresholds,
    count_regions,
    peak_scores,
    ranking_scores,
    verdict_rates,
)

LEVEL = 0.95
RESAMPLES = 1000
BATCH = 50  # resamples held in memory at a time

Interval = tuple[float, float]


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's score interval of a proportion; (NaN, NaN) without trials."""
    if trials == 0:
        return (float("nan"), float("nan"))
    found = binomtest(successes, trials).proportion_ci(LEVEL, "wilson")
    return float(found.low), float(found.high)


def intervals(images: Sequence[Judged], counts: PixelCounts, seed: int = 0) -> dict[str, Interval]:
    """Intervals of the figures in metrics.json; (NaN, NaN) where a figure is undefined.

    counts: the counts per image that `count_pixels` gives for the same images.
    """
    weights = resampling_weights(np.array([image.defective for image in images], bool), RESAMPLES, seed)
    samples = {
        "image_auroc": _image_auroc(images, weights),
        "f1_localization": _localization_f1(images, weights),
        **_pixel_figures(counts, weights),
    }
    found = {name: _percentiles(values) for name, values in samples.items()}
    return found | {name: wilson(*rate) for name, rate in verdict_rates(images).items()}


def resampling_weights(defective: np.ndarray, resamples: int, seed: int) -> Array:
    """How often each image is drawn [resamples, I]; the numbers of good and defective ones stay."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((resamples, len(defective)))
    for group in (~defective, defective):
        size = int(group.sum())
        if size:
            weights[:, group] = rng.multinomial(size, np.full(size, 1 / size), size=resamples)
    return weights


def _image_auroc(images: Sequence[Judged], weights: Array) -> Array:
    good, bad = ranking_scores(images)
    if len(good) == 0 or len(bad) == 0:
        return np.full(len(weights), np.nan)
    defective = np.array([image.defective for image in images], bool)
    wins = (bad[:, None] > good[None]) + 0.5 * (bad[:, None] == good[None])
    return np.asarray(((weights[:, defective] @ wins) * weights[:, ~defective]).sum(axis=1) / wins.size)


def _pixel_figures(counts: PixelCounts, weights: Array) -> dict[str, Array]:
    batches = [counts.pooled(weights[i : i + BATCH]).figures() for i in range(0, len(weights), BATCH)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _localization_f1(images: Sequence[Judged], weights: Array) -> Array:
    known = np.array([image.has_truth for image in images], bool)
    judged, weights = [image for image in images if image.has_truth], weights[:, known]
    defective = np.array([image.defective for image in judged], bool)
    if not defective.any() or defective.all():
        return np.full(len(weights), np.nan)
    thresholds = best_f1_thresholds(peak_scores(judged), defective, weights)
    f1 = np.zeros(len(weights))
    for threshold in np.unique(thresholds[~np.isnan(thresholds)]):
        regions = np.array([count_regions(image, float(threshold)) for image in judged], np.float64)  # [I, 3]
        chosen = thresholds == threshold
        true, false, missed = (weights[chosen] @ regions).T
        f1[chosen] = 2 * true / np.maximum(2 * true + false + missed, 1.0)
    return f1


def _percentiles(values: Array) -> Interval:
    if len(values) == 0 or np.isnan(values).any():
        return (float("nan"), float("nan"))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (float(low), float(high))
