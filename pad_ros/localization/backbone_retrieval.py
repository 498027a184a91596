"""Retrieval by the feature maps of a comparison backbone, as OmniposeAD retrieves its coarse pose.

Zhou et al. 2023, section 4.2.2, speak of a descriptor of 64 values and the least squared distance; their public code
compares whole maps, place by place. Here the maps are averaged over a grid, so that they fit into the map file.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..imaging.images import Image
from ..networks.backbones import Backbone
from ..networks.network import Network
from .features import Features
from .matching import Floats, normalised

SIDE = 224  # px that the window is resized to
GRID = 7
LEVELS = (1, 2, 3)  # finer ones hardly tell views apart, the deepest knows what it sees rather than from where


class BackboneRetrieval:
    """Describes a window by the features at GRID x GRID places; equal weight for each level."""

    def __init__(self, network: Network, device: str = "cpu") -> None:
        self.name = network.name
        self._backbone = Backbone(network, device)

    def describe(self, window: Image, features: Features) -> Floats:
        """The vector [C * GRID^2] of unit length for an image [H, W, 3]; the local features are not used."""
        image = cv2.resize(window, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        found = []
        for level in self._backbone.levels(image[None], LEVELS):
            cells = cv2.resize(level[0].transpose(1, 2, 0), (GRID, GRID), interpolation=cv2.INTER_AREA)
            found.append(normalised(cells.reshape(1, -1)))
        return normalised(np.concatenate(found, axis=1))[0]
