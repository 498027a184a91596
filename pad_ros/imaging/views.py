"""ReferenceViews: anomaly-free images of the part, with poses where they are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .background import Background
from .geometry import Array, Camera, Pose
from .images import Image


@dataclass(frozen=True, eq=False)
class View:
    """One image of the part. The image is undistorted already: `camera` is a pinhole."""

    name: str  # unique within its set, relative path with suffix, e.g. "train/good/0.png"
    image: Image
    camera: Camera
    pose: Pose | None = None
    mask: NDArray[np.bool_] | None = None  # [H, W], True on the part, if the file says so (alpha)
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # before undistorting
    quarter_turns: int = 0  # clockwise, that show the image upright: cameras note it, the pixels stay as they are

    @property
    def upright(self) -> Array:
        """Where up is in the image [2]; y runs down."""
        return np.array([(0.0, -1.0), (-1.0, 0.0), (0.0, 1.0), (1.0, 0.0)][self.quarter_turns % 4])


@dataclass(frozen=True)
class Measured:
    """Where poses were measured in metres, such as by a robot: names of frames.

    part: the one that the poses are in; camera: the camera's optical frame; mount: what that is fixed to.
    """

    part: str
    camera: str = ""
    mount: str = ""


@dataclass(frozen=True, eq=False)
class ReferenceViews:
    """Views of one good part; either all have a pose (in the part frame) or none has."""

    views: tuple[View, ...]
    source: str  # what was read, for messages and the manifest
    ground: Background | None = None  # what was put behind parts that bring their own alpha channel
    measured: Measured | None = None
    exact: bool = False  # poses of renderings, which nothing can refine; False where they were measured, or are unknown

    @property
    def posed(self) -> bool:
        return all(view.pose is not None for view in self.views)

    def __len__(self) -> int:
        return len(self.views)
