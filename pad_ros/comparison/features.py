"""Difference between features of a backbone: a further residual channel of the calibrated comparison."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.background import mask_box
from ..imaging.images import Image
from ..networks.backbones import Backbone
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]

NEAR_PIXELS = 7  # px: side of the square that decides which picture is nearest in colour
COMPARED_MARGIN = 16  # px around the part that are compared


@dataclass(frozen=True)
class Cue:
    """level: of the backbone, that is compared; weight: of its evidence beside that of the colours."""

    level: int
    weight: float


# Stride 4: finer levels see little more than colour, coarser ones lose small defects.
USUAL_CUE = Cue(1, 0.25)
CUES = {"efficientnet-lite0": Cue(1, 0.25)}  # where another is better


def cue_of(backbone: Backbone | None) -> Cue:
    """What a backbone's features are used for."""
    return USUAL_CUE if backbone is None else CUES.get(backbone.name, USUAL_CUE)


def feature_difference(image: Image, rendering: ReferenceRendering, backbone: Backbone) -> Floats:
    """How far the features of the query are from those of the reference [H, W]: the cosine distance.

    The reference is put together of the rendering and what photographs saw: at each place what is nearest in colour to
    the query, so that the network runs once and not for each of them. Zero away from the part.
    """
    height, width = image.shape[:2]
    out = np.zeros((height, width), np.float32)
    x0, y0, x1, y1 = mask_box(rendering.alpha > 0.05, COMPARED_MARGIN) or (0, 0, width, height)
    part = np.s_[y0:y1, x0:x1]
    reference = nearest_in_colour(image[part], rendering.cropped(part))
    distance = 1 - np.einsum("chw,chw->hw", _directions(image[part], backbone), _directions(reference, backbone))
    out[part] = cv2.resize(np.maximum(distance, 0), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    return out


def nearest_in_colour(image: Image, rendering: ReferenceRendering) -> Image:
    """[H, W, 3]: the rendering, but where a photograph is nearer to the query around a pixel, the photograph."""
    best, least = rendering.rgb8, _around(image, rendering.rgb8)
    for photograph, seen in zip(rendering.photographs, rendering.seen, strict=True):
        difference = np.where(seen, _around(image, photograph), np.inf)
        nearer = difference < least
        best, least = np.where(nearer[..., None], photograph, best), np.where(nearer, difference, least)
    return best


def _around(image: Image, other: Image) -> Floats:
    """Mean difference of the colours around each pixel [H, W]."""
    difference = cv2.absdiff(image, other).sum(axis=2, dtype=np.float32)
    return np.asarray(cv2.blur(difference, (NEAR_PIXELS, NEAR_PIXELS)))


def _directions(image: Image, backbone: Backbone) -> Floats:
    """Features [C, h, w] of length 1."""
    features = backbone.levels(image[None], [cue_of(backbone).level])[0][0]
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=0), 1e-6))
