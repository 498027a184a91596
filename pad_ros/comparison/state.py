"""What a comparison learned from good views: how large a residual is normal at each point of the surface."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .expectation import COVARIATES, KNOTS, Expectation

ARRAYS = ("residual_mean", "rarity", "knots", "factors")
EARLIER_COVARIATES = 6  # the first ones: models of before know no others
OPTIONAL = ("variation", "lights", "glints")  # arrays that models of one part and light, or older ones, do not have


@dataclass(frozen=True, eq=False)
class ComparisonState:
    """Of C residual channels and N Gaussians; a comparison that knows no statistics has C = 0.

    residual_mean: float32 [N, C]; rarity: float32 [N], 1 / reference views that see the Gaussian; knots, factors:
    float32 [C, J, K], of the expected residual; deviation: [C], of the residuals over the whole part; off_part: [C],
    residual that the background of good views stays below; usual_light: change of light, as `LitQuery.light_change`,
    that good views stay below, infinite where none was measured; max_evidence: of one pixel and channel, so that the
    halo of a bright one does not outshine a faint defect; variation: float32 [N], how many times more than that good
    units differ at the Gaussian (at least 1), [0] where only one part is known; lights: float32 [N, 2 L], gain less one
    and added light of each Gaussian in L lights that lines have shown; glints: float32 [N, 3], the brightest glint that
    a reference view showed at the Gaussian, the brightest of the other views, and the number of the former.
    """

    residual_mean: NDArray[np.float32]
    rarity: NDArray[np.float32]
    knots: NDArray[np.float32]
    factors: NDArray[np.float32]
    deviation: tuple[float, ...]
    off_part: tuple[float, ...]
    usual_light: float = math.inf
    max_evidence: float = math.inf
    variation: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    lights: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    glints: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 3), np.float32))

    @staticmethod
    def without_statistics(gaussians: int) -> ComparisonState:
        """For a comparison that takes the residual as it is."""
        knots, factors = no_factors(0)
        return ComparisonState(
            np.zeros((gaussians, 0), np.float32), np.ones(gaussians, np.float32), knots, factors, (), ()
        )

    @property
    def channels(self) -> int:
        return len(self.deviation)

    @property
    def expectation(self) -> Expectation:
        """The model of the expected residual."""
        return Expectation(self.knots, self.factors)

    def features(self) -> NDArray[np.float32]:
        """[N, C + 2], with variation [N, C + 3], with L lights [N, C + 3 + 2 L]: blended beside the colours.

        [N, 0] without statistics.
        """
        if not self.channels:
            return self.residual_mean
        parts = [self.residual_mean, self.rarity[:, None]]
        parts.append(self.glints[:, :1] if len(self.glints) else np.zeros_like(self.rarity[:, None]))
        if len(self.variation) or self.light_channels:
            parts.append(self.variation[:, None] if len(self.variation) else np.ones_like(self.rarity[:, None]))
        if self.light_channels:
            parts.append(self.lights)
        return np.concatenate(parts, axis=1)

    def without_glints_of(self, sample: int | None) -> ComparisonState:
        """As if this one of the views that it was fitted to had shown no glints."""
        if sample is None or not len(self.glints):
            return self
        own = self.glints[:, 2] == sample
        return replace(self, glints=np.where(own[:, None], self.glints[:, [1, 1, 2]], self.glints))

    @property
    def light_channels(self) -> int:
        """The last channels of `features` that are lights."""
        return self.lights.shape[1]

    def check(self, gaussians: int) -> None:
        """ModelError where the arrays do not fit the number of Gaussians or hold impossible values."""
        channels = self.channels
        if self.residual_mean.shape != (gaussians, channels) or self.rarity.shape != (gaussians,):
            raise ModelError(f"calibration: arrays of shape {self.residual_mean.shape} for {gaussians} Gaussians")
        expected, shape = (channels, len(COVARIATES)), self.knots.shape
        known = expected, (channels, EARLIER_COVARIATES)
        if shape != self.factors.shape or len(shape) != 3 or shape[:2] not in known:
            raise ModelError(f"calibration: factors of shape {self.factors.shape}, expected {expected} and the knots")
        if len(self.variation) not in (0, gaussians) or not (self.variation >= 1).all():
            raise ModelError("calibration: impossible variation of good units")
        if self.lights.ndim != 2 or len(self.lights) not in (0, gaussians) or self.light_channels % 2:
            raise ModelError(f"calibration: lights of shape {self.lights.shape} for {gaussians} Gaussians")
        if self.glints.shape not in ((0, 3), (gaussians, 3)) or (self.glints < 0).any():
            raise ModelError(f"calibration: impossible glints of shape {self.glints.shape} for {gaussians} Gaussians")
        arrays = (
            self.residual_mean, self.rarity, self.knots, self.factors, self.variation, self.lights, self.glints
        )  # fmt: skip
        if not all(np.all(np.isfinite(a)) and a.dtype == np.float32 for a in arrays):
            raise ModelError("calibration: values that are not finite")
        if (self.residual_mean < 0).any() or (self.rarity < 0).any() or not (np.diff(self.knots) > 0).all():
            raise ModelError("calibration: negative residuals, or knots that do not increase")
        if len(self.off_part) != channels or not all(0 <= value < math.inf for value in self.off_part):
            raise ModelError("calibration: impossible residuals of the background")
        if not all(0 < value < math.inf for value in self.deviation) or not self.max_evidence > 0:
            raise ModelError("calibration: deviations and the largest evidence must be positive")
        if not self.usual_light >= 0:
            raise ModelError("calibration: an impossible change of light")

    def to_parts(self) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
        """(arrays for calibration.safetensors, plain values for the manifest)."""
        values = asdict(self)
        arrays = {name: values.pop(name) for name in (*ARRAYS, *OPTIONAL)}
        return {name: array for name, array in arrays.items() if name in ARRAYS or array.size}, values

    @staticmethod
    def from_parts(arrays: dict[str, NDArray[np.float32]], values: dict[str, Any]) -> ComparisonState:
        """The reverse of `to_parts`; KeyError, TypeError or ValueError where something is missing or no number."""
        parts: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
        parts.update({name: arrays[name] for name in OPTIONAL if name in arrays})
        parts.update({name: tuple(float(x) for x in values[name]) for name in ("deviation", "off_part")})
        parts.update({name: float(values[name]) for name in ("usual_light", "max_evidence") if name in values})
        return ComparisonState(**parts)


def no_factors(channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Knots and logarithms of factors that are all 1."""
    knots = np.tile(np.arange(KNOTS, dtype=np.float32), (channels, len(COVARIATES), 1))
    return knots, np.zeros_like(knots)
