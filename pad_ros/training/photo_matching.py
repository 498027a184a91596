"""Matches between photographs whose poses are not known: which pairs are worth it, and what agrees with one geometry.

Guided matching and the checks by two-view geometry are those of COLMAP (Schoenberger and Frahm, CVPR 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from ..imaging.geometry import Array
from ..imaging.views import View
from ..io.colmap_cameras import colmap_camera
from ..localization.features import Features
from ..localization.matching import NO_PAIRS, FeatureMatcher, Pairs, mutual_candidates, normalised

RATIO = 0.8
WIDE_RATIO = 0.9  # for views that found too few matches
GUIDED_RATIO = 0.9  # among what lies near the epipolar line
MIN_PAIR_MATCHES = 15
FEW_MATCHES = 300  # below, a pair is matched again along its epipolar lines
ABOVE_CHANCE = 4  # the best of all geometries gathers several times what one does
MAX_TRIALS = 2000  # a pair of views that overlap needs fewer
ALL_PAIRS_UP_TO = 20  # views
NEIGHBOURS = 16  # of more views, so many for each
QUICK_FEATURES = 1000  # that show which views look alike
QUICK_RATIO = 0.85
GEOMETRIES = (pycolmap.TwoViewGeometryConfiguration.CALIBRATED, pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED)


def likely_pairs(features: Sequence[Features], pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of `pairs` (i < j) about `NEIGHBOURS` for each view: those that match best with few features.

    Preemptive matching: Wu, "Towards linear-time incremental structure from motion", 3DV 2013.
    """
    if len(features) <= ALL_PAIRS_UP_TO:
        return list(pairs)
    few = [normalised(found.take(np.argsort(-found.scores, kind="stable")[:QUICK_FEATURES]).descriptors)
           for found in features]  # fmt: skip
    alike = np.zeros((len(features), len(features)), np.int64)
    for i, j in pairs:
        alike[i, j] = alike[j, i] = len(mutual_candidates(few[i], few[j]).within(QUICK_RATIO))
    best = np.argsort(-alike, axis=1, kind="stable")[:, :NEIGHBOURS]
    chosen = {(min(i, int(j)), max(i, int(j))) for i in range(len(features)) for j in best[i] if alike[i, j] > 0}
    return sorted(chosen)


@dataclass(frozen=True)
class PhotoMatching:
    """How two photographs are matched. similarity: cosine of two descriptors that may show the same point."""

    similarity: float
    ratio: float = RATIO

    def __call__(
        self,
        views: tuple[View, View],
        features: tuple[Features, Features],
        max_error: float,
        matcher: FeatureMatcher | None,
    ) -> Pairs:
        """What `matcher` finds (None: mutual best matches) and agrees with one two-view geometry; none for too few.

        max_error: window px. To these come weaker matches that agree with that geometry; pairs of few matches are
        matched again along its epipolar lines.
        """
        a, b = features
        pixels = max_error / min(a.scale, b.scale)
        if matcher is not None:
            return _verified(views, features, matcher.match(a, b), pixels)[0]
        rows = normalised(a.descriptors), normalised(b.descriptors)
        candidates = mutual_candidates(*rows)
        found, fundamental = _verified(views, features, candidates.within(self.ratio), pixels)
        if fundamental is None:
            return found
        if len(found) < FEW_MATCHES:
            near = _near_lines(fundamental, a.keypoints, b.keypoints, pixels)
            guided = mutual_candidates(*rows, allowed=near)
            more = guided.alike(self.similarity).within(GUIDED_RATIO)
        else:
            weak = candidates.within(GUIDED_RATIO)
            more = weak[_agreeing(fundamental, a.keypoints[weak[:, 0]], b.keypoints[weak[:, 1]], pixels)]
        return more if len(more) > len(found) else found


def _verified(
    views: tuple[View, View], features: tuple[Features, Features], pairs: Pairs, max_error: float
) -> tuple[Pairs, Array | None]:
    """The pairs that agree with one geometry (max_error: px), and its fundamental matrix where it has one."""
    if len(pairs) < MIN_PAIR_MATCHES:
        return NO_PAIRS, None
    options = pycolmap.TwoViewGeometryOptions()
    options.min_num_inliers = MIN_PAIR_MATCHES
    options.ransac.max_error = max_error
    options.ransac.random_seed = 0
    options.ransac.max_num_trials = MAX_TRIALS
    options.detect_watermark = False
    cameras = colmap_camera(views[0].camera), colmap_camera(views[1].camera)
    for camera in cameras:  # tries the essential matrix, but takes the fundamental one where the focal length is off
        camera.has_prior_focal_length = True
    geometry = pycolmap.estimate_two_view_geometry(
        cameras[0], features[0].keypoints, cameras[1], features[1].keypoints, pairs.astype(np.uint32), options
    )
    inliers = np.asarray(geometry.inlier_matches, np.int64).reshape(-1, 2)
    # By chance a match lies in the band around its line: so wide a share of what the features cover.
    extent = float(np.ptp(features[1].keypoints, axis=0).min())
    chance = min(2 * max_error / max(extent, 1.0), 1.0)
    if len(inliers) < MIN_PAIR_MATCHES + ABOVE_CHANCE * chance * len(pairs):
        return NO_PAIRS, None
    matrix = geometry.F if geometry.config in GEOMETRIES and len(inliers) >= MIN_PAIR_MATCHES else None
    return inliers, None if matrix is None else np.asarray(matrix, np.float64)


def _agreeing(fundamental: Array, p: Array, q: Array, max_error: float) -> NDArray[np.bool_]:
    """Which of the pairs p, q [M, 2] agree within `max_error` px."""
    return np.array(pycolmap.compute_squared_sampson_error(p, q, fundamental)) <= max_error**2


def _near_lines(fundamental: Array, p: Array, q: Array, max_error: float) -> Callable[[slice], NDArray[np.bool_]]:
    """Which of q [M, 2] lie within `max_error` px (Sampson distance) of the epipolar lines of some rows of p [N, 2]."""
    p1, q1 = (np.concatenate([one, np.ones((len(one), 1))], axis=1) for one in (p, q))
    lines_q = (p1 @ fundamental.T).astype(np.float32)  # [N, 3] in the second image
    lines_p = q1 @ fundamental  # [M, 3] in the first
    steep_q, steep_p = (np.sum(lines[:, :2] ** 2, axis=1) for lines in (lines_q, lines_p.astype(np.float32)))
    places = np.ascontiguousarray(q1.T.astype(np.float32))

    def near(rows: slice) -> NDArray[np.bool_]:
        off = lines_q[rows] @ places  # [rows, M]
        return np.asarray(off * off <= max_error**2 * (steep_q[rows, None] + steep_p[None]))

    return near
