"""Why photographs could not be put into the map, in words that help to take better ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import TrainingError
from ..imaging.blur import blur_of
from ..imaging.views import ReferenceViews
from ..localization.features import Features
from ..localization.matching import PairMatches
from ..localization.sfm_map import SfmMap
from ..progress import say
from .photo_matching import MIN_PAIR_MATCHES

BLURRED = 0.15  # above the median of all views; those of one camera differ by 0.06
MIN_FEATURES = 100
MIN_PLACED_SHARE = 0.5
MIN_VIEWS = 3
NAMED = 8  # views that a message names at most
ADVICE = (
    "take them sharp, all around the part in steps of at most 15 degrees, each overlapping the next; put a part of "
    "little texture on a printed sheet"
)


@dataclass(frozen=True)
class Failure:
    """A view that is not in the map, and why."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


def without_blurred(views: ReferenceViews) -> tuple[ReferenceViews, list[Failure]]:
    """The views that are about as sharp as the others, and those that are not, which are left out with a line.

    Renderings are all sharp: where one seems not to be, it shows a smooth side of the part.
    """
    if views.exact:
        return views, []
    blur = np.array([blur_of(view.image) for view in views.views])
    limit = float(np.median(blur)) + BLURRED
    failures = [Failure(view.name, "blurred") for view, value in zip(views.views, blur, strict=True) if value > limit]
    if failures:
        names = ", ".join(failure.name for failure in failures)
        say(f"{views.source}: {len(failures)} of {len(views)} views are blurred and are left out: {names}")
    kept = tuple(view for view, value in zip(views.views, blur, strict=True) if value <= limit)
    return replace(views, views=kept), failures


def failures_of(
    views: ReferenceViews, features: Sequence[Features], matches: PairMatches, placed: Collection[int]
) -> list[Failure]:
    """For each view that is not among `placed` why it is not."""
    found = []
    for v, view in enumerate(views.views):
        if v not in placed:
            found.append(Failure(view.name, _why(v, views, features, matches, placed)))
    return found


def _why(
    v: int, views: ReferenceViews, features: Sequence[Features], matches: PairMatches, placed: Collection[int]
) -> str:
    if len(features[v]) < MIN_FEATURES:
        return f"too few features: {len(features[v])}"
    others = {i + j - v: len(pairs) for (i, j), pairs in matches.items() if v in (i, j) and len(pairs)}
    if not others:
        nearest = views.views[v - 1 if v else 1].name
        return f"no overlap with any other view, not even with {nearest}"
    best = max(others, key=lambda one: others[one])
    name, count = views.views[best].name, others[best]
    if best not in placed:
        return f"overlaps only with {name}, which is not in the map either"
    if count < 4 * MIN_PAIR_MATCHES:
        return f"too little overlap: at most {count} matches, with {name}"
    return f"its {count} matches with {name} do not fit the map"


def joined(matches: PairMatches) -> set[int]:
    """The views of the largest group that matches hold together."""
    pairs = [pair for pair, found in matches.items() if len(found)]
    if not pairs:
        return set()
    count = 1 + max(j for _, j in pairs)
    i, j = np.array(pairs).T
    _, group = connected_components(coo_array((np.ones(len(i)), (i, j)), shape=(count, count)), directed=False)
    return set(np.flatnonzero(group == np.bincount(group).argmax()).tolist())


def least_placed(given: int) -> int:
    """How many of the views must be in one map."""
    return max(MIN_VIEWS, math.ceil(MIN_PLACED_SHARE * given))


def check_placed(source: str, given: int, placed: int, failures: Sequence[Failure]) -> None:
    """TrainingError where too few of the views are in one map to go on; otherwise a line about those that are not."""
    named = "; ".join(map(str, failures[:NAMED]))
    more = f"; and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
    if placed < least_placed(given):
        raise TrainingError(
            f"{source}: only {placed} of {given} views could be placed in one map, too few to go on. "
            f"Not placed: {named}{more}. What to do: {ADVICE}"
        )
    if failures:
        say(
            f"{source}: {len(failures)} of {given} views could not be placed in the map and are left out: {named}{more}"
        )


def check_landmarks(sfm_map: SfmMap, source: str, least: int) -> None:
    """TrainingError where most views see fewer than `least` landmarks, so that nothing like them can be localized."""
    seen = np.bincount(sfm_map.descriptor_view, minlength=len(sfm_map.view_names))
    weak = [f"{name} ({count})" for name, count in zip(sfm_map.view_names, seen, strict=True) if count < least]
    if len(weak) > 0.5 * len(seen):
        raise TrainingError(
            f"{source}: the map is too weak to localize in: {len(weak)} of {len(seen)} views see fewer than {least} of "
            f"its {len(sfm_map.points)} landmarks: {', '.join(weak[:NAMED])}. What to do: {ADVICE}"
        )
