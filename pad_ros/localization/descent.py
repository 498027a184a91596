"""Descent, as SplatPose and IGSPAD localize: the pose of the most similar view, then gradient descent from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ..imaging.geometry import Array, Pose
from ..imaging.rect import Rect
from ..photometry.prepared_query import PreparedQuery
from ..rendering.renderer import Renderer
from ..verdicts import Reason
from .alignment import Linearisation, Window
from .cascade import Search
from .localizer import Localizer
from .refinement import Refinement
from .result import Attempt, Localization
from .verification import PoseVerifier
from .view_matcher import ViewMatcher, around_points

if TYPE_CHECKING:
    from .pose_optimization import PoseOptimizer


@dataclass(frozen=True, eq=False)
class Descent:
    """Gradient descent from the view with most matches. What it ends in must pass the verifier as any other pose."""

    verifier: PoseVerifier
    localizer: Localizer
    matcher: ViewMatcher
    renderer: Renderer
    optimizer: Callable[[], PoseOptimizer]  # built when first needed: it loads torch
    name: ClassVar[str] = "pose optimization"

    def attempt(self, search: Search) -> Localization | None:
        query = search.query
        window = self.localizer.part_window(query) or query.region or Rect.of_image(query.undistorted.shape)
        features = self.matcher.features(query, window)
        start, count = self.matcher.best_view(features, query.undistorted[window.slices])
        least = self.localizer.settings.min_inliers
        if count < least:
            text = f"the most similar view shares only {count} matches with the image, {least} are needed"
            search.failure = Localization(None, Reason.NOT_LOCALIZED, text, matches=count)
            search.attempts.append(Attempt(self.name, text))
            return None
        optimizer = self.optimizer()
        weights = None
        if optimizer.settings.matched_radius:
            rendered = self.renderer.part(query.pinhole, start)
            points = self.matcher.shared_points(features, rendered.rgb8, window)
            weights = around_points(points, optimizer.settings.matched_radius, rendered.alpha.shape)
        pose = optimizer.fit(query.undistorted, query.pinhole, start, weights)
        found = self._judged(query, pose, count)
        if found.pose is None:
            search.failure = found
            search.attempts.append(Attempt(self.name, found.reason_text, found.loss))
            return None
        return found

    def _judged(self, query: PreparedQuery, pose: Pose, count: int) -> Localization:
        """The pose with what the image leaves uncertain, or the reason why it is not to be trusted."""
        refined = self.verifier.refine(query, pose)
        if refined.covariance is None and not refined.hopeless:
            refined = replace(refined, covariance=_covariance(query, refined))
        found = self.verifier.judge(refined, Localization(pose, Reason.NONE, "localized by descent", matches=count))
        if found.pose is None:
            return found
        if found.covariance is None:
            text = "too little of the part is in sight to say how certain the pose is"
        elif doubt := self.localizer.gates.uncertain(found.pose, found.covariance):
            text = f"the image leaves the pose uncertain by {doubt}"
        else:
            return found
        return replace(found, pose=None, reason=Reason.WEAK_POSE, reason_text=text)


def _covariance(query: PreparedQuery, refined: Refinement) -> Array | None:
    """As in `Refinement`, from the rendering at a pose that was not refined."""
    lit = query.lit_by(refined.rendering)
    window = Window.of(lit.image, lit.over_ground(refined.rendering))
    linear = None if window is None else Linearisation.of(window)
    return None if linear is None else linear.covariance()
