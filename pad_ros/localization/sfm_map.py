"""The SfM map: views with poses, 3D landmarks, and the descriptors that find them again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry import Camera, Pose


@dataclass(frozen=True, eq=False)
class SfmMap:
    """Made by `training.mapping`, used by the localizer. V views, P landmarks, D descriptors of landmarks.

    One landmark has one descriptor for each view that saw it.
    """

    view_names: tuple[str, ...]  # [V]
    poses: tuple[Pose, ...]  # [V]
    cameras: tuple[Camera, ...]  # [V] pinholes
    points: NDArray[np.float64]  # [P, 3] part frame
    colours: NDArray[np.uint8]  # [P, 3] RGB
    errors: NDArray[np.float32]  # [P] mean reprojection error, px
    descriptors: NDArray[np.uint8]  # [D, 128] (float32 [D, C] for learned features)
    descriptor_landmark: NDArray[np.int32]  # [D] index into points
    descriptor_view: NDArray[np.int32]  # [D] index into view_names
    keypoints: NDArray[np.float32]  # [D, 2] pixel of that observation in its view
    view_descriptors: NDArray[np.float32]  # [V, C'] one vector per view, for retrieval
    features: str  # name of the local features, e.g. "sift"
