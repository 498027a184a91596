"""transforms.json as MAD, NeRF-Blender and instant-ngp write it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import images
from ..errors import InputError
from ..geometry import Camera, Pose
from ..progress import progress
from ..views import ReferenceViews, View
from .loading import load_view

NAMES = ("transforms.json", "transforms_train.json")  # looked for in this order
DISTORTION = ("k1", "k2", "p1", "p2")
UNSUPPORTED = ("k3", "k4", "k5", "k6")


def find_transforms(folder: Path) -> Path | None:
    """The file of poses in a data set folder, None if there is none."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_nerf(path: Path, max_side: int | None) -> ReferenceViews:
    """The views of a transforms file, with poses; InputError names the file and the frame that is wrong.

    Intrinsics per frame or for all: fl_x, fl_y, cx, cy, w, h, k1, k2, p1, p2, or camera_angle_x alone.
    In a data set with train/good only the frames in there are taken: the others are not known to be good.
    """
    document = _read_json(path)
    frames = document.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: no frames (expected {{'frames': [{{'file_path', 'transform_matrix'}}, ...]}})")
    root = path.parent
    entries: dict[str, tuple[Path, dict[str, Any]]] = {}
    left_out = 0
    for i, frame in enumerate(frames):
        where = f"{path}: frame {i}"
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str) or not frame["file_path"]:
            raise InputError(f"{where} has no file_path")
        file = _image_file(root, frame["file_path"])
        if file is None:
            if "sharpness" not in frame:
                raise InputError(f"{where}: image {root / frame['file_path']} does not exist")
            # instant-ngp's own files list blurred frames whose images were deleted later; it skips them too.
            left_out += 1
            continue
        name = frame["file_path"].removeprefix("./")
        if name in entries:
            raise InputError(f"{where}: {name} is listed twice")
        entries[name] = (file, {**document, **frame, "where": f"{where} ({name})"})
    if not entries:
        raise InputError(f"{path}: none of the {len(frames)} images it lists exists below {root}")
    if left_out:
        print(f"{path}: {left_out} of {len(frames)} frames have no image and are left out", file=sys.stderr)
    good = {name: entry for name, entry in entries.items() if name.startswith("train/good/")}
    if (root / "train" / "good").is_dir():
        if not good:
            raise InputError(f"{path}: none of the frames lies in train/good")
        entries = good
    views = [
        _read_frame(name, file, values, max_side)
        for name, (file, values) in progress(entries.items(), "reading views", len(entries))
    ]
    return ReferenceViews(tuple(views), str(path))


def read_intrinsics(path: Path, image: Path) -> Camera:
    """The camera that all frames of a transforms file share, for `image`; InputError where there is no such one."""
    return _camera(_read_json(path), image, str(path))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
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


def _read_frame(name: str, file: Path, values: dict[str, Any], max_side: int | None) -> View:
    where = values["where"]
    try:
        matrix = np.asarray(values["transform_matrix"], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: transform_matrix is missing or not a matrix of numbers") from error
    try:
        pose = Pose.from_opengl_camera_to_world(matrix)
        camera = _camera(values, file, where)
    except InputError as error:
        if where in str(error):
            raise
        raise InputError(f"{where}: {error}") from error
    return load_view(name, file, camera, pose, max_side)


def _camera(values: Mapping[str, Any], file: Path, where: str) -> Camera:
    if any(_number(values, key, where, 0.0) for key in UNSUPPORTED) or values.get("is_fisheye"):
        raise InputError(f"{where}: only the distortion k1, k2, p1, p2 is supported; undistort the images first")
    shape = images.load(file).shape if "w" not in values or "h" not in values else None
    width = int(shape[1] if shape else _number(values, "w", where))
    height = int(shape[0] if shape else _number(values, "h", where))
    if "fl_x" in values:
        fx = _number(values, "fl_x", where)
    elif "camera_angle_x" in values:
        fx = _focal(width, _number(values, "camera_angle_x", where), where)
    else:
        raise InputError(f"{where}: no intrinsics (fl_x or camera_angle_x)")
    fy = _number(values, "fl_y", where, fx)
    if "fl_x" not in values and "fl_y" not in values and "camera_angle_y" in values:
        fy = _focal(height, _number(values, "camera_angle_y", where), where)
    k1, k2, p1, p2 = (_number(values, key, where, 0.0) for key in DISTORTION)
    cx, cy = _number(values, "cx", where, width / 2), _number(values, "cy", where, height / 2)
    return Camera(width, height, fx, fy, cx, cy, (k1, k2, p1, p2))


def _focal(size: int, angle: float, where: str) -> float:
    if not 0 < angle < math.pi:
        raise InputError(f"{where}: a field of view of {angle} rad is not between 0 and pi")
    return 0.5 * size / math.tan(0.5 * angle)


def _number(values: Mapping[str, Any], key: str, where: str, default: float | None = None) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise InputError(f"{where}: {key} must be a finite number, got {value!r}")
    return float(value)
