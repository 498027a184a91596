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

    Of the reference's candidates (the rendering, and each photograph completed by it) the nearest counts. Zero away
    from the part.
    """
    height, width = image.shape[:2]
    out = np.zeros((height, width), np.float32)
    x0, y0, x1, y1 = mask_box(rendering.alpha > 0.05, COMPARED_MARGIN) or (0, 0, width, height)
    part = np.s_[y0:y1, x0:x1]
    rendered = rendering.rgb8[part]
    pairs = zip(rendering.photographs, rendering.seen, strict=True)
    candidates = [np.where(seen[part][..., None], photograph[part], rendered) for photograph, seen in pairs]
    query = _directions(image[part], backbone)
    # One by one: the first layers of a large image take much memory.
    cosines = [np.einsum("chw,chw->hw", query, _directions(other, backbone)) for other in (rendered, *candidates)]
    distance = np.maximum(1 - np.max(cosines, axis=0), 0)
    out[part] = cv2.resize(distance, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    return out


def _directions(image: Image, backbone: Backbone) -> Floats:
    """Features [C, h, w] of length 1."""
    features = backbone.levels(image[None], [cue_of(backbone).level])[0][0]
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=0), 1e-6))
