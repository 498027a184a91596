"""Keypoints from the score maps of networks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


def local_maxima(scores: Floats, radius: int, threshold: float, limit: int, rounds: int = 2) -> tuple[Indices, Indices]:
    """(rows, columns) of the best `limit` pixels of scores [H, W] above `threshold`, best first, border left out.

    A maximum is the greatest within `radius` px; `rounds` times, what is left when all maxima and their surroundings
    are taken away is searched again.
    """
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    found = scores == cv2.dilate(scores, kernel)
    for _ in range(rounds):
        near = cv2.dilate(found.astype(np.uint8), kernel) > 0
        rest = np.where(near, np.float32(0), scores)
        found |= (rest == cv2.dilate(rest, kernel)) & ~near
    found &= scores > threshold
    found[:radius] = found[max(len(found) - radius, 0) :] = False
    found[:, :radius] = found[:, max(found.shape[1] - radius, 0) :] = False
    rows, columns = np.nonzero(found)
    best = np.argsort(-scores[rows, columns], kind="stable")[:limit]
    return rows[best], columns[best]


def soft_argmax(scores: Floats, rows: Indices, columns: Indices, radius: int, temperature: float) -> Floats:
    """Pixel indices (x, y), [N, 2], refined by the soft argmax of the scores within `radius` px of each maximum.

    Zhao et al., "ALIKE: Accurate and Lightweight Keypoint Detection", IEEE TMM 2022, section III-B.
    """
    steps = np.arange(-radius, radius + 1)
    window = scores[rows[:, None, None] + steps[:, None], columns[:, None, None] + steps]  # [N, size, size]
    weight = np.exp((window - window.max(axis=(1, 2), keepdims=True)) / temperature)
    weight /= weight.sum(axis=(1, 2), keepdims=True)
    x = columns + (weight.sum(axis=1) * steps).sum(axis=1)
    y = rows + (weight.sum(axis=2) * steps).sum(axis=1)
    return np.stack([x, y], axis=1).astype(np.float32)
