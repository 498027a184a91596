"""What the renderer hands on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..geometry import Camera, Pose


@dataclass(frozen=True, eq=False)
class ReferenceRendering:
    """How a good part looks from `pose`: float32 arrays at the size of `camera`.

    rgb [H, W, 3] in 0..1 on the model's background; alpha [H, W] in 0..1; depth [H, W] along z
    in part units, expected value over the Gaussians hit, 0 where alpha is 0. features [H, W, C]:
    further per-Gaussian quantities (expected residuals), blended like colours. photographs uint8
    [K, H, W, 3]: what reference photographs show of the same surface points, where they saw them
    (seen, bool [K, H, W]).
    """

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]
    features: NDArray[np.float32]
    camera: Camera
    pose: Pose
    photographs: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0, 0), np.bool_))

    @property
    def rgb8(self) -> NDArray[np.uint8]:
        """The rendering as an image, uint8 [H, W, 3]."""
        return (self.rgb * 255 + 0.5).astype(np.uint8)
