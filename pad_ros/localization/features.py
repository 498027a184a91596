"""Local features, and the window of an image that they are taken from.

Keypoints are pixels of the whole image, centres at +0.5. Parts often fill only a tenth of the frame: the
window around the part is enlarged before detection, which decides the accuracy of the pose more than the
choice of features does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..imaging.background import Mask
from ..imaging.geometry import keypoints_from_opencv
from ..imaging.images import Image
from ..imaging.rect import Rect

MIN_WINDOW = 16  # px, shorter side
PHOTOGRAPH_FEATURES = 6000  # of a whole photograph, where the part is not seen before a plain background


@dataclass(frozen=True, eq=False)
class Features:
    """Local features of one image. scale: window pixels per image pixel; positions are precise to about 1 / scale."""

    keypoints: NDArray[np.float64]  # [N, 2] px
    descriptors: NDArray[np.generic]  # [N, C] uint8 or float32
    scores: NDArray[np.float32]  # [N]
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.keypoints)

    def take(self, index: NDArray[np.generic]) -> Features:
        """The features at `index` (integers or a mask)."""
        return Features(self.keypoints[index], self.descriptors[index], self.scores[index], self.scale)


class LocalFeatures(ABC):
    """A detector and descriptor: stateless between calls, deterministic."""

    name: str
    similarity: float  # cosine of two descriptors from which, near each other, they may show the same point

    @abstractmethod
    def extract(self, image: Image) -> Features: ...

    def quick(self, limit: int) -> LocalFeatures | None:
        """The same with less care, the best `limit`, for a coarse estimate; None where that saves little time."""
        return None

    def many(self) -> LocalFeatures:
        """The same for a whole photograph: as many features as it shows."""
        return self


class SiftFeatures(LocalFeatures):
    """SIFT (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman, CVPR 2012) as uint8 [N, 128].

    `limit` keeps the best keypoints; the contrast threshold is half of OpenCV's, since moulded parts
    show little texture.
    """

    name = "sift"
    similarity = 0.85

    def __init__(self, limit: int = 1500, contrast_threshold: float = 0.02, octave_layers: int = 3) -> None:
        self._limit = limit
        edge_threshold, sigma = 10.0, 1.6  # OpenCV's own
        numbers = limit, octave_layers, contrast_threshold, edge_threshold, sigma
        try:
            self._sift, self._shift = cv2.SIFT.create(*numbers, enable_precise_upscale=True), 0.0
        except cv2.error:  # OpenCV before 4.8: all keypoints lie a quarter of a pixel off
            self._sift, self._shift = cv2.SIFT.create(*numbers), -0.25

    def quick(self, limit: int) -> LocalFeatures:
        return SiftFeatures(limit=limit, octave_layers=2)

    def many(self) -> LocalFeatures:
        return SiftFeatures(limit=PHOTOGRAPH_FEATURES)

    def extract(self, image: Image) -> Features:
        keypoints, raw = self._sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        if len(keypoints) > self._limit:  # OpenCV keeps those as good as the last
            best = np.argsort([-k.response for k in keypoints], kind="stable")[: self._limit]
            keypoints, raw = [keypoints[i] for i in best], raw[best]
        if not keypoints:
            return Features(np.zeros((0, 2)), np.zeros((0, 128), np.uint8), np.zeros(0, np.float32))
        points = keypoints_from_opencv(np.array([k.pt for k in keypoints]) + self._shift)
        scores = np.array([k.response for k in keypoints], np.float32)
        root = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-6))
        descriptors = np.clip(np.rint(512 * root), 0, 255).astype(np.uint8)
        return Features(points, descriptors, scores)


def check_weights(network: str, state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ModelError where the tensors of a checkpoint are not those of `shapes`, names and sizes."""
    wrong = sorted(set(shapes) ^ set(state)) or [name for name in shapes if tuple(state[name].shape) != shapes[name]]
    if wrong:
        raise ModelError(f"not the weights of {network} ({len(wrong)} tensors missing, surplus or odd: {wrong[0]})")


def extract_window(features: LocalFeatures, image: Image, box: Rect, max_pixels: int, max_scale: float) -> Features:
    """Features inside `box`, resized so that it has about `max_pixels` pixels, but by at most `max_scale`."""
    window = image[box.slices]
    height, width = window.shape[:2]
    scale = min(max_scale, (max_pixels / (width * height)) ** 0.5)
    if abs(scale - 1) > 0.05:
        size = (max(round(width * scale), 16), max(round(height * scale), 16))
        window = cv2.resize(window, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    found = features.extract(np.ascontiguousarray(window))
    ratio = np.array([width / window.shape[1], height / window.shape[0]])
    return Features(
        found.keypoints * ratio + [box.x0, box.y0], found.descriptors, found.scores, float(1 / ratio.mean())
    )


def inside_mask(keypoints: NDArray[np.float64], mask: Mask, margin: int) -> NDArray[np.bool_]:
    """Which keypoints [N, 2] lie on `mask` grown by `margin` pixels."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    grown = cv2.dilate(mask.astype(np.uint8), kernel)
    x = np.clip(keypoints[:, 0].astype(int), 0, mask.shape[1] - 1)
    y = np.clip(keypoints[:, 1].astype(int), 0, mask.shape[0] - 1)
    return np.asarray(grown[y, x] > 0)


def grown_window(box: Rect, margin: float, shape: tuple[int, ...]) -> Rect | None:
    """The box grown by a share of its longer side and clipped to the image; None where too little is left."""
    grown = box.grown(round(margin * max(box.width, box.height))).clipped(shape)
    return grown if min(grown.width, grown.height) >= MIN_WINDOW else None


def densest_window(points: NDArray[np.float64], shape: tuple[int, ...]) -> Rect | None:
    """Half the frame's short side around the place where most of the points [N, 2] are."""
    half = 0.25 * min(shape[:2])
    near = np.abs(points[:, None] - points[None]).max(axis=2) < half
    centre = np.median(points[near[near.sum(axis=1).argmax()]], axis=0)
    corner = (int(centre[0] - half), int(centre[1] - half))
    return grown_window(Rect(*corner, corner[0] + int(2 * half), corner[1] + int(2 * half)), 0.0, shape)
