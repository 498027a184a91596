"""ReferenceViews: anomaly-free images of the part, with poses where they are known, and their readers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .background import Background
from .geometry import Camera, Pose
from .images import MIN_SIDE, Image


@dataclass(frozen=True, eq=False)
class View:
    """One image of the part. The image is undistorted already: `camera` is a pinhole."""

    name: str  # unique within its set, relative path with suffix, e.g. "train/good/0.png"
    image: Image
    camera: Camera
    pose: Pose | None = None
    mask: NDArray[np.bool_] | None = None  # [H, W], True on the part, if the file says so (alpha)
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # of the lens, before undistorting


@dataclass(frozen=True, eq=False)
class ReferenceViews:
    """Views of one good part; either all have a pose (in the part frame) or none has."""

    views: tuple[View, ...]
    source: str  # what was read, for messages and the manifest
    ground: Background | None = None  # what was put behind parts that bring their own alpha channel

    @property
    def posed(self) -> bool:
        return all(view.pose is not None for view in self.views)

    def __len__(self) -> int:
        return len(self.views)


def read_views(path: Path, max_side: int | None = None) -> ReferenceViews:
    """The reference views at `path`, images no longer than `max_side` px on a side.

    `path` is a data set with transforms.json (MAD, NeRF-Blender, instant-ngp) or that file itself, a
    folder with a COLMAP sparse model, a rosbag2 (folder, .mcap or .db3), or a plain folder of
    photographs. Raises InputError or ImageError for whatever cannot be used.
    """
    from ..io.bags import is_bag, read_bag_views
    from ..io.colmap import find_colmap, read_colmap
    from ..io.folder import read_folder
    from ..io.nerf import find_transforms, read_nerf

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
        return read_colmap(path, model, max_side)
    return read_folder(path, max_side)
