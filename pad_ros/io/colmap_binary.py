"""Bounded reading of the COLMAP binary model that the map is kept in.

pycolmap writes it; for reading, its parser trusts the counts in the file and can run for minutes on a
damaged one, so that a bundle is read here instead (format: COLMAP documentation, "Output Format").
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelError
from ..imaging.geometry import Camera, Pose

SIMPLE_PINHOLE, PINHOLE = 0, 1


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
        path = folder / "cameras.bin"
        cameras = _cameras(_Reader(path.read_bytes()))
        path = folder / "images.bin"
        images = _images(_Reader(path.read_bytes()))
        views = [(name, pose, cameras[camera]) for _, (name, pose, camera) in sorted(images.items())]
        path = folder / "points3D.bin"
        points, colours, errors = _points(_Reader(path.read_bytes()))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); train the model anew") from error
    except KeyError as error:
        raise ModelError(f"{path}: camera {error} does not exist; train the model anew") from error
    except (struct.error, ValueError, InputError) as error:
        raise ModelError(f"{path}: damaged COLMAP file ({error}); train the model anew") from error
    names, poses, cams = zip(*views, strict=True) if views else ((), (), ())
    return ColmapModel(names, poses, cams, points, colours, errors)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple[float, ...]:
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


def _cameras(reader: _Reader) -> dict[int, Camera]:
    cameras = {}
    for _ in range(reader.count()):
        number, model, width, height = (int(v) for v in reader.take("IiQQ"))
        if model == PINHOLE:
            fx, fy, cx, cy = reader.take("4d")
        elif model == SIMPLE_PINHOLE:
            fx, cx, cy = reader.take("3d")
            fy = fx
        else:
            raise ValueError(f"camera model {model} is not a pinhole")
        cameras[number] = Camera(width, height, fx, fy, cx, cy)
    reader.finish()
    return cameras


def _images(reader: _Reader) -> dict[int, tuple[str, Pose, int]]:
    images = {}
    for _ in range(reader.count()):
        number, *values, camera = reader.take("I7dI")
        pose = Pose.from_quaternion(np.array(values[:4]), np.array(values[4:]))
        images[int(number)] = (reader.name(), pose, int(camera))
        reader.skip(reader.count(), 24)
    reader.finish()
    return images


def _points(reader: _Reader) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float32]]:
    rows = {}
    for _ in range(reader.count()):
        number, *values = reader.take("Q3d3Bd")
        rows[number] = values
        reader.skip(reader.count(), 8)
    reader.finish()
    table = np.array([rows[number] for number in sorted(rows)], np.float64).reshape(-1, 7)
    with np.errstate(over="ignore"):  # the map refuses what is not finite
        return table[:, :3], table[:, 3:6].astype(np.uint8), table[:, 6].astype(np.float32)
