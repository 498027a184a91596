"""What calibration on held-out good views learned: when is a difference more than expected?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

ARRAYS = ("residual_mean", "residual_deviation", "scores")


@dataclass(frozen=True, eq=False)
class Calibration:
    """residual_mean, residual_deviation: float32 [N, C], per Gaussian and cue; scores: float32 [V], image
    scores of good views by models that never saw them; threshold: the score above which an image is rejected.
    """

    residual_mean: NDArray[np.float32]
    residual_deviation: NDArray[np.float32]
    scores: NDArray[np.float32]
    threshold: float
    false_reject_rate: float  # asked for
    promised_rate: float  # what the number of views allows to promise
    floors: tuple[float, ...]  # [C] smallest deviation of each cue
    beside: tuple[float, ...]  # [C] residual of each cue that the background of good views stays below
    coverage: float  # rad: no query may be seen from further beside the reference views
    max_loss: float  # of the refinement (colour, 0..1): a pose that explains the query worse is not trusted
    levels: tuple[float, ...]  # one per scale: what pooled evidence is divided by

    def features(self) -> NDArray[np.float32]:
        """[N, 2 C]: what the renderer blends beside the colours."""
        return np.concatenate([self.residual_mean, self.residual_deviation], axis=1)

    def check(self, gaussians: int) -> None:
        """ModelError where the arrays do not fit the number of Gaussians or hold impossible values."""
        shape = (gaussians, len(self.floors))
        arrays = (self.residual_mean, self.residual_deviation, self.scores)
        if self.residual_mean.shape != shape or self.residual_deviation.shape != shape or self.scores.ndim != 1:
            raise ModelError(f"calibration: arrays of shape {self.residual_mean.shape} for {gaussians} Gaussians")
        if (
            not all(np.all(np.isfinite(a)) and a.dtype == np.float32 for a in arrays)
            or (self.residual_deviation < 0).any()
        ):
            raise ModelError("calibration: values that are not finite, or negative deviations")
        positive = (*self.floors, *self.levels)
        if len(self.beside) != len(self.floors) or not all(0 <= value < float("inf") for value in self.beside):
            raise ModelError("calibration: impossible residuals of the background")
        if not (self.coverage > 0 and self.max_loss > 0):
            raise ModelError("calibration: the covered angle and the largest loss must be positive")
        if not positive or not all(0 < value < float("inf") for value in positive):
            raise ModelError("calibration: floors and levels must be positive")

    def to_parts(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """(arrays for calibration.safetensors, plain values for the manifest)."""
        values = asdict(self)
        return {name: values.pop(name) for name in ARRAYS}, values

    @staticmethod
    def from_parts(arrays: dict[str, NDArray[np.float32]], values: dict[str, Any]) -> Calibration:
        """The reverse of `to_parts`; KeyError or TypeError where something is missing."""
        lists = {name: tuple(float(x) for x in values[name]) for name in ("floors", "beside", "levels")}
        fields: dict[str, Any] = {**values, **lists, **{name: arrays[name] for name in ARRAYS}}
        return Calibration(**fields)
