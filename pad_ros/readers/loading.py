"""What all readers of reference views share: load, check, undistort, shrink."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import images
from ..errors import InputError
from ..geometry import Camera, Pose, undistort_image
from ..images import Image
from ..views import View


def load_view(name: str, path: Path, camera: Camera | None, pose: Pose | None, max_side: int | None) -> View:
    """The View of an image file; see `make_view`."""
    image, alpha = images.load_with_alpha(path)
    try:
        return make_view(name, image, alpha, camera, pose, max_side)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def make_view(
    name: str,
    image: Image,
    alpha: NDArray[np.uint8] | None,
    camera: Camera | None,
    pose: Pose | None,
    max_side: int | None,
) -> View:
    """The View of an image [H, W, 3]: undistorted, no side longer than `max_side` px.

    camera None: COLMAP's guess, a focal length of 1.2 times the longer side. Alpha [H, W] becomes the
    mask. InputError where the image's size contradicts the camera.
    """
    height, width = image.shape[:2]
    if camera is None:
        focal = 1.2 * max(width, height)
        camera = Camera(width, height, focal, focal, width / 2, height / 2)
    if (camera.width, camera.height) != (width, height):
        raise InputError(
            f"{width}x{height} pixels, but its intrinsics are for {camera.width}x{camera.height}; "
            "use the images that the intrinsics were made for"
        )
    image = undistort_image(image, camera)
    if alpha is not None and camera.distorted:
        alpha = undistort_image(np.repeat(alpha[..., None], 3, axis=2), camera)[..., 0]
    camera = camera.pinhole()
    if max_side is not None and max(width, height) > max_side:
        scale = max_side / max(width, height)
        camera = camera.resized(max(round(width * scale), 1), max(round(height * scale), 1))
        size = (camera.width, camera.height)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        if alpha is not None:
            alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = None if alpha is None else alpha > 127
    return View(name, image, camera, pose, mask)
