"""NetVLAD (Arandjelovic et al., CVPR 2016): VGG16, a VLAD layer of 64 clusters, and whitening; published weights."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ..imaging.images import Image
from ..networks.netvlad_file import VGG16
from ..networks.network import Network
from .features import Features, check_weights
from .matching import Floats

POOLINGS = (4, 9, 16, 23)  # places of the poolings; all others are ReLUs
CHANNELS, CLUSTERS = 512, 64
MAX_SIDE = 1024  # px, larger images are shrunk to this
MIN_SIDE = 32  # px, of which 2 cells are left


class NetVlad:
    """Retrieval by one vector per image. The network is what `read_matlab` makes of the published file."""

    name = "netvlad"

    def __init__(self, network: Network, device: str = "cpu") -> None:
        self._state = network.tensors(device)
        check_weights("NetVLAD", self._state, _shapes(len(self._state.get("whitening.bias", ()))))

    @torch.inference_mode()
    def describe(self, window: Image, features: Features) -> Floats:
        """The vector [4096] of unit length for an image [H, W, 3]; the local features are not used."""
        s = self._state
        pixels = torch.from_numpy(_resized(window)).to(s["mean"].device)
        x = pixels.permute(2, 0, 1)[None] - s["mean"][:, None, None]
        for place in range(max(VGG16) + 1):
            if place in VGG16:
                x = F.conv2d(x, s[f"vgg16.{place}.weight"], s[f"vgg16.{place}.bias"], padding=1)
            else:
                x = F.max_pool2d(x, 2) if place in POOLINGS else F.relu(x)
        cells = F.normalize(x[0].flatten(1), dim=0)  # [512, n]
        shares = torch.softmax(s["assignment"] @ cells, dim=0)  # [64, n]
        residuals = shares @ cells.T - shares.sum(dim=1, keepdim=True) * s["centres"]  # [64, 512]
        # The published whitening counts channels first.
        vector = F.normalize(F.normalize(residuals, dim=1).T.reshape(1, -1), dim=1)
        whitened = F.linear(vector, s["whitening.weight"], s["whitening.bias"])
        return np.asarray(F.normalize(whitened, dim=1)[0].cpu().numpy())


def _shapes(whitened: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"mean": (3,), "assignment": (CLUSTERS, CHANNELS)}
    shapes |= {"centres": (CLUSTERS, CHANNELS), "whitening.bias": (whitened,)}
    shapes["whitening.weight"] = (whitened, CLUSTERS * CHANNELS)
    for place, (outputs, inputs) in VGG16.items():
        shapes[f"vgg16.{place}.weight"], shapes[f"vgg16.{place}.bias"] = (outputs, inputs, 3, 3), (outputs,)
    return shapes


def _resized(image: Image) -> Image:
    longest, shortest = max(image.shape[:2]), min(image.shape[:2])
    scale = min(1.0, MAX_SIDE / longest) if shortest >= MIN_SIDE else MIN_SIDE / shortest
    if scale == 1:
        return np.ascontiguousarray(image)
    size = (max(round(image.shape[1] * scale), MIN_SIDE), max(round(image.shape[0] * scale), MIN_SIDE))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
