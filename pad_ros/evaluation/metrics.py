"""Accuracy of verdicts, scores and anomaly maps against the ground truth.

Image level. `image_auroc` ranks images by their score. An image without a score (not localized, undecodable) gave no
answer, so it is ranked wrongly: a good one above, a defective one below all others. Holding hard images can therefore
never raise the figure. At the model's own threshold, with the verdicts PASS, REJECT and HOLD:
  false_reject_rate   share of the good images that got REJECT
  escape_rate         share of the defective images that got PASS
  hold_rate           share of all images that got HOLD (a line treats these as rejects)

Pixel level. All pixels of all images are pooled and nothing is subsampled or binned. An image without a map counts as a
map that is lower everywhere than any other: whatever defect it shows is missed. Defective images without a ground-truth
mask are left out.
  pixel_auroc, pixel_ap   area under the ROC curve; average precision as scikit-learn defines it
  aupro                   MVTec AD and 3D-AD (Bergmann et al., IJCV 2021, sec. 5; the published evaluation
                          code): mean over the ground-truth regions of the share of their pixels found, against
                          the false positive rate over all good pixels, integrated to FPR 0.3 and divided by 0.3.
                          Regions are 8-connected, as in that code; the curve is exact, as in its 2D variant.
  f1_localization         Marchi et al., sec. 4.1: see `localization_f1`

Where a figure is undefined (one class only, no map, no mask) it is NaN. The pixel figures and their bootstrap share one
count of pixels per image: scikit-learn would sort all pixels of all images again for each figure and each resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..decision.inspection import Inspection
from ..verdicts import Verdict

Array = NDArray[np.float64]

FPR_LIMIT = 0.3
MAX_GRID = 2048  # thresholds kept per image, for the bootstrap only
NEGATIVES, POSITIVES, REGIONS = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Judged:
    """One test image as the metrics see it.

    score: NaN where there is none. values: the anomaly map, float32 [H, W], or None.
    mask: True on the defect, bool [H, W]; None for good images and where no ground truth exists.
    shape: (H, W), (0, 0) for an image that could not be decoded.
    """

    defective: bool
    verdict: Verdict
    score: float
    values: NDArray[np.float32] | None
    mask: NDArray[np.bool_] | None
    shape: tuple[int, int]

    @staticmethod
    def of(found: Inspection, defective: bool, mask: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> Judged:
        """An inspection and the truth of its image; shape: [H, W, ...] of the image."""
        values = None if found.anomaly_map is None else found.anomaly_map.values
        return Judged(defective, found.verdict, float(found.score), values, mask, (shape[0], shape[1]))

    def __post_init__(self) -> None:
        for name, array in (("anomaly map", self.values), ("mask", self.mask)):
            if array is not None and array.shape != self.shape:
                raise ValueError(f"{name} {array.shape} differs in size from the image {self.shape}")

    @property
    def has_truth(self) -> bool:
        return self.mask is not None or not self.defective


# ---- image level ---------------------------------------------------------------------------


def ranking_scores(images: Sequence[Judged]) -> tuple[Array, Array]:
    """(scores of the good images, of the defective ones); without a score +inf and -inf (see the module's text)."""

    def scores(defective: bool, absent: float) -> Array:
        found = [image.score for image in images if image.defective == defective]
        return np.nan_to_num(np.array(found, np.float64), nan=absent, posinf=np.inf, neginf=-np.inf)

    return scores(False, np.inf), scores(True, -np.inf)


def auroc(good: Array, defective: Array) -> float:
    """Probability that a defective one scores above a good one, ties counting half (Mann-Whitney U)."""
    if len(good) == 0 or len(defective) == 0:
        return float("nan")
    ordered = np.sort(good)
    below = np.searchsorted(ordered, defective, "left") + np.searchsorted(ordered, defective, "right")
    return float(below.sum() / (2 * len(good) * len(defective)))


def image_auroc(images: Sequence[Judged]) -> float:
    return auroc(*ranking_scores(images))


def roc_curve(images: Sequence[Judged]) -> tuple[Array, Array]:
    """(false positive rate, true positive rate) at each distinct score of both classes, from (0, 0) to (1, 1)."""
    groups = ranking_scores(images)
    thresholds = np.unique(np.concatenate(groups))[::-1]
    fpr, tpr = (np.append(0.0, 1 - np.searchsorted(np.sort(group), thresholds) / len(group)) for group in groups)
    return fpr, tpr


def verdict_counts(images: Sequence[Judged]) -> dict[str, dict[str, int]]:
    """{"good" | "defective": {"PASS", "REJECT", "HOLD": how many}}."""
    return {
        group: {v.name: sum(i.verdict == v and i.defective == flag for i in images) for v in Verdict}
        for group, flag in (("good", False), ("defective", True))
    }


def verdict_rates(images: Sequence[Judged]) -> dict[str, tuple[int, int]]:
    """(how many, of how many) behind false_reject_rate, escape_rate and hold_rate."""
    counts = verdict_counts(images)
    good, defective = counts["good"], counts["defective"]
    return {
        "false_reject_rate": (good["REJECT"], sum(good.values())),
        "escape_rate": (defective["PASS"], sum(defective.values())),
        "hold_rate": (good["HOLD"] + defective["HOLD"], len(images)),
    }


def rates(images: Sequence[Judged]) -> dict[str, float]:
    """false_reject_rate, escape_rate and hold_rate; NaN where no image could count."""
    return {name: count / of if of else float("nan") for name, (count, of) in verdict_rates(images).items()}


def percentiles(values: Sequence[float], which: Sequence[int] = (50, 95)) -> dict[str, float | None]:
    """{"p50": ..., "p95": ...}; None without values."""
    found = np.percentile(values, which).tolist() if len(values) else [None] * len(which)
    return {f"p{name}": value for name, value in zip(which, found, strict=True)}


# ---- pixel level ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """How much of each kind of pixel lies above each threshold; T thresholds, falling.

    The first axis is (negatives: good pixels, positives: defect pixels, regions: summed shares of the
    ground-truth regions). The second is a set of images: one image, or a pooled sample of them.
    """

    above: Array  # [3, S, T] value > threshold
    at: Array  # [3, S, T] value >= threshold
    total: Array  # [3, S]

    def pooled(self, weights: Array) -> PixelCounts:
        """The counts of samples that hold image i weights[s, i] times; weights: [S', S]."""
        return PixelCounts(weights @ self.above, weights @ self.at, self.total @ weights.T)

    def curves(self) -> tuple[Array, Array, Array]:
        """(false positive rate, true positive rate, per-region overlap), each [S, 2 T + 2] from 0 to 1."""
        with np.errstate(invalid="ignore", divide="ignore"):
            points = np.stack([self.above, self.at], axis=-1) / self.total[..., None, None]
        points = points.reshape(*self.total.shape, -1)
        ends = np.zeros((*self.total.shape, 1))
        fpr, tpr, pro = np.concatenate([ends, points, ends + 1], axis=-1)
        return fpr, tpr, pro

    def auroc(self) -> Array:  # [S]
        fpr, tpr, _ = self.curves()
        return np.where((self.total[:2] > 0).all(axis=0), _area(fpr, tpr, 1.0), np.nan)

    def aupro(self, limit: float = FPR_LIMIT) -> Array:  # [S]
        fpr, _, pro = self.curves()
        return np.where((self.total[:2] > 0).all(axis=0), _area(fpr, pro, limit) / limit, np.nan)

    def figures(self) -> dict[str, Array]:
        """The pixel figures of metrics.json, each [S]."""
        return {"pixel_auroc": self.auroc(), "pixel_ap": self.average_precision(), "aupro": self.aupro()}

    def average_precision(self) -> Array:  # [S]
        found, wrong = self.at[POSITIVES], self.at[NEGATIVES]
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(found > 0, found / (found + wrong), 0.0)
            steps = np.diff(found, axis=1, prepend=0.0) / self.total[POSITIVES][:, None]
        return np.where(self.total[POSITIVES] > 0, (steps * precision).sum(axis=1), np.nan)


def ranking_figures(images: Sequence[Judged], pooled: PixelCounts) -> dict[str, float]:
    """image_auroc, pixel_auroc, pixel_ap and aupro; pooled: the first of `count_pixels` of these images."""
    pixels = {name: float(value[0]) for name, value in pooled.figures().items()}
    return {"image_auroc": image_auroc(images), **pixels}


def count_pixels(images: Sequence[Judged]) -> tuple[PixelCounts, PixelCounts]:
    """(exact counts of all images pooled [S = 1], counts per image [S = I] on at most MAX_GRID thresholds).

    Thresholds are the distinct values of the defect pixels: between them ROC and PRO curves run level,
    so that these points alone give the exact areas, and good pixels need only be counted, not ranked.
    """
    positives = [_values(image)[image.mask] for image in images if image.mask is not None]
    thresholds = np.unique(np.concatenate([*positives, np.empty(0, np.float32)]))[::-1]
    grid = np.unique(np.linspace(0, max(len(thresholds) - 1, 0), MAX_GRID).round().astype(int))[: len(thresholds)]
    above, at = np.zeros((3, 1, len(thresholds))), np.zeros((3, 1, len(thresholds)))
    per_above, per_at = np.zeros((3, len(images), len(grid))), np.zeros((3, len(images), len(grid)))
    total = np.zeros((3, len(images)))
    for i, image in enumerate(images):
        if not image.has_truth:
            continue
        image_above, image_at, total[:, i] = _count_one(image, thresholds)
        above[:, 0] += image_above
        at[:, 0] += image_at
        per_above[:, i], per_at[:, i] = image_above[:, grid], image_at[:, grid]
    return PixelCounts(above, at, total.sum(axis=1, keepdims=True)), PixelCounts(per_above, per_at, total)


def _count_one(image: Judged, thresholds: NDArray[np.float32]) -> tuple[Array, Array, Array]:
    """Counts of one image: above [3, T], at [3, T], total [3], as in PixelCounts."""
    values = _values(image)
    mask = image.mask if image.mask is not None else np.zeros(image.shape, bool)
    negatives, order = np.sort(values[~mask]), np.argsort(values[mask])
    positives = values[mask][order]
    regions, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8) if mask.any() else (1, mask)
    share = (1.0 / np.bincount(labels[mask])[labels[mask]])[order][::-1]  # of its region, that a pixel is
    found = np.concatenate([[0.0], np.cumsum(share)])
    above, at = np.empty((3, len(thresholds))), np.empty((3, len(thresholds)))
    sides: tuple[tuple[Array, Literal["right", "left"]], ...] = ((above, "right"), (at, "left"))
    for counts, side in sides:
        counts[NEGATIVES] = len(negatives) - np.searchsorted(negatives, thresholds, side)
        larger = len(positives) - np.searchsorted(positives, thresholds, side)
        counts[POSITIVES], counts[REGIONS] = larger, found[larger]
    return above, at, np.array([len(negatives), len(positives), regions - 1], np.float64)


def _values(image: Judged) -> NDArray[np.float32]:
    if image.values is None:
        return np.full(image.shape, -np.inf, np.float32)
    return np.where(np.isnan(image.values), -np.inf, image.values).astype(np.float32)


def _area(x: Array, y: Array, limit: float) -> Array:
    """Areas [S] under the polylines x, y [S, K] (x rising) for x in 0..limit."""
    x0, x1, y0, y1 = x[:, :-1], x[:, 1:], y[:, :-1], y[:, 1:]
    width = np.clip(x1, None, limit) - np.clip(x0, None, limit)
    with np.errstate(invalid="ignore", divide="ignore"):
        y_end = np.where(x1 > limit, y0 + (y1 - y0) * width / (x1 - x0), y1)
    return np.asarray(np.where(width == 0, 0.0, 0.5 * (y0 + y_end) * width).sum(axis=1))


# ---- F1 of localization --------------------------------------------------------------------


def peak_scores(images: Sequence[Judged]) -> Array:
    """The largest value of each map [I]; -inf without a map."""
    return np.array([_values(image).max(initial=-np.inf) for image in images], np.float64)


def best_f1_thresholds(peaks: Array, defective: NDArray[np.bool_], weights: Array) -> Array:
    """The thresholds [S] that maximise image-level F1 of "peak >= threshold" in S samples (weights [S, I]).

    Candidates are the distinct finite peaks; of equally good ones the lowest is taken. NaN where no
    threshold finds a defective image.
    """
    candidates = np.unique(peaks[np.isfinite(peaks)])
    if len(candidates) == 0:
        return np.full(len(weights), np.nan)
    found = (peaks[:, None] >= candidates[None]).astype(np.float64)  # [I, C]
    true = (weights * defective) @ found
    called = weights @ found
    actual = (weights * defective).sum(axis=1, keepdims=True)
    drawn = weights @ (peaks[:, None] == candidates[None]) > 0  # a peak that is not in the sample is no candidate
    f1 = np.where(drawn, 2 * true / np.maximum(called + actual, 1e-300), 0.0)
    return np.where(f1.max(axis=1) > 0, candidates[f1.argmax(axis=1)], np.nan)


def count_regions(image: Judged, threshold: float) -> tuple[int, int, int]:
    """(true positives, false positives, false negatives) of one image at a pixel threshold, after Marchi et al.

    All ground-truth regions of an image are one anomaly: one true positive if any predicted region
    (8-connected, value >= threshold) touches it, else one false negative. Each predicted region that
    touches none is a false positive.
    """
    values = _values(image)
    if not (values >= threshold).any():
        return 0, 0, int(image.defective)
    count, labels = cv2.connectedComponents((values >= threshold).astype(np.uint8), connectivity=8)
    touching = np.unique(labels[image.mask]) if image.mask is not None else np.empty(0, int)
    hits = int((touching > 0).sum())
    return min(hits, 1), count - 1 - hits, int(image.defective and hits == 0)


def localization_f1(images: Sequence[Judged]) -> tuple[float, float]:
    """(F1 of localization, its threshold): Marchi et al., sec. 4.1.

    An image's score is the maximum of its map; the threshold that maximises the image-level F1 is then
    applied to the pixels and regions are counted by `count_regions`. This threshold is taken from the
    test images, as the paper has it, and serves this figure only.
    """
    judged = [image for image in images if image.has_truth]
    defective = np.array([image.defective for image in judged], bool)
    if not defective.any() or defective.all():
        return float("nan"), float("nan")
    threshold = float(best_f1_thresholds(peak_scores(judged), defective, np.ones((1, len(judged))))[0])
    if np.isnan(threshold):
        return 0.0, threshold
    true, false, missed = np.sum([count_regions(image, threshold) for image in judged], axis=0)
    return float(2 * true / (2 * true + false + missed)), threshold
