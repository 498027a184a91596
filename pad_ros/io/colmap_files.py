"""Bounded reading of COLMAP's files, text or binary (format: COLMAP documentation, "Output Format").

pycolmap's own parser trusts the counts in a file, and can run for minutes or end the process on a damaged one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelError, located
from ..imaging.geometry import Camera, Pose
from .files import read_file

T = TypeVar("T")
Points = tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float32]]  # places [P, 3], colours [P, 3], errors [P]

MAX_FILE_BYTES = 4_000_000_000
# Of each camera model: its number in binary files is its place, then its name in text files and count of parameters.
CAMERA_MODELS = (
    ("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8), ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4), ("RADIAL_FISHEYE", 5), ("THIN_PRISM_FISHEYE", 12),
)  # fmt: skip
ONE_FOCAL_LENGTH = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
SUPPORTED = (*ONE_FOCAL_LENGTH, "PINHOLE", "OPENCV")


@dataclass(frozen=True, eq=False)
class Shot:
    """One registered image."""

    name: str
    pose: Pose
    camera: Camera


def read_shots(folder: Path, suffix: str) -> list[Shot]:
    """The registered images of the model in `folder`, the binary ones (".bin") in the order of their ids.

    InputError where a file is missing or damaged, or for a camera model that is not SUPPORTED.
    """
    binary = suffix == ".bin"
    cameras = _parse(folder / f"cameras{suffix}", _binary_cameras if binary else _text_cameras)
    images = _parse(folder / f"images{suffix}", _binary_images if binary else _text_images)
    for name, _, camera in images:
        if camera not in cameras:
            raise InputError(f"{folder}: image {name} was taken by camera {camera}, which does not exist")
    return [Shot(name, pose, cameras[camera]) for name, pose, camera in images]


def read_model(folder: Path) -> tuple[list[Shot], Points]:
    """The pinhole images and points of a binary model in the order of their ids; ModelError where it is damaged."""
    try:
        shots, points = read_shots(folder, ".bin"), _parse(folder / "points3D.bin", _binary_points)
    except InputError as error:
        raise ModelError(f"{error}; train the model anew") from error
    if odd := [shot.camera for shot in shots if shot.camera.distorted]:
        raise ModelError(f"{folder}: damaged, {odd[0]} is not a pinhole; train the model anew")
    return shots, points


def _parse(path: Path, parser: Callable[[bytes], T]) -> T:
    data = read_file(path, MAX_FILE_BYTES)
    with located(path):
        try:
            return parser(data)
        except (struct.error, ValueError, IndexError, OverflowError) as error:
            raise InputError(f"truncated or damaged ({error})") from error


def _text_cameras(data: bytes) -> dict[int, Camera]:
    cameras = {}
    for line in data.decode().splitlines():
        if line.strip() and not line.startswith("#"):
            number, name, width, height, *parameters = line.split()
            cameras[int(number)] = _camera(name, int(width), int(height), tuple(map(float, parameters)))
    return cameras


def _text_images(data: bytes) -> list[tuple[str, Pose, int]]:
    found = []
    lines = iter(data.decode().splitlines())
    for line in lines:
        if line.strip() and not line.startswith("#"):
            _, qw, qx, qy, qz, tx, ty, tz, camera, name = line.split(maxsplit=9)
            pose = _pose(name.rstrip(), [float(x) for x in (qw, qx, qy, qz, tx, ty, tz)])
            found.append((name.rstrip(), pose, int(camera)))
            next(lines, None)  # its 2D points, an empty line where it has none
    return found


def _binary_cameras(data: bytes) -> dict[int, Camera]:
    reader, cameras = _Reader(data), {}
    for _ in range(reader.count()):
        number, model, width, height = reader.take("IiQQ")
        name, parameters = CAMERA_MODELS[model] if 0 <= model < len(CAMERA_MODELS) else (f"number {model}", 0)
        cameras[number] = _camera(name, width, height, reader.take(f"{parameters}d"))
    reader.finish()
    return cameras


def _binary_images(data: bytes) -> list[tuple[str, Pose, int]]:
    reader, found = _Reader(data), {}
    for _ in range(reader.count()):
        number, *pose, camera = reader.take("I7dI")
        name = reader.name()
        found[number] = name, _pose(name, pose), camera
        reader.skip(reader.count(), 24)
    reader.finish()
    return [image for _, image in sorted(found.items())]


def _binary_points(data: bytes) -> Points:
    reader, rows = _Reader(data), {}
    for _ in range(reader.count()):
        number, *values = reader.take("Q3d3Bd")
        rows[number] = values
        reader.skip(reader.count(), 8)
    reader.finish()
    table = np.array([rows[number] for number in sorted(rows)], np.float64).reshape(-1, 7)
    with np.errstate(over="ignore"):  # the map refuses what is not finite
        return table[:, :3], table[:, 3:6].astype(np.uint8), table[:, 6].astype(np.float32)


def _pose(name: str, values: Sequence[float]) -> Pose:
    """values: quaternion w, x, y, z, then translation."""
    with located(f"image {name}"):
        return Pose.from_quaternion(np.array(values[:4]), np.array(values[4:]))


def _camera(name: str, width: int, height: int, parameters: tuple[float, ...]) -> Camera:
    expected = dict(CAMERA_MODELS).get(name, len(parameters))
    if len(parameters) != expected:
        raise ValueError(f"camera model {name} has {expected} parameters, not {len(parameters)}")
    if name not in SUPPORTED:
        raise InputError(f"camera model {name} is not supported; undistort the images with COLMAP first")
    if name in ONE_FOCAL_LENGTH:
        parameters = (parameters[0], *parameters)
    fx, fy, cx, cy, *distortion = parameters
    k1, k2, p1, p2 = (*distortion, 0.0, 0.0, 0.0, 0.0)[:4]
    return Camera(width, height, fx, fy, cx, cy, (k1, k2, p1, p2))


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def count(self) -> int:
        return int(self.take("Q")[0])

    def skip(self, records: int, size: int) -> None:
        self.at += records * size
        if self.at > len(self.data):
            raise ValueError("shorter than its counts say")

    def name(self) -> str:
        end = self.data.index(b"\0", self.at)
        text = self.data[self.at : end].decode()
        self.at = end + 1
        return text

    def finish(self) -> None:
        if self.at != len(self.data):
            raise ValueError(f"{len(self.data) - self.at} bytes too many")
