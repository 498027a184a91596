"""What all readers of reference views share: load, check, undistort, shrink."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, located
from ..imaging import images
from ..imaging.background import MIN_TOLERANCE, Background
from ..imaging.geometry import Camera, Pose, undistort_image
from ..imaging.images import Image
from ..imaging.views import ReferenceViews, View
from ..progress import progress

GUESSED_FOCAL = 1.2  # of the longer side, as COLMAP guesses
FOCAL_LIMITS = (0.1, 100.0)  # of the longer side: 157 and 0.6 degrees across
MAX_TOTAL_PIXELS = 1_500_000_000  # of all views together: 4.5 GB

CameraOf = Callable[[int, int], Camera]  # (width, height) of the stored image -> its camera
ImageSource = tuple[Path, Camera | CameraOf, Pose | None]  # an image file, its camera and pose


def guess_camera(width: int, height: int, share: float = GUESSED_FOCAL) -> Camera:
    """A camera for an image without calibration: its focal length a `share` of the longer side."""
    focal = share * max(width, height)
    return Camera(width, height, focal, focal, width / 2, height / 2)


def with_guess(view: View, share: float = GUESSED_FOCAL) -> View:
    """The view with a guessed camera for its final size: shrinking may have rounded its pixels out of square."""
    return replace(view, camera=guess_camera(view.camera.width, view.camera.height, share))


def check_inside(file: Path, root: Path) -> None:
    """InputError where `file`, its links followed, lies outside `root`: a data set from elsewhere must not choose
    which of this machine's files are read."""
    if not file.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{file}: lies outside of {root}; copy it into the data set")


def load_view(name: str, path: Path, camera: Camera | CameraOf, pose: Pose | None, max_side: int | None) -> View:
    """The View of an image file; see `make_view`. InputError or ImageError names the file."""
    image, alpha = images.load_with_alpha(path)
    with located(path):
        if not isinstance(camera, Camera):
            camera = camera(image.shape[1], image.shape[0])
        return make_view(name, image, alpha, camera, pose, max_side)


def make_view(
    name: str, image: Image, alpha: NDArray[np.uint8] | None, camera: Camera, pose: Pose | None, max_side: int | None
) -> View:
    """The View of an image [H, W, 3]: undistorted, no side longer than `max_side` px.

    Alpha [H, W] becomes the mask, unless it is opaque everywhere. InputError where the image contradicts
    the camera, or the camera is none that takes photographs.
    """
    height, width = image.shape[:2]
    _check_camera(camera, width, height)
    if alpha is not None and bool((alpha == 255).all()):
        alpha = None
    distortion = camera.distortion
    if camera.distorted:
        image = undistort_image(image, camera)
        if alpha is not None:
            alpha = undistort_image(np.repeat(alpha[..., None], 3, axis=2), camera)[..., 0]
        camera = camera.pinhole()
    if max_side is not None and max(width, height) > max_side:
        scale = max_side / max(width, height)
        camera = camera.resized(max(round(width * scale), 1), max(round(height * scale), 1))
        image = images.validate(_shrink(image, camera), f"shrunk to {max_side} px")
        alpha = None if alpha is None else _shrink(alpha, camera)
    return View(name, image, camera, pose, None if alpha is None else alpha > 127, distortion)


def load_views(shots: Mapping[str, ImageSource], max_side: int | None, source: str) -> ReferenceViews:
    """The views of image files under their names, in this order; errors as in `load_view` and `collect`."""
    shown = progress(shots.items(), "reading views", len(shots))
    return collect((load_view(name, *shot, max_side) for name, shot in shown), source)


def collect(views: Iterable[View], source: str) -> ReferenceViews:
    """All views of one source; InputError where they are too large to be held in memory together."""
    kept: list[View] = []
    pixels = 0
    for view in views:
        kept.append(view)
        pixels += view.camera.width * view.camera.height
        if pixels > MAX_TOTAL_PIXELS:
            raise InputError(
                f"{source}: the first {len(kept)} images hold more than {MAX_TOTAL_PIXELS // 10**6} Mpx; "
                "shrink them with --max-side 1600, or give fewer"
            )
    cut_out = bool(kept) and all(view.mask is not None for view in kept)
    background = Background(images.BEHIND_ALPHA, MIN_TOLERANCE) if cut_out else None
    return ReferenceViews(tuple(kept), source, background)


def _check_camera(camera: Camera, width: int, height: int) -> None:
    if (camera.width, camera.height) != (width, height):
        raise InputError(
            f"{width}x{height} pixels, but its intrinsics are for {camera.width}x{camera.height}; "
            "use the images that the intrinsics were made for"
        )
    shares = np.array([camera.fx, camera.fy]) / max(width, height)
    if shares.min() < FOCAL_LIMITS[0] or shares.max() > FOCAL_LIMITS[1]:
        raise InputError(f"a focal length of {camera.fx:g}, {camera.fy:g} px is absurd for {width}x{height} pixels")
    if not (-width <= camera.cx <= 2 * width and -height <= camera.cy <= 2 * height):
        raise InputError(f"principal point {camera.cx:g}, {camera.cy:g} is far outside its {width}x{height} pixels")


def _shrink(pixels: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(pixels, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.uint8)
