"""Pinholes of ours as pycolmap's cameras and back."""

from __future__ import annotations

from collections.abc import Iterable

import pycolmap

from ..imaging.geometry import Camera

pycolmap.logging.minloglevel = pycolmap.logging.WARNING.value  # its remarks would run into the progress lines


def colmap_camera(camera: Camera, camera_id: int = 1) -> pycolmap.Camera:
    """A pinhole as pycolmap's camera."""
    return pycolmap.Camera(model="PINHOLE", width=camera.width, height=camera.height,
                           params=[camera.fx, camera.fy, camera.cx, camera.cy], camera_id=camera_id)  # fmt: skip


def camera_from_colmap(camera: pycolmap.Camera) -> Camera:
    """The pinhole in pycolmap's camera."""
    return Camera(camera.width, camera.height, camera.focal_length_x, camera.focal_length_y,
                  camera.principal_point_x, camera.principal_point_y)  # fmt: skip


def numbered(cameras: Iterable[Camera]) -> dict[Camera, int]:
    """COLMAP ids, from 1, of the distinct ones among `cameras`."""
    return {camera: i + 1 for i, camera in enumerate(dict.fromkeys(cameras))}
