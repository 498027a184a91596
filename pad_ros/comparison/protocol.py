"""What every way of comparing a query with its reference rendering offers, and what it hands on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..photometry.prepared_query import PreparedQuery
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from .good_units import Observation
from .state import ComparisonState

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """A good view as a query, and the model rendered at its pose without the view's own photograph."""

    query: PreparedQuery
    rendering: ReferenceRendering


@dataclass(frozen=True, eq=False)
class Evidence:
    """How much speaks for an anomaly at each pixel of the undistorted query, float32 [H, W], on the comparison's scale.

    expected: mean residual that good parts may show from this viewpoint, 0 where the comparison does not know it.
    ground: where [H, W] the query shows ground; None where that is not known. surroundings_judged: whether what lies
    around the part could be judged. forgiven: factor of what is expected, where the image differs all over the part by
    more than good views do (noise, other light).
    """

    values: Floats
    expected: float = 0.0
    ground: Mask | None = None
    surroundings_judged: bool = True
    forgiven: float = 1.0


class Comparison(Protocol):
    """One way of comparing. It is fitted to good views and then judges queries; it keeps nothing of them itself."""

    def fit(self, samples: Iterable[Sample], renderer: Renderer) -> ComparisonState:
        """What is normal, from views that the Gaussians of `renderer` were fitted to, at slightly wrong poses."""

    def adapt(self, state: ComparisonState, samples: Sequence[Sample], seed: int) -> ComparisonState:
        """The state corrected by views that the Gaussians were not fitted to."""

    def evidence(self, query: PreparedQuery, rendering: ReferenceRendering, state: ComparisonState) -> Evidence:
        """The evidence map of a query at the rendering's pose; `rendering` has the channels of `state.features()`."""

    def observe(self, sample: Sample, state: ComparisonState, renderer: Renderer, seed: int) -> Observation:
        """What an image of a good unit shows; `renderer` draws the Gaussians of `state`."""

    def light_sums(self, sample: Sample, renderer: Renderer) -> Floats:
        """What an image of a good unit says of the line's light; sums of several images are to be added up."""

    def with_light(self, state: ComparisonState, sums: Floats) -> ComparisonState:
        """The state that also knows the light which these sums show; as it was where the comparison learns none."""

    def learn(
        self, state: ComparisonState, observations: Sequence[Observation], level: float, points: Floats
    ) -> ComparisonState:
        """The state corrected by observed images of good units.

        level: evidence that good views usually reach; points: [N, 3], of the Gaussians.
        """
