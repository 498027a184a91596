"""The light of a line, learned from images of good units where it serves those that it was not learned from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..comparison.good_units import Observation
from ..comparison.protocol import Sample
from ..comparison.state import ComparisonState
from ..compute.threads import only_our_threads
from ..decision.conditions import Conditions
from ..decision.inspection import Inspection
from ..errors import ImageError
from ..inspector import Inspector
from ..io.good_images import GoodImages
from ..localization.result import Localization
from ..progress import progress

WORTH_LEARNING = 0.95  # of the evidence that good images show without the light: at most that must be left with it


@dataclass(frozen=True, eq=False)
class SeenImage:
    """One image of a good unit as the model saw it before.

    localization: without its rendering; evidence: the mean over its anomaly map; light: what it says of the line's
    light, see `Comparison.light_sums`; inspection: of one that would be rejected.
    """

    name: str
    unit: str
    taken_ns: int
    localization: Localization
    conditions: Conditions
    score: float
    evidence: float
    observation: Observation
    light: NDArray[np.float32]
    inspection: Inspection | None


@dataclass(frozen=True, eq=False)
class LineLight:
    """state: that knows the line's light, if it is worth it; by_fold: without what the units of that fold showed;
    seen: observed with that light."""

    state: ComparisonState
    by_fold: tuple[ComparisonState, ...]
    seen: tuple[SeenImage, ...]


def learn_light(
    inspector: Inspector, images: GoodImages, seen: Sequence[SeenImage], folds: Mapping[str, int], seed: int
) -> LineLight:
    """folds: of each unit. Each image is observed with the light that the units of the other folds have shown.

    Where that leaves its evidence as it was, the light was the reference views', or differs from image to image.
    """
    calibration, comparison = inspector.model.calibration, inspector.comparison
    assert calibration is not None
    count = 1 + max(folds.values())
    of_fold = np.zeros((count, *seen[0].light.shape))
    for image in seen:
        of_fold[folds[image.unit]] += image.light
    everything = of_fold.sum(axis=0)
    states = tuple(comparison.with_light(calibration.state, everything - own) for own in of_fold)
    unchanged = LineLight(calibration.state, (calibration.state,) * count, tuple(seen))
    if not states[0].light_channels:
        return unchanged
    inspectors = [with_state(inspector, state) for state in states]
    plain = inspector.model.renderer(device=inspector.device)
    observed, change = [], []
    for image, sample in samples_again(images, seen, inspectors, folds, "learning the light"):
        state = states[folds[image.unit]]
        observation = comparison.observe(sample, state, plain, seed)
        evidence = float(comparison.evidence(sample.query, sample.rendering, state).values.mean()) / calibration.scale
        observed.append(replace(image, observation=observation))
        change.append(math.log(max(evidence, 1e-9) / max(image.evidence, 1e-9)))
    if np.mean(change) > math.log(WORTH_LEARNING):
        return unchanged
    return LineLight(comparison.with_light(calibration.state, everything), states, tuple(observed))


def samples_again(
    images: GoodImages, seen: Sequence[SeenImage], inspectors: Sequence[Inspector], folds: Mapping[str, int], what: str
) -> Iterator[tuple[SeenImage, Sample]]:
    """The seen images once more, each as the inspector of its unit's fold sees it.

    ImageError for one that could be read before and no longer can.
    """
    by_name = {image.name: image for image in seen}
    for image in progress(images, what, len(images)):
        found = by_name.get(image.name)
        if found is None:
            continue
        if isinstance(image.image, ImageError):
            raise image.image
        judge = inspectors[folds[found.unit]]
        query = judge.prepare(image.image, image.camera)
        rendering = judge.render(query, found.localization)
        with only_our_threads():
            yield found, Sample(query.of_size(rendering.camera), rendering)


def with_state(inspector: Inspector, state: ComparisonState) -> Inspector:
    """The same model with another state of its comparison."""
    calibration = inspector.model.calibration
    assert calibration is not None
    changed = replace(inspector.model, calibration=replace(calibration, state=state))
    return Inspector(changed, inspector.device, inspector.scene)
