"""transforms.json as MAD, NeRF-Blender and instant-ngp write it."""

from __future__ import annotations

import json
import posixpath
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, located
from ..imaging import images
from ..imaging.geometry import Camera, Pose
from ..imaging.views import ReferenceViews
from .files import read_file
from .loading import ImageSource, check_inside, load_views

NAMES = ("transforms.json", "transforms_train.json")  # looked for in this order
GOOD = "train/good"
MAX_FILE_BYTES = 200_000_000
DISTORTION = ("k1", "k2", "p1", "p2")
UNSUPPORTED = ("k3", "k4", "k5", "k6")
CAMERA_MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")


def find_transforms(folder: Path) -> Path | None:
    """The file of poses in a data set folder, None if there is none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_nerf(path: Path, max_side: int | None) -> ReferenceViews:
    """The views of a transforms file, with poses; InputError names the file and the frame that is wrong.

    Intrinsics per frame or for all: fl_x, fl_y, cx, cy, w, h, k1, k2, p1, p2, or camera_angle_x alone.
    Poses are taken for exact where no frame has a focal length: so renderings are described.
    In a data set with train/good only the frames in there are taken: the others are not known to be good.
    """
    document = _read_json(path)
    frames = document.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: no frames (expected {{'frames': [{{'file_path', 'transform_matrix'}}, ...]}})")
    root = path.parent
    good_only = (root / GOOD).is_dir()
    shots: dict[str, ImageSource] = {}
    left_out = 0
    for i, frame in enumerate(frames):
        where = f"{path}: frame {i}"
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str) or not frame["file_path"]:
            raise InputError(f"{where} has no file_path")
        listed = posixpath.normpath(frame["file_path"])
        if good_only and not listed.startswith(f"{GOOD}/"):
            continue
        file = _image_file(root, listed)
        if file is None:
            if "sharpness" not in frame:
                raise InputError(f"{where}: image {root / listed} does not exist")
            # instant-ngp's own files list blurred frames whose images were deleted later; it skips them too.
            left_out += 1
            continue
        check_inside(file, root)
        name = posixpath.join(posixpath.dirname(listed), file.name)
        if name in shots:
            raise InputError(f"{where}: {name} is listed twice")
        with located(where := f"{where} ({name})"):
            shots[name] = file, partial(_camera, {**document, **frame}, where), _pose(frame)
    if not shots:
        raise InputError(f"{path}: no frame has an image in {root / GOOD if good_only else root}")
    if left_out:
        print(f"{path}: {left_out} of {len(frames)} frames have no image and are left out", file=sys.stderr)
    # Renderers write the angle of the view alone; who measures poses finds a focal length as well.
    exact = not any("fl_x" in values for values in (document, *frames))
    return replace(load_views(shots, max_side, str(path)), exact=exact)


def read_intrinsics(path: Path, image: Path) -> Camera:
    """The camera that all frames of a transforms file share, for `image`; InputError where there is no such one."""
    height, width = images.load(image).shape[:2]
    return _camera(_read_json(path), str(path), width, height)


def _read_json(path: Path) -> dict[str, Any]:
    content = read_file(path, MAX_FILE_BYTES)
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({str(error)[:80]})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object with 'frames', got a {type(document).__name__}")
    return document


def _image_file(root: Path, file_path: str) -> Path | None:
    try:
        candidates = [root / f"{file_path}{suffix}" for suffix in ("", *images.SUFFIXES)]
        return next((candidate for candidate in candidates if candidate.is_file()), None)
    except (OSError, ValueError):  # too long, or with a NUL byte
        return None


def _pose(values: Mapping[str, Any]) -> Pose:
    try:
        matrix = np.asarray(values["transform_matrix"], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError("transform_matrix is missing or not a matrix of numbers") from error
    return Pose.from_opengl_camera_to_world(matrix)


def _camera(values: Mapping[str, Any], where: str, width: int, height: int) -> Camera:
    """The camera that `values` describe; `width` and `height` are the image's, for where they give none."""
    with located(where):
        fisheye = values.get("is_fisheye") or values.get("camera_model", "OPENCV") not in CAMERA_MODELS
        if fisheye or any(_number(values, key, 0.0) for key in UNSUPPORTED):
            raise InputError("only the distortion k1, k2, p1, p2 is supported; undistort the images first")
        width, height = int(_number(values, "w", width)), int(_number(values, "h", height))
        if "fl_x" in values:
            fx = _number(values, "fl_x")
        elif "camera_angle_x" in values:
            fx = Camera.from_fov(width, height, _number(values, "camera_angle_x")).fx
        else:
            raise InputError("no intrinsics (fl_x or camera_angle_x)")
        fy = _number(values, "fl_y", fx)
        if "fl_x" not in values and "fl_y" not in values and "camera_angle_y" in values:
            fy = Camera.from_fov(height, width, _number(values, "camera_angle_y")).fx
        k1, k2, p1, p2 = (_number(values, key, 0.0) for key in DISTORTION)
        cx, cy = _number(values, "cx", width / 2), _number(values, "cy", height / 2)
        return Camera(width, height, fx, fy, cx, cy, (k1, k2, p1, p2))


def _number(values: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise InputError(f"{key} must be a finite number, got {str(value)[:80]!r}")
    return float(value)
