"""Segmenters: networks that cut a part out of any background (U2-Net, Qin et al. 2020; BiRefNet, Zheng et al. 2024)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..imaging.images import Image
from ..imaging.rect import Rect
from .architectures import IMAGENET_DEVIATION, IMAGENET_MEAN
from .network import Network

Mask = NDArray[np.bool_]

SIDES = {"u2net": 320, "birefnet": 1024, "birefnet-lite": 1024}  # px that each was trained with
LOGITS = ("birefnet", "birefnet-lite")  # whose output is no probability yet
WINDOW_MARGIN = 0.25  # of the window's longer side: they expect to see an object before something
GRABCUT_MARGIN, GRABCUT_ROUNDS = 0.1, 5  # of the longer side, that what is added may lie around the box


class Segmenter:
    """Says which pixels of a window belong to what stands out in it."""

    def __init__(self, network: Network, device: str = "cpu") -> None:
        """device: "cpu" or "cuda", see `Network.session`. ModelError where `network` is not one of `SIDES`."""
        if network.name not in SIDES:
            raise ModelError(f"the network {network.name} is no segmenter; there are: {', '.join(SIDES)}")
        self.name = network.name
        self._side = SIDES[network.name]
        self._session = network.session(device)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name  # U2-Net has six coarser ones behind it

    def part(self, image: Image, box: Rect) -> Mask:
        """Where [H, W] the object in and around `box` is; ModelError where the network gives no picture."""
        seen = box.grown(round(WINDOW_MARGIN * max(box.width, box.height))).clipped(image.shape).slices
        window = image[seen]
        small = cv2.resize(window, (self._side, self._side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        fed = ((small - IMAGENET_MEAN) / IMAGENET_DEVIATION).transpose(2, 0, 1)[None].astype(np.float32)
        (values,) = self._session.run([self._output], {self._input: fed})
        if np.shape(values) != (1, 1, self._side, self._side):
            raise ModelError(f"the network {self.name} gives {np.shape(values)}, no mask of {self._side} px")
        own_size = cv2.resize(np.asarray(values[0, 0], np.float32), window.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        mask = np.zeros(image.shape[:2], bool)
        mask[seen] = own_size > (0.0 if self.name in LOGITS else 0.5)
        return mask


class GrabCut:
    """Cuts by colours, from a box around the part (Rother et al. 2004, OpenCV): needs no weights, and is worse."""

    name = "grabcut"

    def part(self, image: Image, box: Rect) -> Mask:
        """As `Segmenter.part`."""
        seen = box.grown(round(WINDOW_MARGIN * max(box.width, box.height))).clipped(image.shape)
        window = np.ascontiguousarray(image[seen.slices][..., ::-1])
        labels = np.full(window.shape[:2], cv2.GC_BGD, np.uint8)
        inner = box.grown(round(GRABCUT_MARGIN * max(box.width, box.height))).clipped(image.shape)
        labels[inner.y0 - seen.y0 : inner.y1 - seen.y0, inner.x0 - seen.x0 : inner.x1 - seen.x0] = cv2.GC_PR_FGD
        mask = np.zeros(image.shape[:2], bool)
        if not labels.any() or labels.all():  # without any ground in view there is nothing to tell apart
            mask[inner.slices] = True
            return mask
        cv2.setRNGSeed(0)
        cv2.grabCut(window, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
        mask[seen.slices] = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        return mask
