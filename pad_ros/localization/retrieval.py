"""Retrieval: which views look like this image?

By default VLAD (Jegou et al., CVPR 2010) over the local features, whatever they are: the visual words are learned from
the map's own descriptors, so nothing has to be downloaded.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..imaging.images import Image
from .features import Features
from .matching import Floats, normalised

VLAD_WORDS = 32
MAX_VOCABULARY_SAMPLES = 20_000


class Retrieval(Protocol):
    """Describes an image by one vector of unit length, so that similar views have similar vectors."""

    name: str

    def describe(self, window: Image, features: Features) -> Floats: ...


class Vlad:
    """VLAD with the visual words `vocabulary` [W, C]."""

    name = "vlad"

    def __init__(self, vocabulary: Floats) -> None:
        self._vocabulary = vocabulary

    def describe(self, window: Image, features: Features) -> Floats:
        """The vector [W * C] of the local features; the window itself is not looked at."""
        return describe_view(features.descriptors, self._vocabulary)


def learn_vocabulary(descriptors: NDArray[np.generic], words: int = VLAD_WORDS, iterations: int = 12) -> Floats:
    """Visual words [W, C] by k-means on the sphere; the same for the same input. Fewer words for few descriptors."""
    generator = np.random.default_rng(0)
    if len(descriptors) > MAX_VOCABULARY_SAMPLES:
        descriptors = descriptors[np.sort(generator.choice(len(descriptors), MAX_VOCABULARY_SAMPLES, replace=False))]
    samples = normalised(descriptors)
    centres = samples[np.sort(generator.choice(len(samples), min(words, len(samples)), replace=False))]
    for _ in range(iterations):
        nearest = (samples @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, samples)
        filled = np.linalg.norm(sums, axis=1) > 1e-6
        centres = np.where(filled[:, None], normalised(sums), centres)
    return np.asarray(centres, np.float32)


def describe_view(descriptors: NDArray[np.generic], vocabulary: Floats) -> Floats:
    """The VLAD vector [W * C] of one image: residuals to the words, each word normalised, then the whole."""
    residuals = np.zeros_like(vocabulary)
    if len(descriptors):
        rows = normalised(descriptors)
        nearest = (rows @ vocabulary.T).argmax(axis=1)
        np.add.at(residuals, nearest, rows - vocabulary[nearest])
    return normalised(normalised(residuals).reshape(1, -1))[0]


def most_similar(view_descriptor: Floats, view_descriptors: Floats, count: int) -> NDArray[np.int64]:
    """Indices of the `count` views most like the described one, best first."""
    return np.argsort(-(view_descriptors @ view_descriptor), kind="stable")[:count]
