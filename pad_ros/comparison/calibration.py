"""What calibration on held-out good views learned: when is a difference more than expected?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .expectation import COVARIATES, Expectation

ARRAYS = ("residual_mean", "rarity", "knots", "factors", "scores")


@dataclass(frozen=True, eq=False)
class Calibration:
    """residual_mean: float32 [N, C], per Gaussian and cue; rarity: float32 [N], 1 / reference views that see the
    Gaussian; knots, factors: float32 [C, J, K], of the expected residual; scores: float32 [V], image scores of
    good views that neither the Gaussians nor the factors were fitted to.
    """

    residual_mean: NDArray[np.float32]
    rarity: NDArray[np.float32]
    knots: NDArray[np.float32]
    factors: NDArray[np.float32]
    scores: NDArray[np.float32]
    threshold: float  # the score above which an image is rejected
    false_reject_rate: float  # asked for
    promised_rate: float  # what the number of views allows to promise
    floors: tuple[float, ...]  # [C] smallest deviation of each cue
    beside: tuple[float, ...]  # [C] residual of each cue that the background of good views stays below
    coverage: float  # rad: no query may be seen from further beside the reference views
    max_loss: float  # of the refinement (colour, 0..1): a pose that explains the query worse is not trusted
    max_expected: float  # mean residual expected on the part: no view with more is passed
    strongest: float  # evidence of one pixel at most: the halo of a bright one must not outshine a faint defect
    level: float  # what pooled evidence is divided by

    @property
    def expectation(self) -> Expectation:
        """The model of the expected residual."""
        return Expectation(self.knots, self.factors)

    def features(self) -> NDArray[np.float32]:
        """[N, C + 1]: what the renderer blends beside the colours; [N, 0] for a calibration of no cue."""
        if not self.floors:
            return self.residual_mean
        return np.concatenate([self.residual_mean, self.rarity[:, None]], axis=1)

    def check(self, gaussians: int) -> None:
        """ModelError where the arrays do not fit the number of Gaussians or hold impossible values."""
        cues = len(self.floors)
        if self.residual_mean.shape != (gaussians, cues) or self.rarity.shape != (gaussians,) or self.scores.ndim != 1:
            raise ModelError(f"calibration: arrays of shape {self.residual_mean.shape} for {gaussians} Gaussians")
        expected = (cues, len(COVARIATES))
        if self.knots.shape != self.factors.shape or self.knots.ndim != 3 or self.knots.shape[:2] != expected:
            raise ModelError(f"calibration: factors of shape {self.factors.shape}, expected {expected} and the knots")
        arrays = (self.residual_mean, self.rarity, self.knots, self.factors, self.scores)
        if not all(np.all(np.isfinite(a)) and a.dtype == np.float32 for a in arrays):
            raise ModelError("calibration: values that are not finite")
        if (self.residual_mean < 0).any() or (self.rarity < 0).any() or not (np.diff(self.knots) > 0).all():
            raise ModelError("calibration: negative residuals, or knots that do not increase")
        positive = (*self.floors, self.level)
        if len(self.beside) != len(self.floors) or not all(0 <= value < float("inf") for value in self.beside):
            raise ModelError("calibration: impossible residuals of the background")
        if not (self.coverage > 0 and self.max_loss > 0 and self.max_expected > 0):
            raise ModelError("calibration: the covered angle and the largest losses must be positive")
        if math.isfinite(self.threshold) and not self.strongest > self.threshold * self.level:
            raise ModelError("calibration: no evidence could exceed the threshold")
        if not all(0 < value < float("inf") for value in positive):
            raise ModelError("calibration: floors and level must be positive")

    def to_parts(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """(arrays for calibration.safetensors, plain values for the manifest)."""
        values = asdict(self)
        return {name: values.pop(name) for name in ARRAYS}, values

    @staticmethod
    def from_parts(arrays: dict[str, NDArray[np.float32]], values: dict[str, Any]) -> Calibration:
        """The reverse of `to_parts`; KeyError or TypeError where something is missing."""
        lists = {name: tuple(float(x) for x in values[name]) for name in ("floors", "beside")}
        fields: dict[str, Any] = {**values, **lists, **{name: arrays[name] for name in ARRAYS}}
        return Calibration(**fields)
