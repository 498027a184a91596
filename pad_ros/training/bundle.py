"""Bundle adjustment: poses that were measured or found, refined together with the landmarks (COLMAP's, by Ceres)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pycolmap

from ..imaging.geometry import Pose, rotation_angle
from ..imaging.views import ReferenceViews
from ..localization.features import Features
from ..localization.matching import PairMatches
from .triangulation import MIN_TRACK, triangulate

MIN_ADJUSTED = 100  # landmarks
ROUNDS = 4  # of triangulation and adjustment
MIN_GAIN = 0.9  # of the error before: for less, moving the poses is not worth it
MIN_OBSERVATIONS = 15  # of a view, below which its pose is held
LARGE_TURN, LARGE_SHIFT = 2.0, 0.05  # degrees and share of the distance: poses that were this wrong deserve a word


@dataclass(frozen=True)
class Change:
    """What refinement did: median reprojection error in px, and how far the poses moved."""

    before: float
    after: float
    degrees: float  # median
    shift: float  # median, share of the distance to the landmarks
    largest_degrees: float
    largest_shift: float

    def __str__(self) -> str:
        text = (
            f"poses refined: reprojection error {self.before:.2f} -> {self.after:.2f} px, moved by {self.degrees:.3f} "
            f"degrees and {100 * self.shift:.2f} % of the distance (median)"
        )
        if self.largest_degrees > LARGE_TURN or self.largest_shift > LARGE_SHIFT:
            text += (
                f"; warning: at most {self.largest_degrees:.1f} degrees and {100 * self.largest_shift:.1f} %, so the "
                "given poses were wrong: check where they come from"
            )
        return text


def refine_poses(
    views: ReferenceViews, features: Sequence[Features], matches: PairMatches, max_error: float, min_angle_deg: float
) -> tuple[ReferenceViews, Change | None]:
    """The views with refined poses in the frame and scale of the given ones; cameras stay as they are.

    max_error: window px. The views as they are and None where there are too few landmarks, or nothing is gained.
    """
    before = math.inf
    old = [view.pose for view in views.views if view.pose]
    aligned = old
    for _ in range(ROUNDS):  # better poses let more matches take part
        posed = tuple(replace(view, pose=pose) for view, pose in zip(views.views, aligned, strict=True))
        reconstruction = triangulate(posed, features, matches, max_error, min_angle_deg)
        if reconstruction.num_points3D() < MIN_ADJUSTED:
            return views, None
        if aligned is old:
            before = _median_error(reconstruction)
        _adjust(reconstruction)
        reconstruction.update_point_3d_errors()
        after = _median_error(reconstruction)
        new = [Pose(np.vstack([reconstruction.images[v + 1].cam_from_world().matrix(), [0, 0, 0, 1]]))
               for v in range(len(views))]  # fmt: skip
        moved = pycolmap.estimate_sim3d(np.array([p.centre for p in new]), np.array([p.centre for p in old]))
        if moved is None:
            return views, None
        turn = moved.rotation.matrix()
        aligned = [Pose.from_rt(p.rotation @ turn.T, -p.rotation @ turn.T @ (moved * p.centre)) for p in new]
    if after > MIN_GAIN * before:
        return views, None
    middle = np.median([moved * point.xyz for point in reconstruction.points3D.values()], axis=0)
    degrees = [float(np.degrees(rotation_angle(a, b))) for a, b in zip(aligned, old, strict=True)]
    shifts = [float(np.linalg.norm(a.centre - b.centre)) / max(float(np.linalg.norm(b.centre - middle)), 1e-9)
              for a, b in zip(aligned, old, strict=True)]  # fmt: skip
    change = Change(before, after, float(np.median(degrees)), float(np.median(shifts)), max(degrees), max(shifts))
    posed = tuple(replace(view, pose=pose) for view, pose in zip(views.views, aligned, strict=True))
    return replace(views, views=posed), change


def _adjust(reconstruction: pycolmap.Reconstruction) -> None:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = options.refine_extra_params = False
    options.print_summary = False
    options.min_track_length = MIN_TRACK
    options.ceres.loss_function_type = pycolmap.LossFunctionType.SOFT_L1
    options.ceres.solver_options.max_num_iterations = 50
    config = pycolmap.BundleAdjustmentConfig()
    for number in reconstruction.reg_image_ids():
        config.add_image(number)
        if reconstruction.images[number].num_points3D < MIN_OBSERVATIONS:
            config.set_constant_rig_from_world_pose(reconstruction.images[number].frame_id)
    config.fix_gauge(pycolmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
    pycolmap.create_default_bundle_adjuster(options, config, reconstruction).solve()


def _median_error(reconstruction: pycolmap.Reconstruction) -> float:
    return float(np.median([point.error for point in reconstruction.points3D.values()]))
