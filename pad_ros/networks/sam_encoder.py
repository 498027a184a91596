"""SAM's image encoder as a backbone of one level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from .architectures import IMAGENET_MEAN
from .backbones import Backbone
from .network import Network
from .sam_export import STRIDE

Floats = NDArray[np.float32]

LEVEL = 3  # of stride 16


class SamEncoder(Backbone):
    """Features of stride 16 of images whose longer side becomes what SAM was trained with (1024 px)."""

    provides: ClassVar[Sequence[int]] = (LEVEL,)

    def __init__(self, network: Network, device: str = "cpu") -> None:
        super().__init__(network, device)
        self._side = int(self._session.get_inputs()[0].shape[-1])

    def levels(self, images: NDArray[np.uint8] | Floats, wanted: Sequence[int] = (LEVEL,)) -> list[Floats]:
        """As `Backbone.levels`, for the one level there is; image by image."""
        if list(wanted) != [LEVEL]:
            raise ValueError(f"{self.name} has level {LEVEL} alone, not {list(wanted)}")
        values = images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
        height, width = values.shape[1:3]
        scale = self._side / max(height, width)
        rows, columns = round(scale * height), round(scale * width)
        smoothly = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        found = []
        for image in values:  # one by one: attention over a whole image takes much memory
            fed = np.empty((self._side, self._side, 3), np.float32)
            fed[:] = IMAGENET_MEAN  # zero once it is normalised, as SAM fills up
            fed[:rows, :columns] = cv2.resize(image, (columns, rows), interpolation=smoothly)
            found.append(super().levels(fed[None], wanted)[0][0])
        return [np.stack(found)[:, :, : -(-rows // STRIDE), : -(-columns // STRIDE)]]
