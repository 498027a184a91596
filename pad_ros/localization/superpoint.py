"""SuperPoint local features (DeTone et al., CVPR Workshops 2018), for the published weights (non-commercial)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..imaging.geometry import keypoints_from_opencv
from ..imaging.images import Image
from ..networks.network import Network
from .detection import local_maxima
from .features import Features, LocalFeatures, check_weights
from .xfeat import CELL, keypoint_probabilities

SUPPRESSION_RADIUS = 3  # px, of non-maximum suppression; this and the threshold as in hloc for the Aachen data set
BORDER = 4  # px left out on each side
LAYERS = {
    "conv1a": (64, 1, 3), "conv1b": (64, 64, 3), "conv2a": (64, 64, 3), "conv2b": (64, 64, 3),
    "conv3a": (128, 64, 3), "conv3b": (128, 128, 3), "conv4a": (128, 128, 3), "conv4b": (128, 128, 3),
    "convPa": (256, 128, 3), "convPb": (65, 256, 1), "convDa": (256, 128, 3), "convDb": (256, 256, 1),
}  # fmt: skip
SHAPES = {f"{name}.weight": (o, i, k, k) for name, (o, i, k) in LAYERS.items()} | {
    f"{name}.bias": (o,) for name, (o, _, _) in LAYERS.items()
}


class SuperPointFeatures(LocalFeatures):
    """SuperPoint as local features: float32 [N, 256]. `limit` keeps the best keypoints above `threshold`."""

    name = "superpoint"
    similarity = 0.6

    def __init__(self, network: Network, device: str = "cpu", limit: int = 1500, threshold: float = 0.005) -> None:
        state = network.tensors(device)
        check_weights("SuperPoint", state, SHAPES)
        self.limit, self.threshold = limit, threshold
        self._state = {name: value.to(torch.float32) for name, value in state.items()}

    @torch.inference_mode()
    def extract(self, image: Image) -> Features:
        height, width = (side - side % CELL for side in image.shape[:2])
        if min(height, width) < CELL:
            return Features(np.zeros((0, 2)), np.zeros((0, 256), np.float32), np.zeros(0, np.float32))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:height, :width]
        device = self._state["conv1a.weight"].device
        x = torch.from_numpy(np.ascontiguousarray(grey)).to(device)[None, None] / 255
        for stage in "1234":
            x = F.relu(self._conv(f"conv{stage}b", F.relu(self._conv(f"conv{stage}a", x))))
            if stage != "4":
                x = F.max_pool2d(x, 2)
        heat = keypoint_probabilities(self._conv("convPb", F.relu(self._conv("convPa", x)))[0].cpu().numpy())
        heat[:BORDER] = heat[height - BORDER :] = 0
        heat[:, :BORDER] = heat[:, width - BORDER :] = 0
        rows, columns = local_maxima(heat, SUPPRESSION_RADIUS, self.threshold, self.limit)
        dense = F.normalize(self._conv("convDb", F.relu(self._conv("convDa", x))), dim=1)
        places = keypoints_from_opencv(np.stack([columns, rows], axis=1).astype(np.float64))
        grid = torch.from_numpy(2 * places / [width, height] - 1).to(device, torch.float32)[None, None]
        found = F.normalize(F.grid_sample(dense, grid, align_corners=False)[0, :, 0].T, dim=1)
        return Features(places, found.cpu().numpy(), heat[rows, columns])

    def _conv(self, name: str, x: Tensor) -> Tensor:
        weight = self._state[f"{name}.weight"]
        return F.conv2d(x, weight, self._state[f"{name}.bias"], padding=weight.shape[2] // 2)
