"""Cascade: strategies of localization in order, cheapest first; the first convincing pose wins.

1. Tracking: the pose of the frame before, refined.
2. Quick matching: before another ground than the trained one, a pose from few features of the small frame, refined;
   the image, or features of the part's window there, must leave no doubt about it.
3. Coarse matching: a pose from few features of the part's window, or from those of the frame, refined likewise.
4. Full matching: all features, guided matching, gates; then refined and checked against good views. A pose that does
   not explain the image convincingly counts only if appearance leads to none that does.
5. Surroundings: where the part's own features give no pose, also those of what it stood in when it was taught.
6. Appearance: where features say nothing, poses of the reference photographs that look most like the query.

All of them use one PoseVerifier. What each came to is kept with the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from ..imaging.geometry import rotation_angle
from ..photometry.prepared_query import PreparedQuery
from ..verdicts import Reason
from .appearance import Appearance
from .localizer import CoarseEstimate, Localizer
from .refinement import Refinement
from .result import Attempt, Localization
from .verification import PoseVerifier

MIN_CONTRAST = 3.0  # grey levels: standard deviation under which an image shows nothing
APPEARANCE_POSES = 10  # that are tried where no features give one: of thin parts seen edge-on few look alike
RIVAL_POSES = 6  # where features give one that does not convince
AGREEING, AGREED_ANGLE = 3, math.radians(0.5)  # so many that end at one pose, refined from different photographs,
UNLIKE = 1.3  # while all others explain the image so many times worse, speak for it
AGREED_SHARE = 0.8  # of the largest loss: right poses had 0.63 with 20 and 40 views, wrong ones 1.15 and more
CLEAR_SHARE = 0.75  # of the loss that convinces: a pose that explains the image this well needs no rival
TRACKED = Localization(None, Reason.NONE, "tracked")  # what a tracked pose is put into


@dataclass(eq=False)
class Search:
    """The search for one query's pose: what earlier strategies found serves later ones.

    prior: the localization of the frame before. failure: the best reason so far why there is no pose. candidate: a
    pose that counts if no later one explains the image better.
    """

    query: PreparedQuery
    prior: Localization | None = None
    tracked: Refinement | None = None
    estimate: CoarseEstimate | None = None
    failure: Localization | None = None
    candidate: Localization | None = None
    attempts: list[Attempt] = field(default_factory=list)


class Strategy(Protocol):
    """One way to find a pose."""

    name: ClassVar[str]

    def attempt(self, search: Search) -> Localization | None:
        """What ends the search: a pose, or a reason that no later strategy can change. None: go on."""


class Cascade:
    """Tries strategies in order."""

    def __init__(self, strategies: Sequence[Strategy]) -> None:
        self.strategies = tuple(strategies)

    def localize(self, query: PreparedQuery, prior: Localization | None = None) -> Localization:
        """The query's pose, or the reason why there is none; never raises for what the image shows."""
        if query.overview.contrast < MIN_CONTRAST:
            text = "the image is uniform: lens covered, lights off, or no part"
            return Localization(None, Reason.NO_CONTENT, text)
        search = Search(query, prior)
        for strategy in self.strategies:
            found = strategy.attempt(search)
            if found is not None:
                if found.pose is not None:
                    search.attempts.append(Attempt(strategy.name, "accepted", found.loss))
                return replace(found, attempts=tuple(search.attempts))
        failure = search.failure or Localization(None, Reason.NOT_LOCALIZED, "no strategy found a pose")
        return replace(search.candidate or failure, attempts=tuple(search.attempts))


@dataclass(frozen=True, eq=False)
class Tracking:
    """The pose of the frame before, refined; the image must leave no doubt about it."""

    verifier: PoseVerifier
    name: ClassVar[str] = "tracking"

    def attempt(self, search: Search) -> Localization | None:
        prior = search.prior
        if prior is None or prior.pose is None or not self.verifier.decisive:
            return None
        search.tracked = refined = self.verifier.follow(search.query, prior.pose, prior.rendering)
        found = self.verifier.accept(refined, TRACKED, self.verifier.limits.convincing_loss)
        if found is None:
            search.attempts.append(Attempt(self.name, "not convincing", refined.loss))
        return found


