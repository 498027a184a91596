"""Poses of photographs that have none: match, map, try again with those left over, undistort."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pycolmap

from ..errors import TrainingError
from ..imaging.geometry import Camera, Pose, undistort_image
from ..imaging.views import ReferenceViews, View
from ..io.colmap_cameras import camera_from_colmap
from ..localization.features import Features
from ..localization.matching import PairMatches
from .incremental import map_incrementally, normalise_frame
from .mapping_tools import MappingTools
from .photo_matching import MIN_PAIR_MATCHES, WIDE_RATIO, PhotoMatching, likely_pairs
from .registration import MIN_FEATURES, MIN_VIEWS, Failure, check_placed, failures_of, joined, least_placed
from .view_matching import agreeing, pairs_by_retrieval

COMPARED = 60  # of very many views each is compared with so many, found by retrieval
CONFIRMED_SHARE = 0.5  # of the share of matches that agree with the poses in the median view
CONFIRMED_ERROR = 2.0  # within so many times the usual tolerance
TOO_SMALL_DISTORTION = 0.5  # px at the corners: below, none was seen


def find_poses(
    views: ReferenceViews, features: Sequence[Features], tools: MappingTools, max_error: float,
    left_out: Sequence[Failure] = (),
) -> tuple[ReferenceViews, list[Features], PairMatches]:  # fmt: skip
    """The views that go into one map, with poses and cameras, undistorted; their features and matches.

    max_error: window px; left_out: views that were left out before, for the message. TrainingError names the views that
    could not be placed, where they are too many.
    """
    pairs = _all_pairs(views, features, tools)
    matches = tools.match(
        views, features, likely_pairs(features, pairs), max_error, PhotoMatching(tools.features.similarity)
    )
    given = len(views) + len(left_out)
    least = least_placed(given)
    reconstruction = _mapped(views, features, matches) if len(joined(matches)) >= least else None
    if reconstruction is None or reconstruction.num_reg_images() < len(views):
        matches, reconstruction = _second_try(views, features, tools, max_error, (matches, reconstruction))
    if reconstruction is None:
        together = joined(matches)
        check_placed(views.source, given, len(together), [*left_out, *failures_of(views, features, matches, together)])
        raise TrainingError(
            f"{views.source}: the views match, but no two of them from places far enough apart to start a map: "
            "move the camera around the part, do not only turn it"
        )
    part_only = tools.background.colour is not None or all(v.mask is not None for v in views.views)
    normalise_frame(reconstruction, part_only, {v + 1: view.upright for v, view in enumerate(views.views)})
    posed = _confirmed(views, features, matches, reconstruction, max_error)
    placed = sorted(posed)
    check_placed(views.source, given, len(placed), [*left_out, *failures_of(views, features, matches, placed)])
    place = {v: i for i, v in enumerate(placed)}
    kept = {(place[i], place[j]): pairs for (i, j), pairs in matches.items() if i in place and j in place}
    straight = tuple(_straightened(posed[v][0], views.views[v]) for v in placed)
    return replace(views, views=straight), [posed[v][1] for v in placed], kept


def _confirmed(
    views: ReferenceViews, features: Sequence[Features], matches: PairMatches, reconstruction: pycolmap.Reconstruction,
    max_error: float,
) -> dict[int, tuple[View, Features]]:  # fmt: skip
    """Views with poses and their features, as a pinhole sees these, by index.

    Only where about as many of all matches with other placed views agree as for other views: a few of them place any
    view somewhere.
    """
    placed = {v: _posed(views.views[v], features[v], reconstruction, v + 1) for v in _placed(reconstruction)}
    of = {pair: found for pair, found in matches.items() if pair[0] in placed and pair[1] in placed}
    order = {v: i for i, v in enumerate(placed)}
    among = replace(views, views=tuple(view for view, _ in placed.values()))
    renamed = {(order[i], order[j]): found for (i, j), found in of.items()}
    good = agreeing(among, [seen for _, seen in placed.values()], renamed, CONFIRMED_ERROR * max_error)
    agree, among_all = np.zeros(len(placed)), np.zeros(len(placed))
    for pair, pairs in renamed.items():
        agree[list(pair)] += len(good.get(pair, ()))
        among_all[list(pair)] += len(pairs)
    share = agree / np.maximum(among_all, 1)
    firm = (agree >= MIN_PAIR_MATCHES) & (share >= CONFIRMED_SHARE * np.median(share))
    return {v: found for (v, found), is_firm in zip(placed.items(), firm, strict=True) if is_firm}


def _all_pairs(views: ReferenceViews, features: Sequence[Features], tools: MappingTools) -> list[tuple[int, int]]:
    if len(views) <= COMPARED + 1:
        return list(itertools.combinations(range(len(views)), 2))
    return pairs_by_retrieval(tools.describe(views, features)[0], COMPARED)


def _mapped(
    views: ReferenceViews, features: Sequence[Features], matches: PairMatches, loose: bool = False
) -> pycolmap.Reconstruction | None:
    try:
        return map_incrementally(views, features, matches, loose)
    except TrainingError:
        return None


def _placed(reconstruction: pycolmap.Reconstruction | None) -> list[int]:
    """Indices of the views with a pose, in order."""
    if reconstruction is None:
        return []
    return sorted(number - 1 for number, image in reconstruction.images.items() if image.has_pose)


def _second_try(
    views: ReferenceViews, features: Sequence[Features], tools: MappingTools, max_error: float,
    first: tuple[PairMatches, pycolmap.Reconstruction | None],
) -> tuple[PairMatches, pycolmap.Reconstruction | None]:  # fmt: skip
    """Matches of the views left over with all others, by a wider ratio, and the map by looser rules; the better one."""
    matches, reconstruction = first
    placed = set(_placed(reconstruction))
    left = {v for v in range(len(views)) if v not in placed and len(features[v]) >= MIN_FEATURES}
    pairs = [(i, j) for i, j in _all_pairs(views, features, tools) if i in left or j in left]
    if not pairs:
        return first
    wide = tools.match(views, features, pairs, max_error, PhotoMatching(tools.features.similarity, WIDE_RATIO))
    together = {**matches, **{pair: found for pair, found in wide.items() if len(found) > len(matches.get(pair, ()))}}
    enough = len(joined(together)) > max(len(placed), MIN_VIEWS - 1)
    again = _mapped(views, features, together, loose=True) if enough else None
    return (together, again) if len(_placed(again)) > len(placed) or not placed else first


def _posed(
    view: View, features: Features, reconstruction: pycolmap.Reconstruction, number: int
) -> tuple[View, Features]:
    """The view with the pose that was found, and its features as a pinhole sees them; the image is as it was."""
    image = reconstruction.images[number]
    pose = Pose(np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]]))
    camera = camera_from_colmap(reconstruction.cameras[image.camera_id])
    if _largest_shift(camera) < TOO_SMALL_DISTORTION:
        return replace(view, pose=pose, camera=camera.pinhole()), features
    keypoints = camera.rays(features.keypoints)[:, :2] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    placed = replace(view, camera=camera.pinhole(), pose=pose, distortion=camera.distortion)
    return placed, replace(features, keypoints=keypoints)


def _straightened(view: View, before: View) -> View:
    """The view without the distortion that was found for it."""
    if view.distortion == before.distortion:  # none was found; what a calibration knew is gone from the image already
        return view
    camera = replace(view.camera, distortion=view.distortion)
    mask = view.mask
    if mask is not None:
        mask = undistort_image(np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), camera)[..., 0] > 127
    return replace(view, image=undistort_image(view.image, camera), mask=mask)


def _largest_shift(camera: Camera) -> float:
    """By how many px the lens moves the corners."""
    corners = np.array([[0.0, 0.0], [camera.width, 0.0], [0.0, camera.height], [camera.width, camera.height]])
    rays = camera.pinhole().rays(corners)
    return float(np.linalg.norm(camera.project(rays) - corners, axis=1).max())
