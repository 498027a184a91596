"""Reference views -> SfM map: features, matches, triangulation with known poses or incremental mapping.

Posed views keep their poses and their frame. Unposed ones are mapped incrementally and put into a frame with
the part at the origin.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pycolmap

from ..errors import TrainingError
from ..imaging.background import Background
from ..imaging.geometry import Pose
from ..imaging.views import ReferenceViews, View
from ..io.colmap_cameras import camera_from_colmap
from ..localization.choices import RETRIEVALS, create_features, create_matcher, create_retrieval
from ..localization.features import Features
from ..localization.matching import FeatureMatcher, Floats, Pairs
from ..localization.retrieval import learn_vocabulary
from ..localization.sfm_map import SfmMap
from ..networks.network import Network, by_name
from ..progress import progress
from ..settings import LocalizationSettings
from .incremental import map_incrementally, normalise_frame
from .triangulation import PairMatches, triangulate
from .view_matching import extract_view, match_posed, match_unposed, pairs_by_pose, pairs_by_retrieval, view_window

logger = logging.getLogger(__name__)


NEIGHBOURS = 16  # views that each posed view is matched with
UNPOSED_NEIGHBOURS = 30  # the same for unposed views, found by retrieval
MAX_EPIPOLAR_ERROR = 3.0  # window px
MAX_REPROJECTION_ERROR = 3.0  # window px
MIN_ANGLE_DEG = 1.5  # between the rays of a landmark
MIN_VIEWS = 3
MIN_LANDMARKS = 50


def build_map(
    views: ReferenceViews,
    background: Background,
    localization: LocalizationSettings | None = None,
    networks: Iterable[Network] = (),
    device: str = "cpu",
) -> tuple[SfmMap, ReferenceViews]:
    """The SfM map and the posed views that the rest of training uses.

    localization: which features, matcher and retrieval to use; networks: those that it names, run on `device`.
    Unposed views that could not be registered are dropped, with a warning that names them; their cameras' focal
    lengths are refined. TrainingError where too few views or landmarks are left.
    """
    if len(views) < MIN_VIEWS:
        raise TrainingError(f"{views.source}: {len(views)} views, a map needs at least {MIN_VIEWS}")
    tools = _Tools(localization or LocalizationSettings(), by_name(networks), background, device)
    extractor = create_features(tools.settings.features, tools.networks, device)
    features = [extract_view(extractor, view, background, tools.settings.window_pixels, tools.settings.max_scale)
                for view in progress(views.views, "features", len(views))]  # fmt: skip
    used = views
    if not views.posed:
        used, features = _find_poses(views, features, tools)
    pairs = pairs_by_pose([view.pose for view in used.views if view.pose], NEIGHBOURS)
    matches = _match(used, features, pairs, tools, match_posed)
    reconstruction = triangulate(used.views, features, matches, MAX_REPROJECTION_ERROR,
                                 MIN_ANGLE_DEG)  # fmt: skip
    if reconstruction.num_points3D() < MIN_LANDMARKS:
        raise TrainingError(
            f"{views.source}: only {reconstruction.num_points3D()} landmarks could be triangulated"
            f" from {len(used)} views ({sum(map(len, features))} features), "
            f"{MIN_LANDMARKS} are needed: take sharper views, closer to each other, or check their poses"
        )
    return _to_map(reconstruction, used, features, tools), used


@dataclass(frozen=True)
class _Tools:
    """What mapping shares with localization."""

    settings: LocalizationSettings
    networks: Mapping[str, Network]
    background: Background
    device: str

    @cached_property
    def matcher(self) -> FeatureMatcher | None:
        return create_matcher(self.settings.matcher, self.settings.features, self.networks, self.device)

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


def _match(
    views: ReferenceViews,
    features: Sequence[Features],
    pairs: Sequence[tuple[int, int]],
    tools: _Tools,
    match: Callable[[tuple[View, View], tuple[Features, Features], float, FeatureMatcher | None], Pairs],
) -> PairMatches:
    matches: PairMatches = {}
    for i, j in progress(pairs, "matching", len(pairs)):
        both = (views.views[i], views.views[j]), (features[i], features[j])
        found = match(*both, MAX_EPIPOLAR_ERROR, tools.matcher)
        if len(found):
            matches[i, j] = found
    return matches


def _find_poses(
    views: ReferenceViews, features: Sequence[Features], tools: _Tools
) -> tuple[ReferenceViews, list[Features]]:
    """The views that could be registered to each other, with poses and refined cameras, and their features."""
    if len(views) <= UNPOSED_NEIGHBOURS + 1:
        pairs = list(itertools.combinations(range(len(views)), 2))
    else:
        pairs = pairs_by_retrieval(tools.describe(views, features)[0], UNPOSED_NEIGHBOURS)
    matches = _match(views, features, pairs, tools, match_unposed)
    reconstruction = map_incrementally(views, features, matches)
    kept = {image.name: image for image in reconstruction.images.values() if image.has_pose}
    dropped = [view.name for view in views.views if view.name not in kept]
    if len(kept) < MIN_VIEWS:
        raise TrainingError(f"{views.source}: only {len(kept)} of {len(views)} views could be registered to each other:"
                            " take sharper views with more overlap, or give poses")  # fmt: skip
    if dropped:
        logger.warning("%s: %d of %d views could not be registered and are left out: %s",
                       views.source, len(dropped), len(views), ", ".join(dropped))  # fmt: skip
    normalise_frame(reconstruction, tools.background.colour is not None or all(v.mask is not None for v in views.views))
    posed, left = [], []
    for view, found in zip(views.views, features, strict=True):
        if view.name in kept:
            image = kept[view.name]
            pose = Pose(np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]]))
            posed.append(replace(view, pose=pose, camera=camera_from_colmap(reconstruction.cameras[image.camera_id])))
            left.append(found)
    return replace(views, views=tuple(posed)), left


def _to_map(
    reconstruction: pycolmap.Reconstruction, views: ReferenceViews, features: Sequence[Features], tools: _Tools
) -> SfmMap:
    points = list(reconstruction.points3D.values())
    # (view, its feature) of each landmark's observations
    tracks = [[(seen.image_id - 1, seen.point2D_idx) for seen in point.track.elements] for point in points]
    shades = [[_pixel(views.views[v], features[v].keypoints[k]) for v, k in track] for track in tracks]
    observations = list(itertools.chain.from_iterable(tracks))
    used = np.array([features[v].descriptors[k] for v, k in observations])
    pixels = np.array([features[v].keypoints[k] for v, k in observations], np.float32)
    view_of = np.array([v for v, _ in observations], np.int32)
    mapped = []
    for v in range(len(views)):
        own = np.flatnonzero(view_of == v)
        mapped.append(Features(pixels[own].astype(np.float64), used[own], np.ones(len(own), np.float32)))
    view_descriptors, vocabulary = tools.describe(views, mapped)
    return SfmMap(
        view_names=tuple(view.name for view in views.views),
        poses=tuple(view.pose for view in views.views if view.pose),
        cameras=tuple(view.camera for view in views.views),
        points=np.array([point.xyz for point in points]),
        colours=np.array([np.mean(seen, axis=0) for seen in shades]).round().astype(np.uint8),
        errors=np.array([point.error for point in points], np.float32),
        descriptors=used,
        descriptor_landmark=np.repeat(np.arange(len(tracks), dtype=np.int32), [len(track) for track in tracks]),
        descriptor_view=view_of,
        keypoints=pixels,
        view_descriptors=view_descriptors,
        features=tools.settings.features,
        vocabulary=vocabulary,
    )


def _pixel(view: View, keypoint: np.ndarray) -> np.ndarray:
    height, width = view.image.shape[:2]
    return view.image[min(int(keypoint[1]), height - 1), min(int(keypoint[0]), width - 1)]
