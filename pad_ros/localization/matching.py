"""Matching of descriptors by nearest neighbours.

Descriptors of any kind are compared by the cosine of their angle: for RootSIFT that is the Hellinger kernel,
for learned ones it is what they were trained for.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .features import Features

Floats = NDArray[np.float32]
Pairs = NDArray[np.int64]  # [M, 2] indices into the first and the second set
NO_PAIRS: Pairs = np.zeros((0, 2), np.int64)


class FeatureMatcher(Protocol):
    """Matches the features of two images."""

    def match(self, first: Features, second: Features) -> Pairs: ...


class NearestNeighbours:
    """Mutual nearest neighbours that pass the ratio test (Lowe 2004) on the angles of the descriptors."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio

    def match(self, first: Features, second: Features) -> Pairs:
        return mutual_matches(normalised(first.descriptors) @ normalised(second.descriptors).T, self.ratio)


def normalised(descriptors: NDArray[np.generic]) -> Floats:
    """Rows of unit length, float32 [N, C]."""
    rows = np.asarray(descriptors, dtype=np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def mutual_matches(cosine: Floats, ratio: float) -> Pairs:
    """Pairs that are each other's best in `cosine` [N, M] and pass the ratio test along the rows."""
    if min(cosine.shape) < 2:
        return NO_PAIRS
    rows = np.arange(len(cosine))
    best = cosine.argmax(axis=1)
    mutual = cosine.argmax(axis=0)[best] == rows
    first = cosine[rows, best]
    rest = cosine.copy()
    rest[rows, best] = -1
    keep = mutual & passes_ratio(first, rest.max(axis=1), ratio)
    return np.stack([rows[keep], best[keep]], axis=1)


def passes_ratio(first: Floats, second: Floats, ratio: float) -> NDArray[np.bool_]:
    """Ratio test on descriptor distances, from the cosines of the best and the second best neighbour."""
    return np.asarray((1 - first) < ratio**2 * (1 - second))
