"""Reference views -> SfM map: features, matches, triangulation with known poses or incremental mapping.

Posed views keep their poses and their frame. Unposed ones are mapped incrementally and put into a frame with
the part at the origin.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pycolmap

from ..errors import TrainingError
from ..imaging.background import Background
from ..imaging.views import ReferenceViews, View
from ..localization.features import Features
from ..localization.matching import PairMatches
from ..localization.sfm_map import SfmMap
from ..networks.network import Network, by_name
from ..progress import say
from ..settings import LocalizationSettings
from .bundle import refine_poses
from .find_poses import find_poses
from .hand_eye import agree
from .mapping_tools import MappingTools
from .registration import MIN_VIEWS, check_landmarks, without_blurred
from .triangulation import triangulate
from .view_matching import agreeing, match_posed, pairs_by_pose

NEIGHBOURS = 16  # views that each posed view is matched with
MAX_EPIPOLAR_ERROR = 3.0  # window px
MAX_REPROJECTION_ERROR = 3.0  # window px
INEXACT = 3.0  # by how many times more matches may be off where poses are to be refined
MIN_ANGLE_DEG = 1.5  # between the rays of a landmark
MIN_LANDMARKS = 50


def build_map(
    views: ReferenceViews,
    background: Background,
    localization: LocalizationSettings | None = None,
    networks: Iterable[Network] = (),
    device: str = "cpu",
    refine: bool | None = None,
) -> tuple[SfmMap, ReferenceViews]:
    """The SfM map and the posed views that the rest of training uses.

    localization: which features, matcher and retrieval to use; networks: those that it names, run on `device`. refine:
    adjust given poses to the images; None: unless they are those of renderings. Blurred views and those that could not
    be placed are left out, with a line that names them; guessed cameras get a focal length and a distortion.
    TrainingError where too few views or landmarks are left.
    """
    if len(views) < MIN_VIEWS:
        raise TrainingError(f"{views.source}: {len(views)} views, a map needs at least {MIN_VIEWS}")
    tools = MappingTools(localization or LocalizationSettings(), by_name(networks), background, device)
    used, blurred = without_blurred(views)
    features = tools.extract(used)
    if used.posed:
        pairs = pairs_by_pose([view.pose for view in used.views if view.pose], NEIGHBOURS)
        if refine or (refine is None and not used.exact):
            wide = tools.match(used, features, pairs, INEXACT * MAX_EPIPOLAR_ERROR, match_posed)
            used = _refined(used, features, wide, INEXACT)
            matches = agreeing(used, features, wide, MAX_EPIPOLAR_ERROR)
        else:
            matches = tools.match(used, features, pairs, MAX_EPIPOLAR_ERROR, match_posed)
    else:
        used, features, found = find_poses(used, features, tools, MAX_EPIPOLAR_ERROR, blurred)
        used = _refined(used, features, found, 1.0)
        matches = agreeing(used, features, found, MAX_EPIPOLAR_ERROR)
    reconstruction = triangulate(used.views, features, matches, MAX_REPROJECTION_ERROR, MIN_ANGLE_DEG)
    if reconstruction.num_points3D() < MIN_LANDMARKS:
        raise TrainingError(
            f"{views.source}: only {reconstruction.num_points3D()} landmarks could be triangulated"
            f" from {len(used)} views ({sum(map(len, features))} features), "
            f"{MIN_LANDMARKS} are needed: take sharper views, closer to each other, or check their poses"
        )
    sfm_map = _to_map(reconstruction, used, features, tools)
    check_landmarks(sfm_map, views.source, tools.settings.min_inliers)
    return sfm_map, used


def _refined(
    views: ReferenceViews, features: Sequence[Features], matches: PairMatches, tolerance: float
) -> ReferenceViews:
    refined, change = refine_poses(views, features, matches, tolerance * MAX_REPROJECTION_ERROR, MIN_ANGLE_DEG)
    say(f"{views.source}: {change or 'poses left as they are, refinement gains nothing'}")
    if change is None or views.measured is None:
        return refined
    found, measured = ([view.pose for view in chosen.views if view.pose] for chosen in (refined, views))
    agreement = agree(found, measured)
    if agreement is None:
        return refined
    say(f"{views.source}: {agreement.describe(views.measured)}")
    posed = tuple(replace(view, pose=pose) for view, pose in zip(refined.views, agreement.poses, strict=True))
    return replace(refined, views=posed)


def _to_map(
    reconstruction: pycolmap.Reconstruction, views: ReferenceViews, features: Sequence[Features], tools: MappingTools
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
    x, y = np.clip(keypoint.astype(int), 0, (width - 1, height - 1))
    return np.asarray(view.image[y, x])
