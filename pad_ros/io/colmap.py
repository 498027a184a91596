"""A COLMAP sparse model, text or binary (format: COLMAP documentation, "Output Format").

Read here and not by pycolmap: its parser trusts the counts in a file, and can run for minutes or end the
process on a damaged one. Views need the cameras and the images alone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..errors import InputError
from ..imaging.geometry import Camera, Pose
from ..imaging.views import ReferenceViews
from ..progress import progress
from .loading import check_inside, collect, load_view

T = TypeVar("T")

SUBFOLDERS = ("sparse/0", "sparse", "")
MAX_FILE_BYTES = 4_000_000_000
# number in binary files, name in text files, count of parameters
MODELS = (
    (0, "SIMPLE_PINHOLE", 3), (1, "PINHOLE", 4), (2, "SIMPLE_RADIAL", 4), (3, "RADIAL", 5), (4, "OPENCV", 8),
    (5, "OPENCV_FISHEYE", 8), (6, "FULL_OPENCV", 12), (7, "FOV", 5), (8, "SIMPLE_RADIAL_FISHEYE", 4),
    (9, "RADIAL_FISHEYE", 5), (10, "THIN_PRISM_FISHEYE", 12),
)  # fmt: skip


@dataclass(frozen=True)
class _Shot:
    name: str
    pose: Pose
    camera: int


def find_colmap(folder: Path) -> Path | None:
    """Where below `folder` the sparse model lies, None if there is none."""
    for sub in SUBFOLDERS:
        for suffix in (".bin", ".txt"):
            if all((folder / sub / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
                return folder / sub
    return None


def read_colmap(folder: Path, model: Path, max_side: int | None) -> ReferenceViews:
    """The registered images of the sparse model in `model`, by name, with poses.

    The image files are looked for in images/ of `folder`, of the model and of the two folders above it,
    then in `folder` itself. Raises InputError for a damaged model, a missing image, or a camera model
    other than SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, RADIAL and OPENCV.
    """
    if (model / "cameras.bin").is_file() and (model / "images.bin").is_file():
        cameras = _parse(model / "cameras.bin", _binary_cameras)
        shots = _parse(model / "images.bin", _binary_images)
    else:
        cameras = _parse(model / "cameras.txt", _text_cameras)
        shots = _parse(model / "images.txt", _text_images)
    if not shots:
        raise InputError(f"{model}: the COLMAP model has no registered images")
    shots.sort(key=lambda shot: shot.name)
    roots = [p / "images" for p in (folder, model, model.parent, model.parent.parent)] + [folder]
    entries: dict[str, tuple[Path, Camera, Pose]] = {}
    for shot in shots:
        if shot.name in entries:
            raise InputError(f"{model}: image {shot.name} is listed twice")
        if shot.camera not in cameras:
            raise InputError(f"{model}: image {shot.name} was taken by camera {shot.camera}, which does not exist")
        root = next((root for root in roots if (root / shot.name).is_file()), None)
        if root is None:
            raise InputError(f"{model}: image {shot.name} is not in {folder / 'images'}")
        check_inside(file := root / shot.name, root)
        entries[shot.name] = (file, cameras[shot.camera], shot.pose)
    return collect(
        (
            load_view(name, file, camera, pose, max_side)
            for name, (file, camera, pose) in progress(entries.items(), "reading views", len(entries))
        ),
        str(model),
    )


def _parse(path: Path, parser: Callable[[bytes], T]) -> T:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: larger than {MAX_FILE_BYTES // 10**9} GB")
        return parser(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: truncated or damaged ({error})") from error


def _binary_cameras(data: bytes) -> dict[int, Camera]:
    (count,), at = struct.unpack_from("<Q", data), 8
    cameras = {}
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<IiQQ", data, at)
        name, parameters = next(((name, n) for i, name, n in MODELS if i == model), (f"number {model}", 0))
        cameras[number] = _camera(name, width, height, struct.unpack_from(f"<{parameters}d", data, at + 24))
        at += 24 + 8 * parameters
    return cameras


def _binary_images(data: bytes) -> list[_Shot]:
    (count,), at = struct.unpack_from("<Q", data), 8
    shots = []
    for _ in range(count):
        _, *pose, camera = struct.unpack_from("<I7dI", data, at)
        end = data.index(b"\0", at + 64)
        shots.append(_shot(data[at + 64 : end].decode(), pose, camera))
        (points,) = struct.unpack_from("<Q", data, end + 1)
        at = end + 9 + 24 * points
    if at > len(data):
        raise ValueError(f"{len(data)} bytes, {at} expected")
    return shots


def _text_cameras(data: bytes) -> dict[int, Camera]:
    cameras = {}
    for line in data.decode().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        number, name, width, height, *parameters = line.split()
        cameras[int(number)] = _camera(name, int(width), int(height), tuple(float(p) for p in parameters))
    return cameras


def _text_images(data: bytes) -> list[_Shot]:
    shots = []
    lines = iter(data.decode().splitlines())
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        _, qw, qx, qy, qz, tx, ty, tz, camera, name = line.split(maxsplit=9)
        pose = [float(x) for x in (qw, qx, qy, qz, tx, ty, tz)]
        shots.append(_shot(name.rstrip(), pose, int(camera)))
        next(lines, None)  # its 2D points, an empty line where it has none
    return shots


def _shot(name: str, pose: list[float], camera: int) -> _Shot:
    try:
        return _Shot(name, Pose.from_quaternion(np.array(pose[:4]), np.array(pose[4:])), camera)
    except InputError as error:
        raise InputError(f"image {name}: {error}") from error


def _camera(name: str, width: int, height: int, p: tuple[float, ...]) -> Camera:
    expected = next((n for _, model, n in MODELS if model == name), None)
    if expected is not None and len(p) != expected:
        raise ValueError(f"camera model {name} has {expected} parameters, not {len(p)}")
    if name == "SIMPLE_PINHOLE":
        return Camera(width, height, p[0], p[0], p[1], p[2])
    if name == "PINHOLE":
        return Camera(width, height, p[0], p[1], p[2], p[3])
    if name == "SIMPLE_RADIAL":
        return Camera(width, height, p[0], p[0], p[1], p[2], (p[3], 0.0, 0.0, 0.0))
    if name == "RADIAL":
        return Camera(width, height, p[0], p[0], p[1], p[2], (p[3], p[4], 0.0, 0.0))
    if name == "OPENCV":
        return Camera(width, height, p[0], p[1], p[2], p[3], (p[4], p[5], p[6], p[7]))
    raise InputError(f"camera model {name} is not supported; undistort the images with COLMAP first")
