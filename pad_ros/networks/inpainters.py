"""Inpainters: what would be seen where an object hides it. LaMa (Suvorov et al. 2022), or OpenCV's (Telea 2004)."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..imaging.images import Image
from .network import Network

Mask = NDArray[np.bool_]

SIDE = 512  # px that the published export of LaMa takes
RADIUS = 3  # px around a pixel that OpenCV's looks at


class Inpainter(Protocol):
    """Fills holes of an image [H, W, 3]; what lies outside of the hole [H, W] stays as it is."""

    def fill(self, image: Image, hole: Mask) -> Image: ...


class OpenCvInpainter:
    """Continues what is around a hole, from its rim inwards; needs no weights."""

    def fill(self, image: Image, hole: Mask) -> Image:
        return np.asarray(cv2.inpaint(image, hole.astype(np.uint8), RADIUS, cv2.INPAINT_TELEA), np.uint8)


class Lama:
    """LaMa as ONNX: image and mask [1, 3 and 1, 512, 512] in 0..1 give an image in 0..255."""

    def __init__(self, network: Network, device: str = "cpu") -> None:
        """device: "cpu" or "cuda", see `Network.session`. ModelError where `network` does not take these two."""
        self.name = network.name
        self._session = network.session(device)
        if {i.name for i in self._session.get_inputs()} != {"image", "mask"}:
            raise ModelError(f"the network {network.name} is no inpainter: it must take an image and a mask")

    def fill(self, image: Image, hole: Mask) -> Image:
        """ModelError where the network gives no picture."""
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        within = cv2.resize(hole.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 0
        fed = {"image": small.transpose(2, 0, 1)[None], "mask": within.astype(np.float32)[None, None]}
        (values,) = self._session.run(None, fed)[:1]
        if np.shape(values) != (1, 3, SIDE, SIDE) or not np.isfinite(values).all():
            raise ModelError(f"the network {self.name} gives {np.shape(values)}, no image of {SIDE} px")
        found = np.clip(np.asarray(values[0], np.float32).transpose(1, 2, 0), 0, 255)
        own_size = cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.where(hole[..., None], (own_size + np.float32(0.5)).astype(np.uint8), image)
