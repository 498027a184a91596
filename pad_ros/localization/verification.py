"""PoseVerifier: refines a pose photometrically and decides whether the image supports it.

No pose counts unless the rendering there explains the image as well as views of good parts do, the solution is certain,
and the reference views cover the viewpoint. A pose that few features or none speak for must explain it even better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..compute.threads import only_our_threads
from ..imaging.geometry import Camera, Pose, largest_cosine, rotation_angle
from ..photometry.prepared_query import PreparedQuery
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from ..settings import RefinementSettings
from ..verdicts import Reason
from .alignment import moved_to
from .localizer import Localizer
from .refinement import Refinement, reduced_camera, refine_pose, unexplained
from .result import Localization

# Of the largest loss, which has room for a defect: a pose that few matches or none speak for must explain the image
# better. Held-out good views stay below 0.57; where refining ended in a wrong pose, it was 0.9 and more.
CONVINCING_SHARE = 0.6
# Refining turns a pose by 12 degrees at most. From 11 degrees off it ended 2 to 3 degrees off, with the loss of a good
# view; again and again it found its way from 40 degrees.
FAR = math.radians(1.5)
MAX_ROUNDS = 6
# Times the largest loss, in reduced size, but at least so much: no light that can be undone lowers it that far. Right
# poses had 0.022 to 0.052 there, before another ground 1.3 times the largest loss; another part 0.103 and 2.4 and more.
HOPELESS, LEAST_HOPELESS = 2.25, 0.08
LEAST_FINER = 1.25  # times the pixels per part unit of the reference views, from which on a query is shrunk


@dataclass(frozen=True)
class PoseLimits:
    """max_loss: of the refinement (colour, 0..1); coverage: rad, how far from the nearest reference view."""

    max_loss: float = math.inf
    coverage: float = math.pi

    @property
    def convincing_loss(self) -> float:
        return CONVINCING_SHARE * self.max_loss


class PoseVerifier:
    """Refines and judges poses for one reference model."""

    def __init__(
        self,
        renderer: Renderer,
        localizer: Localizer,
        view_poses: Sequence[Pose],
        settings: RefinementSettings,
        limits: PoseLimits,
        resolution: float = math.inf,
    ) -> None:
        """resolution: largest of the reference views, px per part unit; queries with clearly more are shrunk to it."""
        self.limits = limits
        self._resolution = resolution
        self._renderer = renderer
        self._coarse = renderer.coarse(max(settings.levels))
        self.localizer = localizer
        self._settings = settings
        self._centre: NDArray[np.float64] = renderer.gaussians.centre
        self._view_centres = np.array([pose.centre for pose in view_poses])

    @property
    def decisive(self) -> bool:
        """Whether the image itself can confirm a pose: it is refined, and the loss of good views is known."""
        return self._settings.renderings > 1 and math.isfinite(self.limits.max_loss)

    def at_model_scale(self, query: PreparedQuery, pose: Pose) -> PreparedQuery:
        """The query, shrunk where it shows the part at `pose` with clearly more pixels than the reference views do."""
        depth = float(pose.transform(self._centre[None])[0, 2])
        if depth <= 0:  # behind the camera
            return query
        finer = math.sqrt(query.camera.fx * query.camera.fy) / depth / self._resolution
        return query.shrunk(finer) if finer >= LEAST_FINER else query

    def refine(self, query: PreparedQuery, pose: Pose, last: ReferenceRendering | None = None) -> Refinement:
        """The pose refined in the query's light and over its ground; the rendering is that over the background.

        It has the size of the query at the model's scale.

        last: a rendering at this pose from the frame before; it serves where the camera is the same.
        """
        query = self.at_model_scale(query, pose)
        settings, camera = self._settings, query.pinhole
        if last is not None and (last.camera != camera or last.pose is not pose):
            last = None
        with only_our_threads():
            first = self._coarse.part(reduced_camera(camera, settings), pose) if last is None else last
            lit = query.lit_while_searching(first)
            within_limits = lit is query.lit_by(first)  # else the loss is worked out anew, in a light within them

            most = max(HOPELESS * self.limits.max_loss, LEAST_HOPELESS)
            plain: dict[Pose, ReferenceRendering] = {}  # renderings before they are put over the ground

            def render(camera: Camera, at: Pose) -> ReferenceRendering:
                if len(plain) > 1:  # the last two can be the result
                    del plain[next(iter(plain))]
                plain[at] = self._renderer.part(camera, at)
                return lit.over_ground(plain[at])

            def coarse(camera: Camera, at: Pose) -> ReferenceRendering:
                return lit.over_ground(first if at is pose else self._coarse.part(camera, at))

            last = None if last is None else lit.over_ground(last)
            refined = refine_pose(lit.image, camera, pose, render, settings, coarse, last, most)
            if refined.hopeless:
                return refined
            cut_off = min(lit.light.brightest) < 255  # the rendering, too, as the light at the first pose had it
            sure = within_limits and lit.plain and not cut_off
            if sure and not refined.loss > self.limits.convincing_loss:
                return refined
            # The part alone must be explained: not the ground behind it, nor how another light shades it.
            made = plain.get(refined.rendered_from) or self._renderer.part(camera, refined.rendered_from)
            rendering = moved_to(refined.pose, made)
            final = query.lit_by(rendering)
            loss = unexplained(final.image, final.cut_off(final.shaded) if lit.plain else final.in_place)
            return replace(refined, rendering=rendering, loss=loss)

    def settle(self, query: PreparedQuery, pose: Pose, last: ReferenceRendering | None = None) -> Refinement:
        """The pose refined, and again from there as long as that turns it far: it may have ended halfway."""
        refined = self.refine(query, pose, last)
        for _ in range(MAX_ROUNDS - 1):
            if not refined.accepted or rotation_angle(refined.pose, pose) < FAR:
                break
            pose = refined.pose
            again = self.refine(query, pose)
            if not (again.accepted and again.loss < refined.loss):
                break
            refined = again
        if self.at_model_scale(query, refined.pose) is not self.at_model_scale(query, pose):  # all stages use the same
            return self.refine(query, refined.pose)
        return refined

    def follow(self, query: PreparedQuery, pose: Pose, last: ReferenceRendering | None) -> Refinement:
        """The pose of the frame before, refined from its rendering, or where that misleads, anew."""
        refined = self.settle(query, pose, last)
        if last is not None and refined.loss > self.limits.max_loss:  # coarse renderings find it from farther
            refined = self.settle(query, pose)
        return refined

    def accept(self, refined: Refinement, found: Localization, limit: float) -> Localization | None:
        """What was found, with the refined pose, where it explains the image within `limit` and is certain."""
        if not (refined.accepted and refined.loss <= limit):
            return None
        if refined.covariance is None or self.localizer.gates.uncertain(refined.pose, refined.covariance):
            return None
        if self.uncovered(refined.pose):
            return None
        return _with_pose(found, refined)

    def judge(self, refined: Refinement, found: Localization) -> Localization:
        """What features found, with the refined pose, or the reason why it is not to be trusted."""
        limit = self.limits.max_loss
        if math.isfinite(limit) and not refined.loss <= limit:
            text = (
                f"the part as rendered at the pose found differs from the image all over ({refined.loss:.3f}, good "
                f"parts stay below {limit:.3f}): a wrong pose, another part, or other light"
            )
            return replace(found, pose=None, reason=Reason.WEAK_POSE, reason_text=text)
        problem = self.uncovered(refined.pose)
        if problem:
            return replace(found, pose=None, reason=Reason.OUTSIDE_COVERAGE, reason_text=problem)
        return _with_pose(found, refined)

    def uncovered(self, pose: Pose) -> str | None:
        """Why the reference views cannot answer for this viewpoint, None if they can."""
        if self.limits.coverage >= math.pi:
            return None
        angle = np.arccos(np.clip(largest_cosine(self._view_centres, pose.centre, self._centre), -1, 1))
        if angle <= self.limits.coverage:
            return None
        return (
            f"seen from {np.degrees(angle):.0f} degrees beside the nearest reference view, "
            f"{np.degrees(self.limits.coverage):.0f} are covered: add reference views from there"
        )


def _with_pose(found: Localization, refined: Refinement) -> Localization:
    covariance = found.covariance if refined.covariance is None else refined.covariance
    return replace(
        found, pose=refined.pose, covariance=covariance, rendering=refined.rendering,
        rendered_from=refined.rendered_from, loss=refined.loss,
    )  # fmt: skip
