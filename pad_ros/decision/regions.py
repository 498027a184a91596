"""From the anomaly map to a score, defect regions and a verdict."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ..rendering.result import ReferenceRendering
from .inspection import DefectKind, DefectRegion

Floats = NDArray[np.float32]

MAX_REGIONS = 32  # reported; the strongest
REGION = 0.5  # of the threshold: how far a region extends around what exceeds it
EULER = 0.5772156649015329  # mean of the standard Gumbel distribution
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


def find_defects(
    values: Floats,
    threshold: float,
    empty: NDArray[np.bool_] | None,
    rendering: ReferenceRendering,
    min_area: int,
) -> tuple[DefectRegion, ...]:
    """The connected regions of the anomaly map [H, W] that exceed the threshold somewhere, strongest first.

    A region reaches as far as the map stays above `REGION` of the threshold (hysteresis as in Canny 1986, section VI):
    what just exceeds the threshold would else be a pixel or two of its defect.
    Regions of less than `min_area` pixels are left out unless twice as strong, or the strongest of all.
    `empty` [H, W]: where the query shows ground, None where there is no telling. `rendering` must be on the pixels of
    the query: for a distorted image its camera is the distorted one.
    """
    mask = (values > REGION * threshold).astype(np.uint8)
    strongest = float(values.max())
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    regions = []
    for label in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[label])
        window = np.s_[y : y + h, x : x + w]
        inside = labels[window] == label
        peak = float(values[window][inside].max())
        if peak <= threshold:
            continue
        if area < min_area and peak < min(2 * threshold, strongest):
            continue
        regions.append(
            DefectRegion(
                box=(x, y, w, h),
                area=area,
                peak_score=peak,
                centroid=_centroid(window, inside, values, rendering),
                # The map is blurred: what lies far below the peak is the defect's surroundings.
                kind=_kind(window, inside & (values[window] >= 0.5 * peak), empty, rendering),
            )  # fmt: skip
        )
    regions.sort(key=lambda region: -region.peak_score)
    return tuple(regions[:MAX_REGIONS])


def _centroid(
    window: tuple[slice, slice], inside: NDArray[np.bool_], values: Floats, rendering: ReferenceRendering
) -> tuple[float, float, float] | None:
    """The score-weighted mean, in the part frame, of the surface points under the region."""
    on_part = inside & (rendering.alpha[window] > 0.5) & (rendering.depth[window] > 0)
    if not on_part.any():
        return None
    rows, columns = np.nonzero(on_part)
    pixels = np.stack([columns + window[1].start + 0.5, rows + window[0].start + 0.5], axis=1)
    points = rendering.camera.rays(pixels) * rendering.depth[window][on_part][:, None]
    weights = values[window][on_part].astype(np.float64)
    centre = rendering.pose.inverse().transform(np.average(points, axis=0, weights=weights)[None])[0]
    return (float(centre[0]), float(centre[1]), float(centre[2]))


def _kind(
    window: tuple[slice, slice],
    inside: NDArray[np.bool_],
    empty: NDArray[np.bool_] | None,
    rendering: ReferenceRendering,
) -> DefectKind:
    """By the union of the two masks: ADDED where only the query has the part, MISSING where only the model does."""
    if empty is None:
        return DefectKind.CHANGED
    on_part = rendering.alpha[window][inside] > 0.5
    ground = empty[window][inside]
    if np.mean(~on_part & ~ground) > 0.5:
        return DefectKind.ADDED
    if np.mean(on_part & ground) > 0.5:
        return DefectKind.MISSING
    return DefectKind.CHANGED
