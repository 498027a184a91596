"""Published comparisons: differences of colours and of a backbone's features, the same scale everywhere.

SplatPose+ adds up squared differences, OmniposeAD takes the length of the difference, IGSPAD the angle of features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..imaging.images import Image
from ..networks.architectures import IMAGENET_DEVIATION
from ..networks.backbones import Backbone
from ..networks.segmenters import Segmenter
from ..photometry.prepared_query import PreparedQuery
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from ..settings import ScoringSettings
from .good_units import Observation
from .measurement import KnownLight, measure
from .protocol import Evidence, Sample
from .state import ComparisonState

Floats = NDArray[np.float32]

SIDE = 224  # px, shorter side of the map
KERNEL, SIGMA = 9, 4.0  # px, of its blur
COSINE_LEVEL = 3  # of stride 16, the only one of SAM's encoder


class RecipeComparison:
    """SplatPose+'s. It learns nothing of the surface. InputError without a backbone."""

    norm = False  # whether the length of the difference counts, not its square

    def __init__(
        self, settings: ScoringSettings, backbone: Backbone | None = None, segmenter: Segmenter | None = None
    ) -> None:
        if backbone is None:
            raise InputError(
                f"scoring.comparison={settings.comparison} compares features: scoring.backbone must name a network"
            )
        self._backbone = backbone
        self._segmenter = segmenter

    def fit(self, samples: Iterable[Sample], renderer: Renderer) -> ComparisonState:
        return ComparisonState.without_statistics(len(renderer.gaussians))

    def adapt(self, state: ComparisonState, samples: Sequence[Sample], seed: int) -> ComparisonState:
        return state

    def observe(self, sample: Sample, state: ComparisonState, renderer: Renderer, seed: int) -> Observation:
        nothing = np.full(len(renderer.gaussians), np.nan, np.float32)
        return Observation((), np.zeros(0, np.int64), nothing, nothing, ())

    def light_sums(self, sample: Sample, renderer: Renderer) -> Floats:
        return np.zeros((len(renderer.gaussians), 0), np.float32)

    def with_light(self, state: ComparisonState, sums: Floats) -> ComparisonState:
        return state

    def learn(
        self, state: ComparisonState, observations: Sequence[Observation], level: float, points: Floats
    ) -> ComparisonState:
        return state

    def evidence(self, query: PreparedQuery, rendering: ReferenceRendering, state: ComparisonState) -> Evidence:
        measured = measure(query, rendering, self._residual, self._segmenter, None, KnownLight())
        return Evidence(measured.residual[..., 0], 0.0, measured.ground, measured.surroundings_judged)

    def _residual(self, image: Image, rendering: ReferenceRendering) -> Floats:
        return recipe_map(image, rendering, self._backbone, self.norm)[..., None]


class OmniposeComparison(RecipeComparison):
    """OmniposeAD's: the L2 norm of the difference over colours and five levels (Zhou et al. 2023, arXiv 2310.07716,
    equations 3 and 4; blurred as SplatPose+, which took that over from its public code)."""

    norm = True


class CosineComparison(RecipeComparison):
    """IGSPAD's: the angle between features of stride 16, such as those of SAM's encoder."""

    def _residual(self, image: Image, rendering: ReferenceRendering) -> Floats:
        return cosine_map(image, rendering, self._backbone)[..., None]


def cosine_map(image: Image, rendering: ReferenceRendering, backbone: Backbone) -> Floats:
    """IGSPAD's anomaly map [H, W], 0..2: one minus the cosine of the features (Jiang et al. 2024, equation 5)."""
    height, width = image.shape[:2]
    both = np.stack([image.astype(np.float32) / np.float32(255), rendering.rgb])
    (features,) = backbone.levels(both, [COSINE_LEVEL])
    lengths = np.maximum(np.linalg.norm(features, axis=1), 1e-6)
    distance = 1 - np.sum(features[0] * features[1], axis=0) / (lengths[0] * lengths[1])
    return np.asarray(cv2.resize(np.maximum(distance, 0), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def recipe_map(image: Image, rendering: ReferenceRendering, backbone: Backbone, norm: bool = False) -> Floats:
    """SplatPose+'s anomaly map [H, W], at the query's pixels and not normalised over a set of images.

    Squared differences, summed over channels, of the normalised colours and the five levels, each brought to a shorter
    side of 224 px, added and blurred there (Liu et al. 2024, arXiv 2410.12080, and its public code). norm: the root of
    the sum is blurred.
    """
    height, width = image.shape[:2]
    both = resized(image.astype(np.float32) / np.float32(255), rendering.rgb)
    size = both.shape[2], both.shape[1]
    total = np.sum(((both[0] - both[1]) / np.array(IMAGENET_DEVIATION, np.float32)) ** 2, axis=2)
    for level in backbone.levels(both):
        difference = np.sum((level[0] - level[1]) ** 2, axis=0)
        total += cv2.resize(difference, size, interpolation=cv2.INTER_LINEAR)
    if norm:
        np.sqrt(total, out=total)
    total = cv2.GaussianBlur(total, (KERNEL, KERNEL), SIGMA)
    return np.asarray(cv2.resize(total, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def resized(*pictures: Floats) -> Floats:
    """Pictures [H, W, 3] with a shorter side of 224 px, [N, h, w, 3]."""
    height, width = pictures[0].shape[:2]
    scale = SIDE / min(height, width)
    size = round(scale * width), round(scale * height)
    smoothly = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.stack([cv2.resize(picture, size, interpolation=smoothly) for picture in pictures])
