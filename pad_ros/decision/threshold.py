"""The threshold of the score, from scores of good views alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

EULER = 0.5772156649015329  # mean of the standard Gumbel distribution
TAIL_SHARE = 0.2  # of the views, whose scores tell the tail
MIN_EXCEEDANCES = 8
DEVIATION_OF_ONE = 0.3  # times the score, where there is only one


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
    shape 0), so that one outlier changes the threshold little. NaN, as `conformal_threshold` is then to be used, where
    fewer than MIN_EXCEEDANCES views exceed that quantile, or the rate is no tail.
    """
    ordered = np.sort(scores.astype(np.float64))
    count = int(TAIL_SHARE * len(ordered))
    if count < MIN_EXCEEDANCES or false_reject_rate >= TAIL_SHARE:
        return math.nan, math.nan
    start = float(ordered[-count - 1])
    excess = float((ordered[-count:] - start).mean())
    steps = math.log(count / len(ordered) / false_reject_rate)
    return start + excess * steps, excess * steps / math.sqrt(count)
