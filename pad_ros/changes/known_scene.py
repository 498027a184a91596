"""KnownScene: how a scene was, as changes are looked for: learned from photographs, or taken from a trained model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..compute.threads import only_our_threads
from ..errors import InputError, ModelError, TrainingError
from ..imaging.background import Background
from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image, validate
from ..imaging.views import ReferenceViews, View
from ..localization.localizer import Localizer
from ..localization.refinement import reduced_camera, refine_pose
from ..localization.sfm_map import SfmMap
from ..methods.presets import Method, method_from_dict
from ..model import ReferenceModel
from ..photometry.prepared_query import PreparedQuery
from ..rendering.gaussians import Gaussians
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from ..training.fitting import Job, fit_all
from ..training.mapping import build_map
from .cues import normal_residual, residual_of

NO_BACKGROUND = Background(None, 0.0)
MIN_VIEWS = 8
MIN_FIT_SHARE = 0.4  # of the budget, whatever mapping took
CHECKED_VIEWS = 16  # at most, that show what differs without any change


@dataclass(frozen=True, eq=False)
class Seen:
    """A photograph that was found in the scene: what it shows, and how the scene was from there.

    image [H, W, 3], undistorted, in the light of the scene's own photographs. rendering: features hold what is usually
    left between the two.
    """

    name: str
    image: Image
    rendering: ReferenceRendering

    @property
    def pose(self) -> Pose:
        return self.rendering.pose

    @property
    def camera(self) -> Camera:
        return self.rendering.camera


@dataclass(frozen=True, eq=False)
class KnownScene:
    """usual: float32 [N, 2], what good photographs differ by at each Gaussian (see `cues.residual_of`)."""

    gaussians: Gaussians
    sfm_map: SfmMap
    camera: Camera
    method: Method
    usual: NDArray[np.float32]
    device: str = "cpu"
    background: Background = NO_BACKGROUND

    @staticmethod
    def learn(views: ReferenceViews, method: Method, budget: float, device: str = "cpu", seed: int = 0) -> KnownScene:
        """From photographs, with poses or without, in about `budget` seconds; TrainingError where that cannot be."""
        began = time.monotonic()
        if len(views) < MIN_VIEWS:
            raise TrainingError(f"{views.source}: {len(views)} photographs are too few, give at least {MIN_VIEWS}")
        sfm_map, posed = build_map(views, NO_BACKGROUND, method.localization, device=device)
        if len(posed) < MIN_VIEWS:
            raise TrainingError(
                f"{views.source}: {len(posed)} of {len(views)} photographs are in the map, {MIN_VIEWS} are needed"
            )
        seconds = max(budget - (time.monotonic() - began), MIN_FIT_SHARE * budget)
        with only_our_threads():
            fit = fit_all(posed.views, NO_BACKGROUND, sfm_map, Job(method, seconds, device, seed))
            shown = (*fit.held_out, *fit.fitted)[:CHECKED_VIEWS]
            usual = _usual(Renderer(fit.gaussians, NO_BACKGROUND, device=device), shown)
        camera = replace(posed.views[0].camera, distortion=posed.views[0].distortion)
        return KnownScene(fit.gaussians, sfm_map, camera, method, usual, device)

    @staticmethod
    def of_model(model: ReferenceModel, device: str = "cpu") -> KnownScene:
        """From a model of a whole scene (`pad train --part scene`); ModelError where it has no photographs."""
        if not model.photographs:
            raise ModelError(f"{model.name}: the model has no photographs: train it anew with --part scene")
        method = method_from_dict(model.settings, f"manifest of {model.name}")
        renderer = Renderer(model.gaussians, model.background, device=device)
        views = [View(p.name, p.image, p.camera, p.pose) for p in model.photographs][:CHECKED_VIEWS]
        usual = _usual(renderer, views)
        return KnownScene(model.gaussians, model.sfm_map, model.camera, method, usual, device, model.background)

    @cached_property
    def renderer(self) -> Renderer:
        return Renderer(self.gaussians, self.background, self.usual, self.device)

    @cached_property
    def _localizer(self) -> Localizer:
        return Localizer(self.sfm_map, self.background, self.method.localization, device=self.device)

    def find(self, name: str, image: Image, camera: Camera | None = None) -> Seen | str:
        """The photograph [H, W, 3] in the scene, or why it was not found there. InputError for what is no image."""
        image = validate(image)
        camera = camera or self.camera.resized(image.shape[1], image.shape[0])
        if (camera.height, camera.width) != image.shape[:2]:
            raise InputError(f"{name}: {image.shape[1]}x{image.shape[0]} pixels, its camera has other ones")
        query = PreparedQuery(image, camera, self.background)
        found = self._localizer.localize(query)
        if found.pose is None:
            return found.reason_text
        with only_our_threads():
            pose = self._refined(query, found.pose)
            rendering = self.renderer.part(query.pinhole, pose)
            return Seen(name, query.lit_by(rendering).image, rendering)

    def _refined(self, query: PreparedQuery, pose: Pose) -> Pose:
        """The pose aligned with the rendering: what changed weighs little there (Huber)."""
        settings = self.method.refinement
        first = self.renderer.part(reduced_camera(query.pinhole, settings), pose)
        image = query.lit_by(first).image
        return refine_pose(image, query.pinhole, pose, self.renderer.part, settings, self.renderer.part).pose


def _usual(renderer: Renderer, views: Sequence[View]) -> NDArray[np.float32]:
    def samples() -> Iterator[tuple[Camera, Pose, NDArray[np.float32]]]:
        for view in views:
            assert view.pose is not None
            rendering = renderer.part(view.camera, view.pose)
            yield view.camera, view.pose, residual_of(view.image, rendering)

    return normal_residual(renderer, samples())
