"""ViewMatcher: which single reference view a query shares most matches with, and what it shares with a rendering."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Array, Pose
from ..imaging.images import Image
from ..imaging.rect import Rect
from ..networks.network import Network, by_name
from ..photometry.prepared_query import PreparedQuery
from ..settings import LocalizationSettings
from .choices import create_features, create_matcher, create_retrieval
from .features import Features, extract_window, inside_mask
from .landmarks import LandmarkIndex
from .localizer import MASK_MARGIN, MATCH_RATIO
from .matching import NearestNeighbours
from .retrieval import most_similar
from .sfm_map import SfmMap

Floats = NDArray[np.float32]


class ViewMatcher:
    """Matches images one by one, without any pose. networks: those that the settings name; they run on `device`."""

    def __init__(
        self, sfm_map: SfmMap, settings: LocalizationSettings, networks: Iterable[Network] = (), device: str = "cpu"
    ) -> None:
        named = by_name(networks)
        self._settings, self._map = settings, sfm_map
        self._features = create_features(settings.features, named, device)
        self._matcher = create_matcher(settings.matcher, settings.features, named, device)
        self._retrieval = create_retrieval(settings.retrieval, named, sfm_map.vocabulary, device)
        self._landmarks = LandmarkIndex(sfm_map)

    def features(self, query: PreparedQuery, window: Rect) -> Features:
        """Those of the part in a window of the undistorted query."""
        found = self._extract(query.undistorted, window)
        return (
            found if query.part_mask is None else found.take(inside_mask(found.keypoints, query.part_mask, MASK_MARGIN))
        )

    def best_view(self, features: Features, window: Image) -> tuple[Pose, int]:
        """The pose of the view with most matches, and how many: of those of the map's features that are in landmarks.

        Among the `matched_views` most similar ones. features: of the `window`.
        """
        alike = most_similar(
            self._retrieval.describe(window, features), self._map.view_descriptors, self._settings.matched_views
        )
        matcher = self._matcher or NearestNeighbours(MATCH_RATIO)
        counts = [len(self._landmarks.match_views(features, matcher, np.array([view]))) for view in alike]
        best = int(np.argmax(counts))
        return self._map.poses[alike[best]], counts[best]

    def shared_points(self, features: Features, rendering: Image, window: Rect) -> Array:
        """Pixels [M, 2] of the features that a rendering, looked at in the same window, shows as well."""
        matcher = self._matcher or NearestNeighbours(MATCH_RATIO)
        pairs = matcher.match(features, self._extract(rendering, window))
        return features.keypoints[pairs[:, 0]]

    def _extract(self, image: Image, window: Rect) -> Features:
        settings = self._settings
        return extract_window(self._features, image, window, settings.window_pixels, settings.max_scale)


def around_points(points: Array, radius: int, shape: tuple[int, int]) -> Floats:
    """1 within `radius` px of points [M, 2] of an image [H, W], else 0 (Jiang et al. 2024, section 3.2.3)."""
    weights = np.zeros(shape, np.float32)
    for x, y in np.floor(points).astype(int).tolist():
        cv2.circle(weights, (x, y), radius, 1.0, -1)
    return weights
