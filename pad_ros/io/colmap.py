"""Views of a COLMAP sparse model, text or binary: its cameras and images alone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from ..imaging.geometry import Camera, Pose
from ..imaging.views import ReferenceViews
from ..progress import progress
from .colmap_binary import Shot, camera_of, read_cameras, read_shots, shot_of
from .loading import check_inside, collect, load_view

T = TypeVar("T")

SUBFOLDERS = ("sparse/0", "sparse", "")
MAX_FILE_BYTES = 4_000_000_000


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
        cameras, shots = _parse(model / "cameras.bin", read_cameras), _parse(model / "images.bin", read_shots)
    else:
        cameras, shots = _parse(model / "cameras.txt", _text_cameras), _parse(model / "images.txt", _text_shots)
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


def _text_cameras(data: bytes) -> dict[int, Camera]:
    cameras = {}
    for line in data.decode().splitlines():
        if line.strip() and not line.startswith("#"):
            number, name, width, height, *parameters = line.split()
            cameras[int(number)] = camera_of(name, int(width), int(height), tuple(map(float, parameters)))
    return cameras


def _text_shots(data: bytes) -> list[Shot]:
    shots = []
    lines = iter(data.decode().splitlines())
    for line in lines:
        if line.strip() and not line.startswith("#"):
            _, qw, qx, qy, qz, tx, ty, tz, camera, name = line.split(maxsplit=9)
            shots.append(shot_of(name.rstrip(), [float(x) for x in (qw, qx, qy, qz, tx, ty, tz)], int(camera)))
            next(lines, None)  # its 2D points, an empty line where it has none
    return shots
