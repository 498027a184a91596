"""How sure the figures of one test set are: 95 % confidence intervals.

Ranking and pixel figures: percentile bootstrap over images, good and defective ones resampled
separately (Efron and Tibshirani, 1993, ch. 13); the pixels of an image stay together, since they
err together. Rates: Wilson's score interval, which stays honest at 0 of 20. Neither covers what
another training run or another part would give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
_NORMAL_QUANTILE = 1.959964  # of (1 + LEVEL) / 2

Interval = tuple[float, float]


def wilson(successes: int, trials: int) -> Interval:
    """Wilson's score interval of a proportion; (NaN, NaN) without trials."""
    if trials == 0:
        return (float("nan"), float("nan"))
    p, z2 = successes / trials, _NORMAL_QUANTILE**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _NORMAL_QUANTILE / (1 + z2 / trials) * float(np.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2)))
    # at the ends the formula gives 0 and 1, but for rounding
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == trials else centre + half)


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
    scores, defective = ranking_scores(images), np.array([image.defective for image in images], bool)
    good, bad = scores[~defective], scores[defective]
    if len(good) == 0 or len(bad) == 0:
        return np.full(len(weights), np.nan)
    wins = (bad[:, None] > good[None]) + 0.5 * (bad[:, None] == good[None])
    return np.asarray(((weights[:, defective] @ wins) * weights[:, ~defective]).sum(axis=1) / wins.size)


def _pixel_figures(counts: PixelCounts, weights: Array) -> dict[str, Array]:
    figures: dict[str, list[Array]] = {"pixel_auroc": [], "pixel_ap": [], "aupro": []}
    for start in range(0, len(weights), BATCH):
        sample = counts.pooled(weights[start : start + BATCH])
        figures["pixel_auroc"].append(sample.auroc())
        figures["pixel_ap"].append(sample.average_precision())
        figures["aupro"].append(sample.aupro())
    return {name: np.concatenate(values) for name, values in figures.items()}


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
