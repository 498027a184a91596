"""Learning the expected residual from held-out good views.

A generalised additive model for the residual with gamma errors and logarithmic link: penalised
Fisher scoring (Wood 2017, "Generalized Additive Models", chapters 4 and 6) on piecewise linear functions.
The gamma family weighs all pixels alike in the logarithm, so that the normal matrix stays the same in all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .expectation import KNOTS, SMALLEST

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

QUANTILES = (0.002, 0.1, 0.35, 0.65, 0.9, 0.98, 0.998)  # of a covariate, for its knots: extremes matter
RIDGE = 30.0  # pixels' worth of belief that a covariate does not matter
SMOOTHNESS = 300.0  # and that its factor changes evenly
STEPS = 8
LARGEST_SURPRISE = 10.0  # times the expectation: a step is not led by more
RANGE = (-9.0, 3.0)  # log of a factor


@dataclass(frozen=True, eq=False)
class PixelSample:
    """Pixels of one good view: mean residual of their points [n], covariates [n, J], residual [n]."""

    point: Floats
    covariates: Floats
    residual: Floats


def choose_knots(samples: Sequence[PixelSample]) -> Floats:
    """Knots [J, K]: quantiles of the covariates over all samples, moved apart where they coincide."""
    covariates = np.concatenate([sample.covariates for sample in samples])
    knots = np.quantile(covariates, QUANTILES, axis=0).T
    resolution = 1e-6 * np.abs(knots).max(axis=1, keepdims=True)  # float32 must keep them apart
    gap = np.maximum(1e-3 * (knots[:, -1:] - knots[:, :1]), np.maximum(1e-3, resolution))
    for k in range(1, KNOTS):
        knots[:, k] = np.maximum(knots[:, k], knots[:, k - 1] + gap[:, 0])
    return knots.astype(np.float32)


def fit_factors(samples: Sequence[PixelSample], knots: Floats, ridge: float = RIDGE) -> Floats:
    """Logarithms of the factors at the knots, float32 [J, K]; zeros without samples. ridge: see RIDGE."""
    count = knots.size
    normal = np.diag(np.full(count + 1, ridge))
    normal[0, 0] = 1e-6
    bend = np.diff(np.eye(KNOTS), 2, axis=0)
    for j in range(len(knots)):
        block = np.s_[1 + j * KNOTS : 1 + (j + 1) * KNOTS]
        normal[block, block] += SMOOTHNESS * bend.T @ bend
    bases = [_basis(sample.covariates, knots) for sample in samples]
    for basis in bases:
        normal += basis.T @ basis
    ratios = [(s.residual + SMALLEST) / s.point for s in samples]
    solution: NDArray[np.floating] = np.zeros(count + 1)
    total = sum(len(ratio) for ratio in ratios)
    solution[0] = np.log(sum(float(ratio.sum()) for ratio in ratios) / total) if total else 0.0
    for _ in range(STEPS if total else 0):
        right = np.zeros(count + 1)
        for basis, ratio in zip(bases, ratios, strict=True):
            linear = np.clip(basis @ solution, *RANGE)
            right += basis.T @ (linear + np.minimum(ratio / np.exp(linear) - 1, LARGEST_SURPRISE))
        solution = np.linalg.solve(normal, right)
    values = solution[1:].reshape(knots.shape)
    values[0] += solution[0]
    return values.astype(np.float32)


def _basis(covariates: Floats, knots: Floats) -> Doubles:
    """A one, and for each covariate the weights [K] of the knots around its value: [n, 1 + J K]."""
    n = len(covariates)
    out = np.zeros((n, 1 + knots.size))
    out[:, 0] = 1
    rows = np.arange(n)
    for j, at in enumerate(knots):
        value = np.clip(covariates[:, j], at[0], at[-1])
        k = np.clip(np.searchsorted(at, value, side="right") - 1, 0, KNOTS - 2)
        share = (value - at[k]) / (at[k + 1] - at[k])
        out[rows, 1 + j * KNOTS + k] = 1 - share
        out[rows, 2 + j * KNOTS + k] = share
    return out
