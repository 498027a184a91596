"""Reference views from wherever they lie: the one place that knows all readers."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..imaging.images import MIN_SIDE
from ..imaging.views import ReferenceViews
from .bags import is_bag, read_bag_views
from .colmap import find_colmap, read_colmap
from .folder import read_folder
from .nerf import find_transforms, read_nerf


def read_views(path: Path, max_side: int | None = None) -> ReferenceViews:
    """The reference views at `path`, images no longer than `max_side` px on a side.

    `path` is a data set with transforms.json (MAD, NeRF-Blender, instant-ngp) or that file itself, a
    folder with a COLMAP sparse model, a rosbag2 (folder, .mcap or .db3), or a plain folder of
    photographs. Raises InputError or ImageError for whatever cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if max_side is not None and max_side < MIN_SIDE:
        raise InputError(f"max side {max_side} px is less than {MIN_SIDE} px")
    if path.is_file() and path.suffix.lower() == ".json":
        return read_nerf(path, max_side)
    if is_bag(path):
        return read_bag_views(path, max_side)
    if path.is_file():
        raise InputError(f"{path}: expected a folder, a transforms.json or a rosbag2")
    if (transforms := find_transforms(path)) is not None:
        return read_nerf(transforms, max_side)
    if (model := find_colmap(path)) is not None:
        return read_colmap(path, *model, max_side)
    return read_folder(path, max_side)
