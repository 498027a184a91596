"""Landmarks for what lies between few views: features of the Gaussians, rendered from there.

Local features are found again over some 20 degrees. Few views lie farther apart, so that a query between two of them
shows neither's features; the Gaussians know how it looks there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from ..imaging.background import Background
from ..imaging.geometry import Array, Pose
from ..imaging.views import View
from ..localization.sfm_map import SfmMap
from ..progress import progress
from ..rendering.gaussians import Gaussians
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from .mapping_tools import MappingTools

NEIGHBOURS = 5  # views that a view is connected with
APART = np.radians([8.0, 75.0])  # views between which there is something to render
DISTINCT = np.radians(7.0)  # rendered poses from nearer to each other show the same
MOST = 150
SOLID = 0.95  # alpha of pixels whose place is known
EDGE = 3  # px around a feature that must be solid, and of one depth
STEP = 0.02  # share of the depth, that it may differ by


def with_views_between(
    sfm_map: SfmMap, views: Sequence[View], gaussians: Gaussians, background: Background, tools: MappingTools
) -> SfmMap:
    """The map with landmarks that the Gaussians show from poses between the views. Each counts as seen by the nearest
    view: what is asked of views, such as how far they reach, stays as it was."""
    renderer = Renderer(gaussians, background, device=tools.device)
    centre = gaussians.centre
    points, colours, descriptors, view_of, pixels = [], [], [], [], []
    between = poses_between(sfm_map.poses, centre)
    camera = views[0].camera
    for pose in progress(between, "views between", len(between)):
        rendering = renderer.render(camera, pose)
        if not (rendering.alpha > SOLID).any():
            continue
        mask = rendering.alpha > 0.5
        features = tools.extract_view(tools.features, View("between", rendering.rgb8, camera, pose, mask))
        x, y = features.keypoints.astype(int).T
        kept = np.flatnonzero(_known(rendering)[y, x])
        rays, depth = camera.rays(features.keypoints[kept]), rendering.depth[y[kept], x[kept]]
        found = pose.inverse().transform(depth[:, None] * rays)
        nearest = int(_angles([pose.centre], np.array([p.centre for p in sfm_map.poses]), centre)[0].argmin())
        places = sfm_map.cameras[nearest].project(sfm_map.poses[nearest].transform(found))
        ahead = np.all(np.isfinite(places), axis=1)
        points.append(found[ahead])
        colours.append(rendering.rgb8[y[kept], x[kept]][ahead])
        descriptors.append(features.descriptors[kept][ahead])
        view_of.append(np.full(int(ahead.sum()), nearest, np.int32))
        pixels.append(places[ahead].astype(np.float32))
    if not points:
        return sfm_map
    count, added = len(sfm_map.points), sum(map(len, points))
    on_part = None if sfm_map.on_part is None else np.concatenate([sfm_map.on_part, np.ones(added, bool)])
    return replace(
        sfm_map,
        points=np.concatenate([sfm_map.points, *points]),
        colours=np.concatenate([sfm_map.colours, *colours]).astype(np.uint8),
        errors=np.concatenate([sfm_map.errors, np.zeros(added, np.float32)]),
        descriptors=np.concatenate([sfm_map.descriptors, *descriptors]),
        descriptor_landmark=np.concatenate([sfm_map.descriptor_landmark, np.arange(count, count + added)]).astype(
            np.int32
        ),
        descriptor_view=np.concatenate([sfm_map.descriptor_view, *view_of]).astype(np.int32),
        keypoints=np.concatenate([sfm_map.keypoints, *pixels]).astype(np.float32),
        on_part=on_part,
    )


def poses_between(poses: Sequence[Pose], centre: Array) -> list[Pose]:
    """Poses halfway between neighbouring ones, as seen from the part's centre [3]; none twice, none where a view is."""
    centres = np.array([pose.centre for pose in poses])
    angles = _angles(centres, centres, centre)
    nearest = np.argsort(angles, axis=1, kind="stable")[:, 1 : NEIGHBOURS + 1]
    pairs = sorted({(min(i, int(j)), max(i, int(j))) for i, row in enumerate(nearest) for j in row})
    out: list[Pose] = []
    taken = list(centres)
    for i, j in pairs:
        if not APART[0] <= angles[i, j] <= APART[1]:
            continue
        pose = _halfway(poses[i], poses[j], centre)
        if _angles([pose.centre], np.array(taken), centre).min() > DISTINCT:
            out.append(pose)
            taken.append(pose.centre)
    return list(itertools.islice(out, MOST))


def _halfway(first: Pose, second: Pose, centre: Array) -> Pose:
    """The rotation halfway, and the camera so that the part's centre is where both see it on average."""
    rotations = Rotation.from_matrix(np.stack([first.rotation, second.rotation]))
    rotation = Slerp([0.0, 1.0], rotations)(0.5).as_matrix()
    seen = 0.5 * (first.transform(centre[None])[0] + second.transform(centre[None])[0])
    return Pose.from_rt(rotation, seen - rotation @ centre)


def _known(rendering: ReferenceRendering) -> NDArray[np.bool_]:
    """Pixels [H, W] of the part with a definite depth, away from edges."""
    around = np.ones((2 * EDGE + 1,) * 2, np.uint8)
    solid = cv2.erode((rendering.alpha > SOLID).astype(np.uint8), around) > 0
    depth = rendering.depth
    step = cv2.dilate(depth, around) - cv2.erode(depth, around)
    return np.asarray(solid & (step < STEP * np.maximum(depth, 1e-9)))


def _angles(first: Sequence[Array] | Array, second: Array, centre: Array) -> Array:
    """Angles [A, B] between camera centres as seen from the part's."""
    a, b = np.asarray(first) - centre, second - centre
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
    return np.asarray(np.arccos(np.clip(a @ b.T, -1, 1)))
