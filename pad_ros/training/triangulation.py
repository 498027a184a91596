"""Landmarks from views with known poses, by COLMAP's incremental triangulator, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pycolmap

from ..imaging.views import View
from ..io.colmap_cameras import posed_reconstruction
from ..localization.features import Features
from ..localization.matching import PairMatches, Pairs

ENOUGH_LANDMARKS = 500
MIN_TRACK = 3  # views of a landmark, where there are enough of them


def triangulate(
    views: Sequence[View], features: Sequence[Features], matches: PairMatches, max_error: float, min_angle_deg: float
) -> pycolmap.Reconstruction:
    """Landmarks refined with the views' poses held, reprojecting within `max_error` window px; image id = index + 1."""
    names, cameras = [view.name for view in views], [view.camera for view in views]
    poses, keypoints = [view.pose for view in views if view.pose], [found.keypoints for found in features]
    reconstruction = posed_reconstruction(names, poses, cameras, keypoints)
    graph = pycolmap.CorrespondenceGraph()
    for v, found in enumerate(features):
        graph.add_image(v + 1, len(found))
    fill_graph(graph, matches)

    pixels = max_error / float(np.median([f.scale for f in features]))
    focal = float(np.median([view.camera.fx for view in views]))
    options = pycolmap.IncrementalTriangulatorOptions()
    options.min_angle = min_angle_deg
    options.random_seed = 0
    # COLMAP's 2 degrees would be dozens of pixels at a long focal length.
    options.create_max_angle_error = options.continue_max_angle_error = float(np.degrees(pixels / focal))
    options.merge_max_reproj_error = options.complete_max_reproj_error = pixels
    observations = pycolmap.ObservationManager(reconstruction, graph)
    triangulator = pycolmap.IncrementalTriangulator(graph, reconstruction, observations)
    for v in range(len(views)):
        triangulator.triangulate_image(options, v + 1)
    triangulator.complete_all_tracks(options)
    triangulator.merge_all_tracks(options)
    observations.filter_all_points3D(pixels, min_angle_deg)
    if reconstruction.num_points3D():
        _refine_points(reconstruction, pixels)
        observations.filter_all_points3D(pixels, min_angle_deg)
    _drop_short_tracks(reconstruction)
    reconstruction.update_point_3d_errors()
    return reconstruction


def fill_graph(graph: pycolmap.CorrespondenceGraph, matches: Mapping[tuple[int, int], Pairs]) -> None:
    """Put verified matches between the images of the correspondence graph; image id = index + 1."""
    for (i, j), pairs in matches.items():
        geometry = pycolmap.TwoViewGeometry()
        geometry.config = pycolmap.TwoViewGeometryConfiguration.CALIBRATED
        geometry.inlier_matches = pairs.astype(np.uint32)
        graph.add_two_view_geometry(i + 1, j + 1, geometry)
    graph.finalize()


def _drop_short_tracks(reconstruction: pycolmap.Reconstruction) -> None:
    """Two views agree by chance along an epipolar line, three hardly; where landmarks are few all are kept."""
    short = [number for number, point in reconstruction.points3D.items() if point.track.length() < MIN_TRACK]
    if reconstruction.num_points3D() - len(short) >= ENOUGH_LANDMARKS:
        for number in short:
            reconstruction.delete_point3D(number)


def _refine_points(reconstruction: pycolmap.Reconstruction, pixels: float) -> None:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = options.refine_extra_params = options.refine_rig_from_world = False
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.loss_function_scale = 0.5 * pixels
    options.ceres.solver_options.max_num_iterations = 25
    config = pycolmap.BundleAdjustmentConfig()
    for number in reconstruction.reg_image_ids():
        config.add_image(number)
    # Not pycolmap.bundle_adjustment: it switches COLMAP's remarks on stderr on.
    pycolmap.create_default_bundle_adjuster(options, config, reconstruction).solve()
