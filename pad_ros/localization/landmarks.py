"""LandmarkIndex: which landmarks of the map do a query's features show?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..compute.threads import in_bands, kernel, one_blas_thread
from ..imaging.geometry import Camera, Pose
from .features import Features
from .matching import NO_PAIRS, FeatureMatcher, Floats, Pairs, normalised, passes_ratio
from .sfm_map import SfmMap

Views = NDArray[np.int64]  # indices of views


class LandmarkIndex:
    """Matches features to landmarks, first everywhere, then near a known pose. Pairs are (feature, landmark)."""

    def __init__(self, sfm_map: SfmMap) -> None:
        self._map = sfm_map
        self._means = _mean_descriptors(sfm_map)  # [P, C]
        self._centre = np.median(sfm_map.points, axis=0)
        self._centres = np.array([pose.centre for pose in sfm_map.poses])
        self._axes = np.array([pose.rotation[2] for pose in sfm_map.poses])
        order = np.argsort(sfm_map.descriptor_view, kind="stable")
        ends = np.searchsorted(sfm_map.descriptor_view[order], np.arange(len(sfm_map.poses) + 1))
        self._of_view = [order[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def __len__(self) -> int:
        return len(self._means)

    def match_all(self, features: Features, ratio: float, apart: float, views: Views | None) -> Pairs:
        """Best landmark of each feature by its mean descriptor, where it passes the ratio test.

        Landmarks less than `apart` (part units) from the best one do not compete with it: they are often the
        same point, triangulated twice. views: match only what these views saw.
        """
        among = np.arange(len(self)) if views is None else self._seen_by(views)
        if len(among) < 2 or len(features) == 0:
            return NO_PAIRS
        means, points = self._means, self._map.points
        if views is not None:
            means, points = means[among], points[among]
        found = normalised(features.descriptors)
        best, first, second = np.empty(len(found), np.int64), np.empty_like(found[:, 0]), np.empty_like(found[:, 0])

        def task(begin: int, end: int) -> None:
            part = np.s_[begin:end]
            _best_and_rival(found[part] @ means.T, points, apart, best[part], first[part], second[part])

        with one_blas_thread():
            in_bands(task, len(found))
        keep = passes_ratio(first, second, ratio)
        return np.stack([np.flatnonzero(keep), among[best[keep]]], axis=1)

    def match_views(self, features: Features, matcher: FeatureMatcher, views: Views) -> Pairs:
        """The landmarks that `matcher` finds in each of the views; a feature may have several."""
        found = [NO_PAIRS]
        for v in views:
            rows = self._of_view[v]
            seen = Features(self._map.keypoints[rows].astype(np.float64), self._map.descriptors[rows],
                            np.ones(len(rows), np.float32))  # fmt: skip
            pairs = matcher.match(features, seen)
            found.append(np.stack([pairs[:, 0], self._map.descriptor_landmark[rows[pairs[:, 1]]]], axis=1))
        return np.unique(np.concatenate(found), axis=0)

    def match_near(
        self, features: Features, pose: Pose, camera: Camera, radius: float, min_cosine: float, views: int
    ) -> Pairs:
        """Best landmark of each feature among those that project within `radius` px of it at `pose`.

        Compared with every descriptor of the landmark in the `views` views nearest to the pose; a landmark
        goes to its best feature only.
        """
        seen = np.concatenate([self._of_view[v] for v in self._nearest_views(pose, views)])
        pixels = camera.project(pose.transform(self._map.points[self._map.descriptor_landmark[seen]]))
        visible = np.all(np.isfinite(pixels), axis=1)
        seen, pixels = seen[visible], pixels[visible]
        if len(seen) == 0 or len(features) == 0:
            return NO_PAIRS
        # Few candidates lie near a feature, so pairs are found by position first and compared then.
        near = cKDTree(features.keypoints).sparse_distance_matrix(cKDTree(pixels), radius, output_type="ndarray")
        feature, candidate = near["i"], near["j"]
        described = normalised(self._map.descriptors[seen])
        similarity = np.einsum("ij,ij->i", normalised(features.descriptors)[feature], described[candidate])
        landmark = self._map.descriptor_landmark[seen[candidate]]
        good = np.flatnonzero(similarity > min_cosine)
        order = good[np.argsort(-similarity[good], kind="stable")]
        _, firsts = np.unique(feature[order], return_index=True)
        order = order[np.sort(firsts)]
        _, firsts = np.unique(landmark[order], return_index=True)
        chosen = order[np.sort(firsts)]
        return np.stack([feature[chosen], landmark[chosen].astype(np.int64)], axis=1)

    def _nearest_views(self, pose: Pose, count: int) -> NDArray[np.int64]:
        """Views by the angle of the optical axes plus that of the centres as seen from the part."""
        angles = np.arccos(np.clip(self._axes @ pose.rotation[2], -1, 1))
        distance = max(float(np.linalg.norm(pose.centre - self._centre)), 1e-12)
        baselines = np.linalg.norm(self._centres - pose.centre, axis=1) / distance
        return np.argsort(angles + baselines, kind="stable")[:count]

    def _seen_by(self, views: Views) -> NDArray[np.int64]:
        rows = np.concatenate([self._of_view[v] for v in views])
        return np.unique(self._map.descriptor_landmark[rows]).astype(np.int64)


@kernel
def _best_and_rival(cosine, points, apart, best, first, second):  # type: ignore[no-untyped-def]
    """Of each row the best column, its cosine, and that of the best one that is not the same point (of four)."""
    values, columns = np.empty(4, np.float32), np.empty(4, np.int64)
    for i in range(cosine.shape[0]):
        values[:] = -1
        columns[:] = 0
        for j in range(cosine.shape[1]):
            v = cosine[i, j]
            if v <= values[3]:
                continue
            k = 3
            while k > 0 and v > values[k - 1]:
                values[k], columns[k] = values[k - 1], columns[k - 1]
                k -= 1
            values[k], columns[k] = v, j
        rival = 1
        while rival < 3 and np.sqrt(np.sum((points[columns[rival]] - points[columns[0]]) ** 2)) < apart:
            rival += 1
        best[i], first[i], second[i] = columns[0], values[0], values[rival]


def _mean_descriptors(sfm_map: SfmMap) -> Floats:
    sums = np.zeros((len(sfm_map.points), sfm_map.descriptors.shape[1]), np.float32)
    np.add.at(sums, sfm_map.descriptor_landmark, normalised(sfm_map.descriptors))
    return normalised(sums)
