"""Pinholes and poses of ours as pycolmap's cameras and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pycolmap

from ..imaging.geometry import Array, Camera, Pose

pycolmap.logging.minloglevel = pycolmap.logging.WARNING.value  # its remarks would run into the progress lines


def colmap_camera(camera: Camera, camera_id: int = 1) -> pycolmap.Camera:
    """A pinhole as pycolmap's camera."""
    return pycolmap.Camera(model="PINHOLE", width=camera.width, height=camera.height,
                           params=[camera.fx, camera.fy, camera.cx, camera.cy], camera_id=camera_id)  # fmt: skip


def camera_from_colmap(camera: pycolmap.Camera) -> Camera:
    """pycolmap's camera, a pinhole or one with a single radial coefficient."""
    radial = float(camera.params[3]) if camera.model == pycolmap.CameraModelId.SIMPLE_RADIAL else 0.0
    return Camera(camera.width, camera.height, camera.focal_length_x, camera.focal_length_y,
                  camera.principal_point_x, camera.principal_point_y, (radial, 0.0, 0.0, 0.0))  # fmt: skip


def posed_reconstruction(
    names: Sequence[str], poses: Sequence[Pose], cameras: Sequence[Camera], keypoints: Sequence[Array]
) -> pycolmap.Reconstruction:
    """Images with these poses and keypoints [N, 2], without points. Image id = index + 1, as COLMAP counts."""
    reconstruction = pycolmap.Reconstruction()
    camera_ids = numbered(cameras)
    for camera, number in camera_ids.items():
        reconstruction.add_camera_with_trivial_rig(colmap_camera(camera, number))
    for v, (name, pose, camera, places) in enumerate(zip(names, poses, cameras, keypoints, strict=True)):
        image = pycolmap.Image(name=name, keypoints=places, camera_id=camera_ids[camera], image_id=v + 1)
        reconstruction.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pose.matrix[:3]))
    return reconstruction


def numbered(cameras: Iterable[Camera]) -> dict[Camera, int]:
    """COLMAP ids, from 1, of the distinct ones among `cameras`."""
    return {camera: i + 1 for i, camera in enumerate(dict.fromkeys(cameras))}
