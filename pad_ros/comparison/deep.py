"""Comparing features of a backbone: as a further cue of the calibrated comparison, or as SplatPose+ does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.background import mask_box
from ..imaging.images import Image
from ..networks.architectures import IMAGENET_DEVIATION
from ..networks.backbones import Backbone
from ..rendering.result import ReferenceRendering
from .colour import residuals

if TYPE_CHECKING:
    from ..decision.scorer import ScoringSettings

Floats = NDArray[np.float32]

LEVEL = 1  # stride 4: finer levels see little more than colour, coarser ones lose small defects
MARGIN = 16  # px around the part that are compared
RECIPE_SIZE = 224  # px
RECIPE_KERNEL, RECIPE_SIGMA = 9, 4.0  # px


def cues(image: Image, rendering: ReferenceRendering, settings: ScoringSettings, backbone: Backbone | None) -> Floats:
    """The cues of difference [H, W, C] between an undistorted query and its reference.

    C = 1: the colour, or all that the recipe adds up; with a backbone the calibrated comparison has C = 2.
    """
    if settings.comparison == "recipe":
        assert backbone is not None  # the settings see to it
        return recipe_map(image, rendering, backbone)[..., None]
    colour = residuals(image, rendering, settings.shift)
    if backbone is None:
        return colour
    return np.concatenate([colour, feature_difference(image, rendering, backbone)[..., None]], axis=2)


def feature_difference(image: Image, rendering: ReferenceRendering, backbone: Backbone) -> Floats:
    """How far the features of the query are from those of the reference [H, W]: the cosine distance.

    Of the reference's candidates (the rendering, and each photograph completed by it) the nearest counts. Zero away
    from the part.
    """
    height, width = image.shape[:2]
    out = np.zeros((height, width), np.float32)
    x0, y0, x1, y1 = mask_box(rendering.alpha > 0.05, MARGIN) or (0, 0, width, height)
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
    features = backbone.levels(image[None], [LEVEL])[0][0]
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=0), 1e-6))


def recipe_map(image: Image, rendering: ReferenceRendering, backbone: Backbone) -> Floats:
    """SplatPose+'s anomaly map [H, W], at the query's pixels and not normalised over a set of images.

    Squared differences, summed over channels, of the normalised colours and the five levels, each brought to a shorter
    side of 224 px, added and blurred there (Liu et al. 2024, arXiv 2410.12080, and its public code).
    """
    height, width = image.shape[:2]
    scale = RECIPE_SIZE / min(height, width)
    size = round(scale * width), round(scale * height)
    pixels = [image.astype(np.float32) / np.float32(255), rendering.rgb]
    smoothly = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    both = np.stack([cv2.resize(p, size, interpolation=smoothly) for p in pixels])
    total = np.sum(((both[0] - both[1]) / np.array(IMAGENET_DEVIATION, np.float32)) ** 2, axis=2)
    for level in backbone.levels(both):
        difference = np.sum((level[0] - level[1]) ** 2, axis=0)
        total += cv2.resize(difference, size, interpolation=cv2.INTER_LINEAR)
    total = cv2.GaussianBlur(total, (RECIPE_KERNEL, RECIPE_KERNEL), RECIPE_SIGMA)
    return np.asarray(cv2.resize(total, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
