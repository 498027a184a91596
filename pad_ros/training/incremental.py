"""Poses and landmarks from unposed views: COLMAP's incremental mapping, in memory.

Schoenberger and Frahm, "Structure-from-Motion Revisited", CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pycolmap

from ..errors import TrainingError
from ..imaging.geometry import Array, Camera
from ..imaging.views import ReferenceViews
from ..io.colmap_cameras import colmap_camera, numbered
from ..localization.features import Features
from ..localization.matching import PairMatches
from .triangulation import fill_graph
from .view_matching import focus_point

MODELS = 3  # COLMAP starts anew from other views, up to so many times, where the first do not reach all
LOOSE_MATCHES, LOOSE_SHARE = 15, 0.15  # that place a view, instead of COLMAP's 30 and 0.25


def map_incrementally(
    views: ReferenceViews, features: Sequence[Features], matches: PairMatches, loose: bool = False
) -> pycolmap.Reconstruction:
    """The largest model that the views give, in a frame and scale of its own; image id = index + 1.

    Guessed cameras (see `is_guess`) have their focal length and one radial coefficient refined. loose: few matches
    place a view, so check afterwards whether all of them agree. TrainingError where no two views go together.
    """
    cache = pycolmap.DatabaseCache()
    camera_ids = numbered(view.camera for view in views.views)
    for camera, number in camera_ids.items():
        cache.add_camera(_guessed(camera, number) if is_guess(camera) else colmap_camera(camera, number))
        rig = pycolmap.Rig(rig_id=number)
        rig.add_ref_sensor(pycolmap.sensor_t(pycolmap.SensorType.CAMERA, number))
        cache.add_rig(rig)
    for v, (view, found) in enumerate(zip(views.views, features, strict=True)):
        image = pycolmap.Image(name=view.name, keypoints=found.keypoints, camera_id=camera_ids[view.camera],
                               image_id=v + 1)  # fmt: skip
        frame = pycolmap.Frame(frame_id=v + 1, rig_id=image.camera_id)
        frame.add_data_id(image.data_id)
        image.frame_id = v + 1
        cache.add_frame(frame)
        cache.add_image(image)
    fill_graph(cache.correspondence_graph, matches)

    manager = pycolmap.ReconstructionManager()
    pycolmap.IncrementalPipeline(_options(camera_ids, loose), cache, manager).run()
    models = [manager.get(i) for i in range(manager.size())]
    if not models:
        raise TrainingError(f"{views.source}: no two views could be matched well enough to start a map:"
                            " take sharper views with more overlap, or give poses")  # fmt: skip
    return max(models, key=lambda model: model.num_reg_images())


def _options(camera_ids: Mapping[Camera, int], loose: bool) -> pycolmap.IncrementalPipelineOptions:
    options = pycolmap.IncrementalPipelineOptions()
    options.max_num_models = MODELS
    options.extract_colors = False
    options.min_model_size = 3
    options.constant_cameras = {number for camera, number in camera_ids.items() if not is_guess(camera)}
    guessed = any(is_guess(camera) for camera in camera_ids)
    options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = guessed
    options.random_seed = 0
    options.mapper.random_seed = 0
    options.triangulation.random_seed = 0
    if loose:
        options.mapper.abs_pose_min_num_inliers = LOOSE_MATCHES
        options.mapper.abs_pose_min_inlier_ratio = LOOSE_SHARE
    return options


def is_guess(camera: Camera) -> bool:
    """Square pixels and a principal point in the very centre: what readers assume, not what a calibration finds."""
    return camera.fx == camera.fy and camera.cx == camera.width / 2 and camera.cy == camera.height / 2


def _guessed(camera: Camera, camera_id: int) -> pycolmap.Camera:
    return pycolmap.Camera(model="SIMPLE_RADIAL", width=camera.width, height=camera.height,
                           params=[camera.fx, camera.cx, camera.cy, 0.0], camera_id=camera_id)  # fmt: skip


def normalise_frame(reconstruction: pycolmap.Reconstruction, part_only: bool, upright: Mapping[int, Array]) -> None:
    """Move the part to the origin with a bounding sphere of radius 1, z up (the mean of the cameras' up).

    upright: of each image by its id where up is in its pixels, (x, y); y runs down.

    part_only: all landmarks lie on the part, as before a plain background. Otherwise the part is what the
    optical axes meet at, and the radius is the landmarks' median distance from there.
    """
    landmarks = list(reconstruction.points3D.values())
    firm = [point for point in landmarks if point.track.length() >= 3]  # seen by two only: often far astray
    points = np.array([point.xyz for point in firm or landmarks]).reshape(-1, 3)
    placed = {number: image for number, image in reconstruction.images.items() if image.has_pose}
    poses = [image.cam_from_world().matrix() for image in placed.values()]
    rotations = np.array([pose[:, :3] for pose in poses])
    if part_only:
        centre = 0.5 * (np.percentile(points, 1, axis=0) + np.percentile(points, 99, axis=0))
    else:
        centres = np.array([-pose[:, :3].T @ pose[:, 3] for pose in poses])
        centre = focus_point(rotations[:, 2], centres)
    radius = max(float(np.percentile(np.linalg.norm(points - centre, axis=1), 99 if part_only else 50)), 1e-9)
    up = np.mean([rotation[:2].T @ upright[number] for rotation, number in zip(rotations, placed, strict=True)], axis=0)
    z = up / max(np.linalg.norm(up), 1e-9) if np.linalg.norm(up) > 0.05 else np.array([0.0, 0.0, 1.0])
    x = np.cross(z, np.eye(3)[np.argmin(np.abs(z))])
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    scale = 1 / radius
    transform = pycolmap.Sim3d(scale, pycolmap.Rotation3d(rotation), -scale * rotation @ centre)
    reconstruction.transform(transform)
