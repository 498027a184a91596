"""What the renderer hands on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Camera, Pose
from ..imaging.rect import Rect

WINDOW_SURROUND = 4  # px; more than any neighbourhood that the comparison looks at


@dataclass(frozen=True, eq=False)
class ReferenceRendering:
    """How a good part looks from `pose`: float32 arrays at the size of `camera`.

    rgb [H, W, 3] in 0..1 on the model's background; alpha [H, W] in 0..1; depth [H, W] along z in part units, expected
    value over the Gaussians hit, 0 where alpha is 0. features [H, W, C]: further per-Gaussian quantities (expected
    residuals), blended like colours. photographs uint8 [K, H, W, 3]: what reference photographs show of the same
    surface points, where they saw them (seen, bool [K, H, W]). window: all beyond it is of the background_colour
    (0..1), alpha 0; None where that is not known.
    """

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32]
    depth: NDArray[np.float32]
    features: NDArray[np.float32]
    camera: Camera
    pose: Pose
    photographs: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0, 0), np.bool_))
    window: Rect | None = None
    background_colour: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the window and a few pixels of the background around it, or of the whole picture."""
        if self.window is None:
            return np.s_[:, :]
        return self.window.grown(WINDOW_SURROUND).clipped(self.alpha.shape).slices

    def cropped(self, part: tuple[slice, slice]) -> ReferenceRendering:
        """Only these rows and columns."""
        (y0, y1, _), (x0, x1, _) = (s.indices(n) for s, n in zip(part, self.alpha.shape, strict=True))
        return ReferenceRendering(
            self.rgb[part], self.alpha[part], self.depth[part], self.features[part],
            self.camera.cropped(x0, y0, x1 - x0, y1 - y0), self.pose,
            self.photographs[:, part[0], part[1]], self.seen[:, part[0], part[1]],
        )  # fmt: skip

    @property
    def rgb8(self) -> NDArray[np.uint8]:
        """The rendering as an image, uint8 [H, W, 3]."""
        return (self.rgb * 255 + 0.5).astype(np.uint8)
