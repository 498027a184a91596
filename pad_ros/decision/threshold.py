"""The threshold of the score, from scores of good views alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

EULER = 0.5772156649015329  # mean of the standard Gumbel distribution
TAIL_SHARE = 0.2  # of the views, whose scores tell the tail
MIN_EXCEEDANCES = 8
FARTHEST = 3.0  # an excess as large as that beyond the usual largest one has a chance of 5 %: more is no tail
DEVIATION_OF_ONE = 0.3  # times the score, where there is only one
PRIOR_UNITS = 1  # that the spread of the reference views' scores counts as, beside that of good units
LEAST_SPREAD = 0.1  # of the logarithm of scores
CONFIDENCE = 0.95  # of bounds on rates
MAX_RATE = 0.5
EXTRAPOLATED = 10  # times fewer false rejects than one per score can be asked for: the tail is continued so far

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Threshold:
    """value: NaN without scores; promised_rate: the rate of false rejects that the number of scores allows to promise;
    error: standard error of the value where it is an estimate, else NaN."""

    value: float
    promised_rate: float
    error: float = math.nan


def choose_threshold(scores: Scores, reference_scores: Scores, false_reject_rate: float) -> Threshold:
    """The threshold that `false_reject_rate` of good parts exceed.

    scores: of good units; reference_scores: of the model's reference views. Where one of them is empty, `scores` are
    those of reference views, whose tail is continued. Units are enough by themselves from 1 / rate of them on (split
    conformal prediction); of fewer the median and the spread count, the form of the distribution is taken from the
    reference views.
    """
    threshold, promised = conformal_threshold(scores, false_reject_rate)
    if len(reference_scores) == 0:
        tail, error = tail_threshold(scores, false_reject_rate)
        return Threshold(tail if math.isfinite(tail) else threshold, promised, error)
    if promised > false_reject_rate:
        threshold = _transferred(scores, reference_scores, false_reject_rate)
    return Threshold(threshold, promised)


def _transferred(scores: Scores, reference_scores: Scores, false_reject_rate: float) -> float:
    """The reference views' threshold, moved and stretched (in the logarithm) to the distribution of a few units."""
    of_reference = choose_threshold(reference_scores, scores[:0], false_reject_rate).value
    units, reference = np.log(np.maximum(scores, 1e-6)), np.log(np.maximum(reference_scores, 1e-6))
    usual = float(np.median(reference))
    variance = max(float(np.mean((reference - usual) ** 2)), LEAST_SPREAD**2)
    middle = float(np.median(units))
    squares = float(((units - middle) ** 2).sum())
    stretch = math.sqrt((squares + PRIOR_UNITS * variance) / (len(units) + PRIOR_UNITS) / variance)
    return math.exp(middle + stretch * (math.log(of_reference) - usual))


def supported_rates(scores: Scores) -> tuple[float, float]:
    """(least, largest) rate of false rejects that a threshold can be given for."""
    return 1 / (EXTRAPOLATED * (len(scores) + 1)), MAX_RATE


def largest_rate(rejected: int, units: int) -> float:
    """The rate of false rejects is below this, with 95 % confidence, where so many of the units exceed the threshold.

    For independent units that the threshold does not rest on (Clopper and Pearson 1934).
    """
    return 1.0 if rejected >= units else float(beta.ppf(CONFIDENCE, rejected + 1, units - rejected))


def units_needed(false_reject_rate: float) -> int:
    """So many independent good units, none of them above the threshold, show with 95 % confidence that it keeps the
    rate."""
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-false_reject_rate))


def conformal_threshold(scores: NDArray[np.float32], false_reject_rate: float) -> tuple[float, float]:
    """(threshold, rate it can promise) from the scores of V good views that the model has not seen.

    Split conformal prediction (Vovk et al. 2005; Angelopoulos & Bates 2021, section 1): the
    ceil((V + 1)(1 - rate))-th smallest score. V views can promise no rate below 1 / (V + 1); where
    less is asked for, the threshold is the upper tail of a Gumbel distribution with the scores' mean and
    deviation (a score is the largest of many values: Coles 2001, "Extreme Values", chapter 3), at least
    the largest score seen, and the promise stays 1 / (V + 1).
    """
    ordered = np.sort(scores.astype(np.float64))
    count = len(ordered)
    if count == 0:
        return math.nan, math.nan
    rank = math.ceil((count + 1) * (1 - false_reject_rate))
    if rank <= count:
        return float(ordered[rank - 1]), false_reject_rate
    deviation = float(ordered.std(ddof=1)) if count > 1 else DEVIATION_OF_ONE * float(ordered[0])
    scale = deviation * math.sqrt(6) / math.pi
    tail = float(ordered.mean()) - scale * (EULER + math.log(-math.log1p(-false_reject_rate)))
    return max(tail, float(ordered[-1])), 1 / (count + 1)


def p_value(score: float, scores: NDArray[np.float32]) -> float:
    """Conformal p-value: the share of good views, this image counted in, that score at least as high."""
    return float((1 + np.count_nonzero(scores >= score)) / (len(scores) + 1))


def tail_threshold(scores: NDArray[np.float32], false_reject_rate: float) -> tuple[float, float]:
    """(threshold, its standard error) from the scores of many good views: peaks over threshold.

    What exceeds the 80 % quantile of the scores is taken for exponential (Coles 2001, "Extreme Values", chapter 4, with
    shape 0). What lies farther out than the largest of so many would be, is counted as that far: a view whose pose was
    found wrong would be rejected by every threshold, and must not raise it for the others. NaN, as
    `conformal_threshold` is then to be used, where fewer than MIN_EXCEEDANCES views exceed that quantile, or the rate
    is no tail.
    """
    ordered = np.sort(scores.astype(np.float64))
    count = int(TAIL_SHARE * len(ordered))
    if count < MIN_EXCEEDANCES or false_reject_rate >= TAIL_SHARE:
        return math.nan, math.nan
    start = float(ordered[-count - 1])
    excesses = ordered[-count:] - start
    farthest = float(np.median(excesses)) / math.log(2) * (math.log(count) + FARTHEST)
    excess = float(np.minimum(excesses, farthest).mean())
    steps = math.log(count / len(ordered) / false_reject_rate)
    return start + excess * steps, excess * steps / math.sqrt(count)
