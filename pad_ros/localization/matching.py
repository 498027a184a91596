"""Matching of descriptors by nearest neighbours.

Descriptors of any kind are compared by the cosine of their angle: for RootSIFT that is the Hellinger kernel,
for learned ones it is what they were trained for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .features import Features

Floats = NDArray[np.float32]
Pairs = NDArray[np.int64]  # [M, 2] indices into the first and the second set
PairMatches = dict[tuple[int, int], Pairs]  # by indices of two views, i < j
NO_PAIRS: Pairs = np.zeros((0, 2), np.int64)
LARGE = 4_000_000  # pairs of features whose cosines would fill the memory's bandwidth
BLOCK = 512  # rows that are compared at a time: their cosines stay in the processor's cache


class FeatureMatcher(Protocol):
    """Matches the features of two images."""

    def match(self, first: Features, second: Features) -> Pairs: ...


class NearestNeighbours:
    """Mutual nearest neighbours that pass the ratio test (Lowe 2004) on the angles of the descriptors."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio

    def match(self, first: Features, second: Features) -> Pairs:
        rows = normalised(first.descriptors), normalised(second.descriptors)
        if len(first) * len(second) > LARGE:
            return mutual_candidates(*rows).within(self.ratio)
        return mutual_matches(rows[0] @ rows[1].T, self.ratio)


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


@dataclass(frozen=True, eq=False)
class Candidates:
    """Mutual best matches of two sets, from which a ratio test takes some."""

    pairs: Pairs  # [M, 2]
    first: Floats  # [M] cosine of the best neighbour
    second: Floats  # [M] and of the second best

    def alike(self, cosine: float) -> Candidates:
        """Those whose descriptors have at least this cosine."""
        kept = self.first >= cosine
        return Candidates(self.pairs[kept], self.first[kept], self.second[kept])

    def within(self, ratio: float) -> Pairs:
        """The pairs [K, 2] that pass the ratio test."""
        return self.pairs[passes_ratio(self.first, self.second, ratio)]


def mutual_candidates(
    first: Floats, second: Floats, allowed: Callable[[slice], NDArray[np.bool_]] | None = None
) -> Candidates:
    """The mutual best matches of rows of unit length, [N, C] and [M, C], for sets of many thousands.

    allowed: which of the second set [rows, M] may match some rows of the first; the others do not compete either.
    """
    count, others = len(first), len(second)
    best, values = np.zeros(count, np.int64), np.full((2, count), -1, np.float32)
    back, best_back = np.zeros(others, np.int64), np.full(others, -1, np.float32)
    columns = np.arange(others)
    for begin in range(0, count if others > 1 else 0, BLOCK):
        part = slice(begin, min(begin + BLOCK, count))
        cosine = first[part] @ second.T
        if allowed is not None:
            cosine[~allowed(part)] = -1
        rows = cosine.argmax(axis=0)
        found = cosine[rows, columns]
        better = found > best_back
        back[better], best_back[better] = rows[better] + begin, found[better]
        rows = np.arange(len(cosine))
        best[part] = cosine.argmax(axis=1)
        values[0, part] = cosine[rows, best[part]]
        cosine[rows, best[part]] = -1
        values[1, part] = cosine.max(axis=1)
    rows = np.arange(count)
    kept = (values[0] > 0) & (back[best] == rows) if others > 1 else np.zeros(count, bool)
    return Candidates(np.stack([rows[kept], best[kept]], axis=1), values[0, kept], values[1, kept])


def passes_ratio(first: Floats, second: Floats, ratio: float) -> NDArray[np.bool_]:
    """Ratio test on descriptor distances, from the cosines of the best and the second best neighbour."""
    return np.asarray((1 - first) < ratio**2 * (1 - second))