@dataclass(frozen=True, eq=False)
class QuickMatching:
    """A pose from few features of the small frame, refined. It, or the tracked one, may be confirmed by its window."""

    verifier: PoseVerifier
    localizer: Localizer
    name: ClassVar[str] = "quick matching"

    def attempt(self, search: Search) -> Localization | None:
        query, verifier = search.query.overview, self.verifier
        if not verifier.decisive or self.localizer.part_window(query) is not None:
            return None
        if search.tracked is not None and (found := self._confirmed(search.tracked, TRACKED, query, None)):
            return found
        estimate = self.localizer.quick_estimate(query)
        if estimate is None or estimate.found.pose is None:
            return None
        refined = verifier.settle(search.query, estimate.found.pose)
        found = verifier.accept(refined, estimate.found, verifier.limits.convincing_loss)
        found = found or self._confirmed(refined, estimate.found, query, estimate)
        if found is None:
            search.attempts.append(Attempt(self.name, "not convincing", refined.loss))
        return found

    def _confirmed(
        self, refined: Refinement, found: Localization, query: PreparedQuery, estimate: CoarseEstimate | None
    ) -> Localization | None:
        """The refined pose, where it explains the image as good views are, and the features or those there agree."""
        limit, pose = self.verifier.limits.max_loss, refined.pose
        if refined.loss > limit:
            return None
        at_hand = estimate is not None and self.localizer.confirms(estimate, pose, query.pinhole)
        if not (at_hand or self.localizer.confirmed_there(query, pose)):
            return None
        return self.verifier.accept(refined, found, limit)


@dataclass(frozen=True, eq=False)
class CoarseMatching:
    """A pose from few features, refined. It, or the tracked one, may also be confirmed by these features."""

    verifier: PoseVerifier
    localizer: Localizer
    name: ClassVar[str] = "coarse matching"

    def attempt(self, search: Search) -> Localization | None:
        if not self.verifier.decisive:
            return None
        search.estimate = estimate = self.localizer.coarse_estimate(search.query.overview)
        if estimate is None:
            return None
        if search.tracked is not None and (found := self._confirmed(search.tracked, TRACKED, search, estimate)):
            return found
        if estimate.found.pose is None:
            search.attempts.append(Attempt(self.name, estimate.found.reason_text))
            return None
        refined = self.verifier.settle(search.query, estimate.found.pose)
        found = self.verifier.accept(refined, estimate.found, self.verifier.limits.convincing_loss)
        if found is not None and not self._may_be_beaten(found):
            return found
        if (confirmed := self._confirmed(refined, estimate.found, search, estimate)) is not None:
            return confirmed
        search.candidate = found
        outcome = "not convincing" if found is None else "few features agree: others are tried too"
        search.attempts.append(Attempt(self.name, outcome, refined.loss))
        return None

    def _may_be_beaten(self, found: Localization) -> bool:
        """Flat parts seen edge-on may end some degrees off, with the loss of a good view."""
        clear = found.loss <= CLEAR_SHARE * self.verifier.limits.convincing_loss
        return not clear and found.inliers < self.localizer.settings.min_inliers

    def _confirmed(
        self, refined: Refinement, found: Localization, search: Search, estimate: CoarseEstimate
    ) -> Localization | None:
        """The refined pose, where it explains the image as good views are and the features agree."""
        limit = self.verifier.limits.max_loss
        if refined.loss > limit or not self.localizer.confirms(estimate, refined.pose, search.query.overview.pinhole):
            return None
        return self.verifier.accept(refined, found, limit)


