"""Reference views from wherever they lie: the one place that knows all readers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..imaging.images import MIN_SIDE
from ..imaging.views import Measured, ReferenceViews
from .bag_views import read_bag_views
from .bags import is_bag
from .colmap import find_colmap, read_colmap
from .folder import read_folder
from .nerf import find_transforms, read_nerf

Poses = Literal["colmap", "transforms", "none"]


def read_views(
    path: Path,
    max_side: int | None = None,
    poses: Poses | None = None,
    topic: str | None = None,
    part_frame: str | None = None,
) -> ReferenceViews:
    """The reference views at `path`, images no longer than `max_side` px on a side.

    `path` is a data set with transforms.json (MAD, NeRF-Blender, instant-ngp) or that file itself, a
    folder with a COLMAP sparse model, a rosbag2 (folder, .mcap or .db3), or a plain folder of
    photographs. poses: take them and the cameras from a COLMAP model or a transforms.json alone, or ignore both and
    take the photographs; by default what is found first. topic: of a bag's
    images. part_frame: poses are in this frame, in metres; in a bag /tf tells them, see `read_bag_views`. Raises
    InputError or ImageError for whatever cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if max_side is not None and max_side < MIN_SIDE:
        raise InputError(f"max side {max_side} px is less than {MIN_SIDE} px")
    if is_bag(path):
        if poses in ("colmap", "transforms"):
            raise InputError(f"{path}: a rosbag2 has no poses of {poses}; leave --poses out")
        return read_bag_views(path, max_side, topic, None if poses == "none" else part_frame)
    if topic is not None:
        raise InputError(f"{path}: --topic is for a rosbag2")
    views = _read_files(path, max_side, poses)
    if part_frame is None:
        return views
    if not views.posed:
        raise InputError(f"{path}: --part-frame {part_frame}: the views have no poses in any frame")
    return replace(views, measured=Measured(part_frame), exact=False)


def _read_files(path: Path, max_side: int | None, poses: Poses | None) -> ReferenceViews:
    if path.is_file() and path.suffix.lower() == ".json":
        if poses in ("colmap", "none"):
            return _read_files(path.parent, max_side, poses)
        return read_nerf(path, max_side)
    if path.is_file():
        raise InputError(f"{path}: expected a folder, a transforms.json or a rosbag2")
    if poses in ("transforms", None) and (transforms := find_transforms(path)) is not None:
        return read_nerf(transforms, max_side)
    if poses in ("colmap", None) and (model := find_colmap(path)) is not None:
        return read_colmap(path, *model, max_side)
    if poses == "transforms":
        raise InputError(f"{path}: no transforms.json in it; leave --poses out, or say --poses none")
    if poses == "colmap":
        raise InputError(f"{path}: no COLMAP model in it (cameras and images, in it, in sparse/ or in sparse/0)")
    return read_folder(path, max_side)
