"""Masks of changes against the truth: IoU and F1 for each photograph, as scene change detection is measured.

As in MV3DCD and O-SCD (Galappaththige et al. 2025, 2026): each figure is worked out per photograph and averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ChangeFigures:
    """miou, f1: means over the photographs that show a change, NaN without any; clean: share of the others in which
    nothing was found, NaN without any."""

    miou: float
    f1: float
    clean: float


def overlap(found: Mask, truth: Mask) -> tuple[float, float]:
    """(IoU, F1) of two masks [H, W], not both empty."""
    both, either = np.count_nonzero(found & truth), np.count_nonzero(found | truth)
    return both / either, 2 * both / (both + either)


def change_figures(found: Sequence[Mask], truth: Sequence[Mask]) -> ChangeFigures:
    """Of masks [H, W] of the same photographs; a photograph that was not found in the scene gives an empty one."""
    pairs = list(zip(found, truth, strict=True))
    if wrong := [f.shape for f, t in pairs if f.shape != t.shape]:
        raise ValueError(f"a mask {wrong[0]} differs in size from its truth")
    each = np.array([overlap(f, t) for f, t in pairs if t.any()]).reshape(-1, 2)
    clean = [not f.any() for f, t in pairs if not t.any()]
    nan = float("nan")
    miou, f1 = map(float, each.mean(axis=0)) if len(each) else (nan, nan)
    return ChangeFigures(miou, f1, float(np.mean(clean)) if clean else nan)
