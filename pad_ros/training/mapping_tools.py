"""What all of mapping shares: features, matcher and retrieval as the settings name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..compute.threads import for_each, one_blas_thread, thread_count
from ..imaging.background import Background
from ..imaging.views import ReferenceViews, View
from ..localization.choices import RETRIEVALS, create_features, create_matcher, create_retrieval
from ..localization.features import Features, LocalFeatures, extract_window, inside_mask
from ..localization.matching import FeatureMatcher, Floats, PairMatches, Pairs
from ..localization.retrieval import learn_vocabulary
from ..networks.network import Network
from ..progress import Progress, progress
from ..settings import LocalizationSettings
from .view_matching import VIEW_MASK_MARGIN, view_window

BATCH = 4  # pairs per thread between two looks at the progress

Match = Callable[[tuple[View, View], tuple[Features, Features], float, FeatureMatcher | None], Pairs]


@dataclass(frozen=True)
class MappingTools:
    """What mapping shares with localization."""

    settings: LocalizationSettings
    networks: Mapping[str, Network]
    background: Background
    device: str

    @cached_property
    def matcher(self) -> FeatureMatcher | None:
        return create_matcher(self.settings.matcher, self.settings.features, self.networks, self.device)

    @cached_property
    def features(self) -> LocalFeatures:
        return create_features(self.settings.features, self.networks, self.device)

    def extract(self, views: ReferenceViews) -> list[Features]:
        """The features of each view: many, at its own resolution, of photographs without pose or silhouette."""
        many = self.features.many()
        return [self.extract_view(many, view) for view in progress(views.views, "features", len(views))]

    def extract_view(self, many: LocalFeatures, view: View) -> Features:
        """The features of one view on its part, by `many` where the view is a whole photograph."""
        s = self.settings
        box, mask = view_window(view, self.background)
        if view.pose is not None and mask is not None:
            found = extract_window(self.features, view.image, box, s.window_pixels, s.max_scale)
        else:
            pixels = max(s.window_pixels, min(box.area, s.photo_pixels))
            found = extract_window(many, view.image, box, pixels, s.max_scale if mask is not None else 1.0)
        return found if mask is None else found.take(inside_mask(found.keypoints, mask, VIEW_MASK_MARGIN))

    def describe(self, views: ReferenceViews, features: Sequence[Features]) -> tuple[Floats, Floats]:
        """One vector per view [V, C] for retrieval, and the visual words that were learned for it, if any."""
        vocabulary = np.zeros((0, 0), np.float32)
        if RETRIEVALS[self.settings.retrieval].create is None:
            vocabulary = learn_vocabulary(np.concatenate([found.descriptors for found in features]))
        retrieval = create_retrieval(self.settings.retrieval, self.networks, vocabulary, self.device)
        vectors = []
        for view, found in zip(views.views, features, strict=True):
            (x0, y0, x1, y1), _ = view_window(view, self.background)
            vectors.append(retrieval.describe(view.image[y0:y1, x0:x1], found))
        return np.stack(vectors), vocabulary

    def match(
        self, views: ReferenceViews, features: Sequence[Features], pairs: Sequence[tuple[int, int]], max_error: float,
        match: Match,
    ) -> PairMatches:  # fmt: skip
        """What `match` finds in each pair of views, but for pairs without matches; max_error: window px."""
        found: dict[tuple[int, int], Pairs] = {}

        def one(pair: tuple[int, int]) -> None:
            i, j = pair
            both = (views.views[i], views.views[j]), (features[i], features[j])
            found[pair] = match(*both, max_error, self.matcher)

        size = BATCH * thread_count() if self.matcher is None else 1
        with Progress("matching", len(pairs)) as shown, one_blas_thread():
            for begin in range(0, len(pairs), size):
                batch = pairs[begin : begin + size]
                for_each(lambda k, batch=batch: one(batch[k]), len(batch))  # type: ignore[misc]
                shown.update(len(batch))
        return {pair: found[pair] for pair in pairs if len(found[pair])}
