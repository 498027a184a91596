"""Calibration of a reference model: what the comparison learned, and the limits that verdicts are decided by."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..comparison.state import ComparisonState
from ..errors import InputError, ModelError
from ..localization.verification import PoseLimits
from .conditions import ConditionLimits
from .threshold import CONFIDENCE, choose_threshold, supported_rates

NUMBERS = ("threshold", "false_reject_rate", "promised_rate", "coverage", "max_loss", "max_expected", "scale")
ANY_CONDITIONS = ConditionLimits()
PIXEL_EVIDENCE = 10.0  # that one pixel may bring,
REGION_EVIDENCE = 2.0  # but so much that a region full of it scores this many times the threshold
COMMON_RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
REFERENCE_SCORES = "reference_scores"  # an array that models without calibration on a line do not have


@dataclass(frozen=True, eq=False)
class Calibration:
    """state: of the comparison; scores: float32 [V], of good views that the model has not seen, or of good units of a
    line, each the largest of its images; reference_scores: then those of the reference views, else [0].

    threshold: the score above which an image is rejected, NaN where there is none; false_reject_rate: asked for;
    promised_rate: what the number of views allows to promise; coverage: rad, how far from the nearest reference view a
    query may be seen; max_loss: of the refinement (colour, 0..1), a pose that explains the query worse is not trusted;
    max_expected: mean residual expected on the part, no view with more is passed; scale: what pooled evidence is
    divided by, so that scores are near 1 for good views; conditions: the limits within which an image is passed.
    """

    state: ComparisonState
    scores: NDArray[np.float32]
    threshold: float
    false_reject_rate: float
    promised_rate: float
    coverage: float
    max_loss: float
    max_expected: float
    scale: float
    conditions: ConditionLimits = ANY_CONDITIONS
    reference_scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def at_rate(self, false_reject_rate: float) -> Calibration:
        """The same with the threshold for another rate of false rejects; InputError where the scores support none."""
        least, most = supported_rates(self.scores)
        if not least <= false_reject_rate <= most:
            raise InputError(
                f"false_reject_rate {false_reject_rate:g}: {len(self.scores)} scores of good parts support "
                f"{least:.2g} to {most:g}"
            )
        return self.with_scores(self.scores, self.reference_scores, false_reject_rate)

    def thresholds(self) -> list[tuple[float, float]]:
        """(rate of false rejects, threshold) for the rates that people ask for and the scores support."""
        least, most = supported_rates(self.scores)
        if not math.isfinite(self.threshold):
            return []
        rates = [rate for rate in COMMON_RATES if least <= rate <= most]
        return [(rate, choose_threshold(self.scores, self.reference_scores, rate).value) for rate in rates]

    def with_scores(
        self, scores: NDArray[np.float32], reference_scores: NDArray[np.float32], false_reject_rate: float
    ) -> Calibration:
        """The same with the threshold that these scores give."""
        chosen = choose_threshold(scores, reference_scores, false_reject_rate)
        # Scores are those without the bound on evidence. With it they are no higher, so the threshold still holds.
        most = max(PIXEL_EVIDENCE, REGION_EVIDENCE * chosen.value * self.scale)
        state = replace(self.state, max_evidence=most if math.isfinite(most) else PIXEL_EVIDENCE)
        return replace(
            self, state=state, scores=scores, reference_scores=reference_scores, threshold=chosen.value,
            promised_rate=chosen.promised_rate, false_reject_rate=false_reject_rate,
        )  # fmt: skip

    @cached_property
    def surely_below(self) -> float:
        """The lower end of the threshold's one-sided confidence interval; the threshold where its error is unknown."""
        error = choose_threshold(self.scores, self.reference_scores, self.false_reject_rate).error
        return self.threshold - (NormalDist().inv_cdf(CONFIDENCE) * error if math.isfinite(error) else 0.0)

    @property
    def pose_limits(self) -> PoseLimits:
        return PoseLimits(self.max_loss, self.coverage)

    def check(self, gaussians: int) -> None:
        """ModelError where the state does not fit the number of Gaussians or a value is impossible."""
        self.state.check(gaussians)
        for scores in (self.scores, self.reference_scores):
            if scores.ndim != 1 or scores.dtype != np.float32 or not np.all(np.isfinite(scores)):
                raise ModelError("calibration: scores that are no list of finite numbers")
        if not (self.coverage > 0 and self.max_loss > 0 and self.max_expected > 0):
            raise ModelError("calibration: the covered angle and the largest losses must be positive")
        if not all(0 <= limit < math.inf for limit in asdict(self.conditions).values()):
            raise ModelError("calibration: impossible limits of the conditions")
        if not 0 < self.scale < math.inf:
            raise ModelError("calibration: the scale must be positive")
        if not 0 <= self.false_reject_rate <= 1:
            raise ModelError("calibration: a false-reject rate outside 0..1")
        if math.isfinite(self.threshold) and not self.state.max_evidence > self.threshold * self.scale:
            raise ModelError("calibration: no evidence could exceed the threshold")

    def to_parts(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """(arrays for calibration.safetensors, plain values for the manifest)."""
        arrays, comparison = self.state.to_parts()
        numbers = {name: getattr(self, name) for name in NUMBERS}
        conditions = asdict(self.conditions)
        arrays["scores"] = self.scores
        if len(self.reference_scores):
            arrays[REFERENCE_SCORES] = self.reference_scores
        return arrays, {"comparison": comparison, **numbers, "conditions": conditions}

    @staticmethod
    def from_parts(arrays: dict[str, NDArray[np.float32]], values: dict[str, Any]) -> Calibration:
        """The reverse of `to_parts`; KeyError, TypeError or ValueError where something is missing or no number."""
        numbers = {name: values[name] for name in NUMBERS}
        if odd := [n for n, value in numbers.items() if isinstance(value, bool) or not isinstance(value, float | int)]:
            raise TypeError(f"calibration: {odd[0]} is {numbers[odd[0]]!r}")
        return Calibration(
            ComparisonState.from_parts(arrays, values["comparison"]), arrays["scores"],
            **{name: float(value) for name, value in numbers.items()},
            conditions=ConditionLimits(**{name: float(value) for name, value in dict(values["conditions"]).items()}),
            reference_scores=arrays.get(REFERENCE_SCORES, np.zeros(0, np.float32)),
        )  # fmt: skip
