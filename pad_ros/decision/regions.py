"""Defect regions of an anomaly map."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..rendering.result import ReferenceRendering
from .inspection import DefectKind, DefectRegion

Floats = NDArray[np.float32]

MIN_AREA = 4  # px, of a region that is reported
MAX_REGIONS = 32  # reported; the strongest
REGION_SHARE = 0.5  # of the threshold: how far a region extends around what exceeds it


def find_defects(
    values: Floats,
    threshold: float,
    ground: NDArray[np.bool_] | None,
    rendering: ReferenceRendering,
) -> tuple[DefectRegion, ...]:
    """The connected regions of the anomaly map [H, W] that exceed the threshold somewhere, strongest first.

    A region reaches as far as the map stays above `REGION_SHARE` of the threshold (hysteresis, Canny 1986, section VI):
    what just exceeds the threshold would else be a pixel or two of its defect.
    Regions of less than MIN_AREA pixels are left out unless twice as strong, or the strongest of all.
    `ground` [H, W]: where the query shows ground, None where that is not known. `rendering` must be on the pixels of
    the query: for a distorted image its camera is the distorted one.
    """
    mask = (values > REGION_SHARE * threshold).astype(np.uint8)
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
        if area < MIN_AREA and peak < min(2 * threshold, strongest):
            continue
        regions.append(
            DefectRegion(
                box=(x, y, w, h),
                area=area,
                peak_score=peak,
                centroid=_centroid(window, inside, values, rendering),
                # The map is blurred: what lies far below the peak is the defect's surroundings.
                kind=_kind(window, inside & (values[window] >= 0.5 * peak), ground, rendering),
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
    ground: NDArray[np.bool_] | None,
    rendering: ReferenceRendering,
) -> DefectKind:
    """By the union of the two masks: ADDED where only the query has the part, MISSING where only the model does."""
    if ground is None:
        return DefectKind.CHANGED
    on_part = rendering.alpha[window][inside] > 0.5
    shows_ground = ground[window][inside]
    if np.mean(~on_part & ~shows_ground) > 0.5:
        return DefectKind.ADDED
    if np.mean(on_part & shows_ground) > 0.5:
        return DefectKind.MISSING
    return DefectKind.CHANGED
