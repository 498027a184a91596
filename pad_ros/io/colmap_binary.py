"""Bounded reading of COLMAP's binary files (format: COLMAP documentation, "Output Format").

pycolmap's own parser trusts the counts in a file, and can run for minutes or end the process on a damaged one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from ..imaging.geometry import Camera, Pose

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
    camera: int


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """Images in the order of their ids, points in the order of theirs."""

    names: tuple[str, ...]
    poses: tuple[Pose, ...]
    cameras: tuple[Camera, ...]
    points: NDArray[np.float64]  # [P, 3]
    colours: NDArray[np.uint8]  # [P, 3]
    errors: NDArray[np.float32]  # [P]


def read_model(folder: Path) -> ColmapModel:
    """The pinhole cameras, images and points in `folder`; ModelError where they are missing or damaged."""
    path = folder
    try:
        cameras = read_cameras((path := folder / "cameras.bin").read_bytes())
        if odd := [camera for camera in cameras.values() if camera.distorted]:
            raise ValueError(f"{odd[0]} is not a pinhole")
        shots = read_shots((path := folder / "images.bin").read_bytes())
        of_shots = tuple(cameras[shot.camera] for shot in shots)
        points, colours, errors = _read_points((path := folder / "points3D.bin").read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); train the model anew") from error
    except KeyError as error:
        raise ModelError(f"{path}: camera {error} does not exist; train the model anew") from error
    except (struct.error, ValueError, OverflowError, InputError) as error:
        raise ModelError(f"{path}: damaged COLMAP file ({error}); train the model anew") from error
    names, poses = tuple(shot.name for shot in shots), tuple(shot.pose for shot in shots)
    return ColmapModel(names, poses, of_shots, points, colours, errors)


def read_cameras(data: bytes) -> dict[int, Camera]:
    """The cameras of cameras.bin under their ids. InputError for a camera model that is not supported; ValueError
    or struct.error where the file is damaged."""
    reader, cameras = _Reader(data), {}
    for _ in range(reader.count()):
        number, model, width, height = reader.take("IiQQ")
        name, parameters = CAMERA_MODELS[model] if 0 <= model < len(CAMERA_MODELS) else (f"number {model}", 0)
        cameras[number] = camera_of(name, width, height, reader.take(f"{parameters}d"))
    reader.finish()
    return cameras


def read_shots(data: bytes) -> list[Shot]:
    """The registered images of images.bin in the order of their ids; errors as in `read_cameras`."""
    reader, shots = _Reader(data), {}
    for _ in range(reader.count()):
        number, *pose, camera = reader.take("I7dI")
        shots[number] = shot_of(reader.name(), pose, camera)
        reader.skip(reader.count(), 24)
    reader.finish()
    return [shot for _, shot in sorted(shots.items())]


def shot_of(name: str, pose: list[float], camera: int) -> Shot:
    """pose: quaternion w, x, y, z, then translation; InputError names the image where it is none."""
    try:
        return Shot(name, Pose.from_quaternion(np.array(pose[:4]), np.array(pose[4:])), camera)
    except InputError as error:
        raise InputError(f"image {name}: {error}") from error


def camera_of(name: str, width: int, height: int, parameters: tuple[float, ...]) -> Camera:
    """The Camera of a COLMAP camera model; InputError for one that is not SUPPORTED, ValueError for a wrong count."""
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


def _read_points(data: bytes) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float32]]:
    reader, rows = _Reader(data), {}
    for _ in range(reader.count()):
        number, *values = reader.take("Q3d3Bd")
        rows[number] = values
        reader.skip(reader.count(), 8)
    reader.finish()
    table = np.array([rows[number] for number in sorted(rows)], np.float64).reshape(-1, 7)
    with np.errstate(over="ignore"):  # the map refuses what is not finite
        return table[:, :3], table[:, 3:6].astype(np.uint8), table[:, 6].astype(np.float32)


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
