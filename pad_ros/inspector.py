"""Inspector: localize, render, compare and judge one image after the other against a reference model."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .comparison.choices import create_comparison
from .comparison.protocol import Comparison
from .compute.memory import give_back
from .compute.threads import only_our_threads
from .decision.conditions import measure_conditions
from .decision.inspection import Inspection
from .decision.judge import judge, unjudgeable
from .errors import CameraError, InputError, SceneError
from .imaging.geometry import Array, Camera
from .imaging.images import Image, validate
from .imaging.rect import Rect
from .imaging.scene import Scene
from .localization.alignment import moved_to
from .localization.appearance import Appearance, poses_in_gaps
from .localization.cascade import (
    ByAppearance,
    BySurroundings,
    Cascade,
    CoarseMatching,
    FullMatching,
    QuickMatching,
    Strategy,
    Tracking,
)  # fmt: skip
from .localization.descent import Descent
from .localization.features import MIN_WINDOW
from .localization.localizer import Localizer
from .localization.refinement import reduced_camera
from .localization.result import Localization
from .localization.sfm_map import SfmMap
from .localization.verification import PoseLimits, PoseVerifier
from .localization.view_matcher import ViewMatcher
from .methods.presets import Method, method_from_dict
from .model import ReferenceModel
from .photometry.prepared_query import PreparedQuery
from .rendering.device import resolve_device
from .rendering.photographs import Photograph
from .rendering.renderer import Renderer
from .rendering.result import ReferenceRendering
from .verdicts import Reason, reason_of

if TYPE_CHECKING:
    from .localization.pose_optimization import PoseOptimizer

MAX_ASPECT_DIFFERENCE = 0.01  # of width / height between a query and the camera it is said to come from
NOTHING_KNOWN = Scene()
GIVE_BACK_EVERY = 200  # queries: takes some 120 ms


class Inspector:
    """The stages for one reference model. Each may also run in a process of its own: `prepare` gives what all take.

    The stages raise only for bad input (InputError) and programming errors; `inspect` never raises: whatever goes
    wrong is HOLD with its reason.
    """

    def __init__(self, model: ReferenceModel, device: str = "auto", scene: Scene = NOTHING_KNOWN) -> None:
        self.model = model
        self.scene = scene
        self.device = resolve_device(device)
        self._prepared = 0  # queries
        self.method: Method = method_from_dict(model.settings, f"manifest of {model.name}")

    @staticmethod
    def load(path: Path, device: str = "auto", scene: Scene = NOTHING_KNOWN) -> Inspector:
        """Load a bundle; ModelError if it is damaged."""
        return Inspector(ReferenceModel.load(path), device, scene)

    def at_rate(self, false_reject_rate: float) -> Inspector:
        """The same with the threshold for another rate of false rejects; InputError where the model supports none.

        What was built for this one serves that one too.
        """
        calibration = self.model.calibration
        if calibration is None:
            raise InputError(f"{self.model.name}: the model has no threshold, so no rate of false rejects")
        other = copy.copy(self)
        other.model = replace(self.model, calibration=calibration.at_rate(false_reject_rate))
        return other

    @cached_property
    def renderer(self) -> Renderer:
        """Renders the model with the channels that the comparison needs."""
        model, calibration = self.model, self.model.calibration
        features = None if calibration is None else calibration.state.features()
        return model.renderer(features, self.device, self.method.scoring.photographs)

    @cached_property
    def outline(self) -> Renderer:
        """Renders the part alone and coarsely, also beyond the frame."""
        return self.renderer.coarse(max(self.method.refinement.levels))

    @cached_property
    def comparison(self) -> Comparison:
        """The way of comparing that the method names."""
        return create_comparison(self.method.scoring, self.model.networks, self.device)

    def _localizer_in(self, sfm_map: SfmMap) -> Localizer:
        model = self.model
        return Localizer(sfm_map, model.background, self.method.localization, model.networks, self.device)

    @cached_property
    def _verifier(self) -> PoseVerifier:
        model, settings = self.model, self.method
        limits = PoseLimits() if model.calibration is None else model.calibration.pose_limits
        localizer = self._localizer_in(model.sfm_map.of_part())
        by_gradient = model.nerf is not None or settings.optimization.steps > 0  # they look at the query as it is
        resolution = math.inf if by_gradient else model.sfm_map.resolution(self.renderer.centre, model.camera)
        return PoseVerifier(self.renderer, localizer, model.sfm_map.poses, settings.refinement, limits, resolution)

    @cached_property
    def cascade(self) -> Cascade:
        """The strategies of localization, cheapest first."""
        model, settings, verifier = self.model, self.method, self._verifier
        localizer = verifier.localizer
        if model.nerf is not None:
            from .localization.inerf import Inerf  # loads torch

            return Cascade((Inerf(verifier, localizer, self.renderer, model.sfm_map.poses),))
        if settings.optimization.steps:
            matcher = ViewMatcher(model.sfm_map, settings.localization, model.networks, self.device)
            return Cascade((Descent(verifier, localizer, matcher, self.renderer, lambda: self._pose_optimizer),))
        strategies: list[Strategy] = [
            Tracking(verifier), QuickMatching(verifier, localizer), CoarseMatching(verifier, localizer),
            FullMatching(verifier, localizer),
        ]  # fmt: skip
        if model.sfm_map.on_part is not None:
            strategies.append(BySurroundings(verifier, self._localizer_in(model.sfm_map)))
        return Cascade([*strategies, ByAppearance(verifier, localizer, lambda: self._appearance)])

    @cached_property
    def _pose_optimizer(self) -> PoseOptimizer:
        from .localization.pose_optimization import PoseOptimizer  # loads torch

        return PoseOptimizer(self.renderer, self.method.optimization)

    @cached_property
    def _appearance(self) -> Appearance | None:
        if self.model.background.colour is None:
            return None
        centre = self.model.gaussians.centre
        return Appearance([*self.model.photographs, *self._photographs_in_gaps(centre)], self.model.background, centre)

    def _photographs_in_gaps(self, centre: Array) -> Iterator[Photograph]:
        """What photographs would show from where there are none, coarsely."""
        photographs, calibration = self.model.photographs, self.model.calibration
        if not photographs or calibration is None:
            return
        camera = reduced_camera(self.model.camera.pinhole(), self.method.refinement)
        for pose in poses_in_gaps([p.pose for p in photographs], centre, calibration.pose_limits.coverage):
            rendering = self.outline.render(camera, pose)
            yield Photograph("", rendering.rgb8, rendering.depth.astype(np.float16), camera, pose)

    def warm_up(self) -> None:
        """Build all stages and compile their kernels, so that the first query is as fast as the rest."""
        camera = self.model.camera.pinhole()
        pose = self.model.sfm_map.poses[0]
        self.inspect(self.renderer.part(camera, pose).rgb8)
        _ = self._appearance

    def query_camera(self, image: Image, camera: Camera | None) -> Camera:
        """The camera to use for `image`; CameraError where its shape contradicts the intrinsics."""
        height, width = image.shape[:2]
        base = camera or self.model.camera
        if (base.width, base.height) == (width, height):
            return base
        if camera is None and abs((width / height) / (base.width / base.height) - 1) <= MAX_ASPECT_DIFFERENCE:
            return base.resized(width, height)
        source = "its camera_info" if camera else "the model's camera"
        raise CameraError(
            f"the image has {width}x{height} pixels, but {source} is for {base.width}x{base.height}; "
            "give the intrinsics that belong to the image"
        )

    def prepare(self, image: Image, camera: Camera | None = None) -> PreparedQuery:
        """An image [H, W, 3] as all stages take it. `camera` may be distorted; None: the model's own, resized.

        Raises ImageError, CameraError, or SceneError where the region of interest or the empty cell do not fit.
        """
        self._prepared += 1
        if self._prepared % GIVE_BACK_EVERY == 0:
            give_back()
        image = validate(image)
        camera = self.query_camera(image, camera)
        self.scene.check(image)
        region = None if self.scene.roi is None else _within(Rect(*self.scene.roi), camera)
        return PreparedQuery(image, camera, self.model.background, self.scene.empty, region)

    def localize(self, query: PreparedQuery, prior: Localization | None = None) -> Localization:
        """The camera's pose, refined photometrically, or the reason why there is none.

        prior: where the part is expected, such as what was found in the frame before. Within about 10 pixels of the
        right pose the search for it is saved; else the frame is localized as without.
        """
        return self.cascade.localize(query, prior)

    def render(self, query: PreparedQuery, localization: Localization) -> ReferenceRendering:
        """The reference rendering for a localization that has a pose, at the size that the query is compared at."""
        if localization.pose is None:
            raise ValueError("there is no pose to render from")
        with only_our_threads():
            return self.renderer.with_photographs(localization.rendering or self._rendered_again(query, localization))

    def _rendered_again(self, query: PreparedQuery, localization: Localization) -> ReferenceRendering:
        """The rendering that localization left, made anew in a process that did not get it."""
        pose, made_from = localization.pose, localization.rendered_from
        assert pose is not None
        query = self._verifier.at_model_scale(query, pose)
        if made_from is None:
            return self.renderer.part(query.pinhole, pose)
        return moved_to(pose, self.renderer.part(query.pinhole, made_from))

    def score(
        self, query: PreparedQuery, localization: Localization, rendering: ReferenceRendering | None
    ) -> Inspection:
        """The verdict. `rendering` None: the localization failed, the result is HOLD with its reason."""
        if rendering is None or localization.pose is None:
            return self.hold(localization.reason, localization.reason_text, query, localization)
        if problem := unjudgeable(self.model.calibration, rendering):
            return self.hold(*problem, query, localization)
        calibration, query = self.model.calibration, query.of_size(rendering.camera)
        assert calibration is not None
        with only_our_threads():
            evidence = self.comparison.evidence(query, rendering, calibration.state)
            conditions = measure_conditions(query, rendering, self.outline)
            return judge(query, localization, rendering, evidence, conditions, calibration, self.scene.min_view_share)

    def inspect(self, image: Image, camera: Camera | None = None, prior: Localization | None = None) -> Inspection:
        """The verdict for one image; HOLD with the reason for anything that goes wrong. prior: see `localize`."""
        times = {"localize": 0.0, "render": 0.0, "score": 0.0}
        began = last = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal last
            now = time.perf_counter()
            times[stage] = 1000 * (now - last)
            last = now

        try:
            query = self.prepare(image, camera)
            localization = self.localize(query, prior)
            lap("localize")
            rendering = self.render(query, localization) if localization.localized else None
            lap("render")
            result = self.score(query, localization, rendering)
            lap("score")
        except Exception as error:  # any failure must reach the line as HOLD, not end the process
            result = self.hold(*reason_of(error))
        times["total"] = 1000 * (time.perf_counter() - began)
        result.timings_ms.update(times)
        return result

    def hold(
        self,
        reason: Reason,
        text: str,
        query: PreparedQuery | None = None,
        localization: Localization | None = None,
    ) -> Inspection:
        """A HOLD verdict that carries its reason."""
        calibration = self.model.calibration
        threshold = float("nan") if calibration is None else calibration.threshold
        return Inspection.hold(reason, text, threshold, None if query is None else query.image, localization)

    def bad_image(self, text: str) -> Inspection:
        """HOLD for a query that could not even be decoded."""
        return self.hold(Reason.BAD_IMAGE, text)


def _within(region: Rect, camera: Camera) -> Rect:
    """The region inside the image; SceneError where nothing to look at is left of it."""
    inside = region.clipped((camera.height, camera.width))
    if min(inside.width, inside.height) < MIN_WINDOW:
        raise SceneError(
            f"the region of interest {','.join(map(str, region))} leaves less than {MIN_WINDOW} px of the image of "
            f"{camera.width}x{camera.height}; give X0,Y0,X1,Y1 in pixels"
        )
    return inside
