"""Difference between features, as a further residual channel of the calibrated comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.background import mask_box
from ..imaging.images import Image
from ..networks.backbones import Backbone
from ..rendering.result import ReferenceRendering
from .gradients import gradient_features

Floats = NDArray[np.float32]

NEAR_PIXELS = 7  # px: side of the square that decides which picture is nearest in colour
COMPARED_MARGIN = 16  # px around the part that are compared

_MEAN = np.full((1, 3), 1 / 3, np.float32)  # of the channels


@dataclass(frozen=True)
class Cue:
    """level: of the backbone, that is compared; weight: of its evidence beside that of the colours."""

    level: int
    weight: float


# Stride 4: finer levels see little more than colour, coarser ones lose small defects.
USUAL_CUE = Cue(1, 0.25)
CUES = {"efficientnet-lite0": Cue(1, 0.25)}  # where another is better


@dataclass(frozen=True)
class Features:
    """What is compared beside the colours. name: of it; describe: features float32 [C, h, w] of an image [H, W, 3], of
    any length; weight: of their evidence beside that of the colours."""

    name: str
    describe: Callable[[Image], Floats]
    weight: float


GRADIENTS = Features("gradients", gradient_features, 0.12)


def features_of(backbone: Backbone) -> Features:
    """Those of the level of a backbone that is compared."""
    cue = CUES.get(backbone.name, USUAL_CUE)
    name = f"{backbone.name}-{cue.level}"
    return Features(name, lambda image: backbone.levels(image[None], [cue.level])[0][0], cue.weight)


def feature_difference(image: Image, rendering: ReferenceRendering, features: Features) -> Floats:
    """How far the features of the query are from those of the reference [H, W]: the cosine distance.

    The reference is put together of the rendering and what photographs saw: at each place what is nearest in colour to
    the query, so that it is described once and not for each of them. Zero away from the part.
    """
    height, width = image.shape[:2]
    out = np.zeros((height, width), np.float32)
    x0, y0, x1, y1 = mask_box(rendering.alpha > 0.05, COMPARED_MARGIN) or (0, 0, width, height)
    part = np.s_[y0:y1, x0:x1]
    shown = np.ascontiguousarray(image[part])
    reference = nearest_in_colour(shown, rendering.cropped(part))
    distance = 1 - _cosine(features.describe(shown), features.describe(reference))
    out[part] = cv2.resize(np.maximum(distance, 0), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    return out


def nearest_in_colour(image: Image, rendering: ReferenceRendering) -> Image:
    """[H, W, 3]: the rendering, but where a photograph is nearer to the query around a pixel, the photograph."""
    best, least = rendering.rgb8.copy(), _around(image, rendering.rgb8)
    for photograph, seen in zip(rendering.photographs, rendering.seen, strict=True):
        difference = _around(image, photograph)
        nearer = ((difference < least) & seen).view(np.uint8)
        cv2.copyTo(photograph, nearer, best)
        cv2.copyTo(difference, nearer, least)
    return best


def _around(image: Image, other: Image) -> NDArray[np.uint16]:
    """Difference of the colours around each pixel [H, W], added up."""
    grey = cv2.transform(cv2.absdiff(image, other), _MEAN)
    return np.asarray(cv2.boxFilter(grey, cv2.CV_16U, (NEAR_PIXELS, NEAR_PIXELS), normalize=False))


def _cosine(a: Floats, b: Floats) -> Floats:
    """Of the angle between features [C, h, w]: [h, w]."""
    along, *squares = (np.einsum("chw,chw->hw", x, y) for x, y in ((a, b), (a, a), (b, b)))
    return np.asarray(along / np.sqrt(np.maximum(squares[0] * squares[1], 1e-24)))
