"""A COLMAP sparse model, text or binary."""

from __future__ import annotations

import struct
from pathlib import Path

import pycolmap

from ..errors import InputError
from ..geometry import Camera, Pose
from ..progress import progress
from ..views import ReferenceViews
from .loading import load_view

SUBFOLDERS = ("", "sparse/0", "sparse")
SMALLEST_RECORD = {"cameras.bin": 24, "images.bin": 64, "points3D.bin": 43}  # bytes


def find_colmap(folder: Path) -> Path | None:
    """Where below `folder` the sparse model lies, None if there is none."""
    for sub in SUBFOLDERS:
        for suffix in (".bin", ".txt"):
            if all((folder / sub / f"{name}{suffix}").is_file() for name in ("cameras", "images", "points3D")):
                return folder / sub
    return None


def read_colmap(folder: Path, model: Path, max_side: int | None) -> ReferenceViews:
    """The registered images of the sparse model in `model`, with poses; the image files are looked for in
    `folder`/images, `folder`, and two levels above the model. InputError for damaged models."""
    _check_counts(model)
    try:
        reconstruction = pycolmap.Reconstruction(str(model))
    except Exception as error:  # pycolmap raises whatever C++ threw
        raise InputError(f"{model}: not a readable COLMAP model ({str(error).splitlines()[0][:120]})") from error
    if reconstruction.num_reg_images() == 0:
        raise InputError(f"{model}: the COLMAP model has no registered images")
    roots = (folder / "images", folder, model / "images", model.parent / "images", model.parent.parent / "images")
    shots = sorted(reconstruction.images.values(), key=lambda image: image.name)
    views = []
    for image in progress([i for i in shots if i.has_pose], "reading views", len(shots)):
        file = next((root / image.name for root in roots if (root / image.name).is_file()), None)
        if file is None:
            raise InputError(f"{model}: image {image.name} is not in {folder / 'images'}")
        camera = _camera(reconstruction.cameras[image.camera_id], model)
        matrix = image.cam_from_world().matrix()
        views.append(load_view(image.name, file, camera, Pose.from_rt(matrix[:, :3], matrix[:, 3]), max_side))
    return ReferenceViews(tuple(views), str(model))


def _camera(camera: pycolmap.Camera, model: Path) -> Camera:
    p = [float(x) for x in camera.params]
    size = (int(camera.width), int(camera.height))
    name = camera.model.name
    if name == "SIMPLE_PINHOLE":
        return Camera(*size, p[0], p[0], p[1], p[2])
    if name == "PINHOLE":
        return Camera(*size, p[0], p[1], p[2], p[3])
    if name == "SIMPLE_RADIAL":
        return Camera(*size, p[0], p[0], p[1], p[2], (p[3], 0.0, 0.0, 0.0))
    if name == "RADIAL":
        return Camera(*size, p[0], p[0], p[1], p[2], (p[3], p[4], 0.0, 0.0))
    if name == "OPENCV":
        return Camera(*size, p[0], p[1], p[2], p[3], (p[4], p[5], p[6], p[7]))
    raise InputError(f"{model}: camera model {name} is not supported; undistort the images with COLMAP first")


def _check_counts(model: Path) -> None:
    """pycolmap trusts the counts in binary files and can run for minutes on damaged ones."""
    for name, smallest in SMALLEST_RECORD.items():
        file = model / name
        if not file.is_file():
            continue
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(8)
        if len(head) < 8 or struct.unpack("<Q", head)[0] * smallest > size:
            raise InputError(f"{file}: truncated or damaged")
