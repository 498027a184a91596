"""XFeat local features (Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching", CVPR 2024).

The published backbone runs in ONNX Runtime; keypoints and descriptors are taken from its maps here.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..errors import ModelError
from ..imaging.geometry import keypoints_from_opencv
from ..imaging.images import Image
from ..networks.network import Network
from .detection import local_maxima, soft_argmax
from .features import Features, LocalFeatures

CELL = 8  # px per cell of the feature map
SUPPRESSION_RADIUS = 2  # of non-maximum suppression, px
REFINEMENT_RADIUS = 2  # px around a maximum; its place is the mean of the probabilities in there


class XFeatFeatures(LocalFeatures):
    """XFeat as local features: float32 [N, 64]. `limit` keeps the best keypoints above `threshold`.

    The network takes images of one size. Larger ones are shrunk to it, the rest of smaller ones is filled with their
    mirror image, so that the normalisation over the whole input sees nothing new.
    """

    name = "xfeat"
    similarity = 0.8

    def __init__(self, network: Network, device: str = "cpu", limit: int = 1500, threshold: float = 0.05) -> None:
        """device: see `Network.session`."""
        self.limit, self.threshold = limit, threshold
        self._session = network.session(device)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape
        if len(shape) != 4 or shape[:2] != [1, 3] or not all(isinstance(n, int) for n in shape) or len(outputs) != 3:
            raise ModelError(f"not the network of XFeat (input {shape}, {len(outputs)} outputs)")
        self._height, self._width = shape[2:]
        self._input = inputs[0].name

    def extract(self, image: Image) -> Features:
        height, width = image.shape[:2]
        fit = min(self._height / height, self._width / width, 1.0)
        if fit < 1:
            size = (max(round(width * fit), 1), max(round(height * fit), 1))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        h, w = image.shape[:2]
        filled = cv2.copyMakeBorder(image, 0, self._height - h, 0, self._width - w, cv2.BORDER_REFLECT_101)
        x = np.ascontiguousarray(filled.transpose(2, 0, 1)[None], np.float32) / 255
        features, logits, reliability = self._session.run(None, {self._input: x})
        heat = keypoint_probabilities(logits[0])[:h, :w]
        rows, columns = local_maxima(heat, SUPPRESSION_RADIUS, self.threshold, heat.size, rounds=0)
        places = soft_argmax(np.log(np.maximum(heat, 1e-6)), rows, columns, REFINEMENT_RADIUS, 1.0)
        scores = heat[rows, columns] * _sample(reliability, places, "bilinear")[:, 0]
        best = np.argsort(-scores, kind="stable")[: self.limit]
        unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        descriptors = _sample(unit, places[best], "bicubic")
        descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-12)
        points = keypoints_from_opencv(places[best].astype(np.float64)) * [width / w, height / h]
        return Features(points, descriptors, scores[best].astype(np.float32))


def keypoint_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Per pixel [8 h, 8 w] from logits [65, h, w]: the softmax over the 64 pixels of a cell and "none of them"."""
    _, h, w = logits.shape
    exponent = np.exp(logits - logits.max(axis=0))
    shares = exponent[: CELL * CELL] / exponent.sum(axis=0)
    return np.ascontiguousarray(shares.reshape(CELL, CELL, h, w).transpose(2, 0, 3, 1)).reshape(h * CELL, w * CELL)


def _sample(maps: NDArray[np.float32], places: NDArray[np.float32], mode: str) -> NDArray[np.float32]:
    """Values [N, C] of maps [1, C, h, w], one value per cell, at pixel indices (x, y) [N, 2]."""
    size = np.array([maps.shape[3], maps.shape[2]]) * CELL
    grid = torch.from_numpy((2 * (places + 0.5) / size - 1).astype(np.float32))[None, None]
    found = F.grid_sample(torch.from_numpy(maps), grid, mode=mode, padding_mode="border", align_corners=False)
    return np.asarray(found[0, :, 0].T.numpy(), np.float32)