@dataclass(frozen=True, eq=False)
class FullMatching:
    """All features of the part's window, or of the frame."""

    verifier: PoseVerifier
    localizer: Localizer
    name: ClassVar[str] = "full matching"

    def attempt(self, search: Search) -> Localization | None:
        whole = search.query
        estimate = search.estimate if whole.overview is whole else None  # its features are at pixels of the overview
        found, attempt = _verified(self, whole, self.localizer.localize(whole, estimate))
        if found.pose is None:
            search.attempts.append(attempt)
            search.failure = found
            return None if found.reason in (Reason.NOT_LOCALIZED, Reason.WEAK_POSE) else found
        if not self.verifier.decisive or found.loss <= self.verifier.limits.convincing_loss:
            return found
        # Of a part that is nearly alike all around features can agree on a turned pose.
        search.attempts.append(replace(attempt, outcome="not convincing: others are tried too"))
        search.candidate = _better(search.candidate, found)
        return None


@dataclass(frozen=True, eq=False)
class BySurroundings:
    """All features, also those of what is around a part in a scene; the part itself must then confirm the pose."""

    verifier: PoseVerifier
    localizer: Localizer  # of the map with all landmarks
    name: ClassVar[str] = "surroundings"

    def attempt(self, search: Search) -> Localization | None:
        if not self.verifier.decisive or search.candidate is not None:
            return None
        found, attempt = _verified(self, search.query, self.localizer.localize(search.query))
        if found.pose is not None:
            return replace(found, reason_text="localized by the surroundings")
        search.attempts.append(attempt)
        return None


def _better(known: Localization | None, found: Localization) -> Localization:
    return found if known is None or found.loss < known.loss else known


def _verified(
    strategy: FullMatching | BySurroundings, query: PreparedQuery, found: Localization
) -> tuple[Localization, Attempt]:
    """What features found, refined and judged, and the record of it."""
    loss = float("nan")
    if found.pose is not None:
        refined = strategy.verifier.settle(query, found.pose)
        found, loss = strategy.verifier.judge(refined, found), refined.loss
    return found, Attempt(strategy.name, found.reason_text, loss)


@dataclass(frozen=True, eq=False)
class ByAppearance:
    """The best of the poses that the part as a whole suggests, if the image then leaves no doubt about it.

    A model of few views explains no image that well: there it counts that several photographs lead to the same pose.
    """

    verifier: PoseVerifier
    localizer: Localizer
    appearance: Callable[[], Appearance | None]  # built when first needed; None without a plain background
    name: ClassVar[str] = "appearance"

    def attempt(self, search: Search) -> Localization | None:
        query, verifier = search.query.overview, self.verifier
        if not verifier.decisive or query.part_mask is None or self.localizer.part_window(query) is None:
            return None
        appearance = self.appearance()
        if appearance is None:
            return None
        convincing = verifier.limits.convincing_loss
        ends: list[Refinement] = []
        count = APPEARANCE_POSES if search.candidate is None else RIVAL_POSES
        for pose in appearance.poses(query.undistorted, query.part_mask, query.pinhole, count):
            refined = verifier.settle(search.query, pose)
            if refined.accepted:
                ends.append(refined)
                if refined.loss <= CLEAR_SHARE * convincing:
                    break
        best = min(ends, key=lambda end: end.loss, default=None)
        located = Localization(None, Reason.NONE, "localized by appearance")
        limit = AGREED_SHARE * verifier.limits.max_loss if _agreed(ends) else convincing
        found = None if best is None else verifier.accept(best, located, limit)
        known = search.candidate
        if found is None or known is not None and known.loss <= found.loss:
            search.attempts.append(Attempt(self.name, "not convincing", float("nan") if best is None else best.loss))
            return None
        return found


def _agreed(ends: Sequence[Refinement]) -> bool:
    """Whether refining led from several starts to the best of these poses, and nowhere else that is nearly as good."""
    best = min(ends, key=lambda end: end.loss, default=None)
    if best is None:
        return False
    there = [rotation_angle(end.pose, best.pose) <= AGREED_ANGLE for end in ends]
    elsewhere = [end.loss for end, near in zip(ends, there, strict=True) if not near]
    return sum(there) >= AGREEING and min(elsewhere, default=math.inf) >= UNLIKE * best.loss
