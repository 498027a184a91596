"""Photometric refinement of a pose: Gauss-Newton on the difference between query and rendering.

The rendering at the current pose gives colours and depth; moving the camera by a small twist moves
each rendered pixel over the query (forward warp through the depth), so the Jacobian comes from
image gradients alone and no pass back through the rasterizer is needed (inverse compositional;
Baker & Matthews 2004, section 3.2; depth as in direct visual odometry). A defect must not pull the
pose: residuals are weighted after Huber, with a scale from their median.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.geometry import Array, Camera, Pose, rotation_angle
from ..imaging.images import Image
from ..rendering.result import ReferenceRendering
from ..settings import RefinementSettings
from .alignment import Linearisation, Window, shifted

RenderFunction = Callable[[Camera, Pose], ReferenceRendering]

SETTLED = 0.99  # of the loss before: less gain than this ends the refinement
SUBPIXEL = 0.15  # px: a correction that moves the part by less is made on the picture, without rendering anew
NEGLIGIBLE = 0.01  # px: what is then left to correct is not worth another picture
COARSE_SETTLED = 0.3  # px: the same for what a rendering of reduced size corrects
STEPS = 10  # Gauss-Newton steps per linearisation
PRECISION = 0.003  # px: shorter Gauss-Newton steps end a linearisation,
REDUCED_PRECISION = 0.01  # the same on a rendering of reduced size,
SHRUNK_PRECISION = 0.05  # and on one that was shrunk (px of that)
DIVERGED = 1.2  # times the loss at the start, reduced in size, that the loss in full must not exceed
MAX_ROTATION_DEG = 12.0  # a correction beyond these is a divergence, not a refinement
MAX_TRANSLATION = 0.2  # share of the distance to the part


@dataclass(frozen=True, eq=False)
class Refinement:
    """The refined pose, or the given one where refining did not lower the loss.

    loss: robust mean residual after (colour, 0..1); covariance: [6, 6] as in `Localization`; rendering: at `pose`.
    rendered_from: the pose that the rendering was made at, before it was shifted by a fraction of a pixel.
    hopeless: it ended before anything was rendered in full; loss and rendering are those of reduced size.
    """

    pose: Pose
    accepted: bool
    loss_before: float
    loss: float
    covariance: NDArray[np.float64] | None
    rendering: ReferenceRendering
    rendered_from: Pose
    hopeless: bool = False


def refine_pose(
    image: Image,
    camera: Camera,
    pose: Pose,
    render: RenderFunction,
    settings: RefinementSettings | None = None,
    coarse: RenderFunction | None = None,
    last: ReferenceRendering | None = None,
    most: float = math.inf,
) -> Refinement:  # parameters: those of the search, and what saves time
    """Refine `pose` of a query [H, W, 3] taken with the pinhole `camera`; `render` gives the part at a pose.

    coarse: gives it at the largest of the settings' `levels`, for the first rounds: they then cost a fraction.
    last: a rendering at `pose` that is there already, such as that of the frame before: it saves them.
    most: loss in reduced size that is worth a rendering in full.
    """
    settings = settings or RefinementSettings()
    begun: tuple[Pose, float] | None = None
    if settings.renderings > 1 and last is not None:
        begun = _followed(image, last, settings)
    elif settings.renderings > 1 and coarse is not None:
        begun, reduced = _from_reduced(image, camera, pose, coarse, settings)
        if reduced.loss > most:
            return Refinement(begun[0], True, begun[1], reduced.loss, None, reduced.rendering, begun[0], True)
    if begun is not None:
        start, loss_before = begun
        found = _refined(image, camera, pose, start, render, settings, ())
        if found.loss <= DIVERGED * loss_before:
            return replace(found, accepted=True, loss_before=loss_before)
    return _refined(image, camera, pose, pose, render, settings, settings.levels)


def unexplained(image: Image, rendering: ReferenceRendering) -> float:
    """The loss of a rendering beside the query [H, W, 3], as in `Refinement`."""
    window = Window.of(image, rendering)
    return float("inf") if window is None else window.loss()


def reduced_camera(camera: Camera, settings: RefinementSettings) -> Camera:
    """That of the renderings of reduced size."""
    level = max(settings.levels)
    return camera.resized(max(round(camera.width * level), 16), max(round(camera.height * level), 16))


@dataclass(frozen=True, eq=False)
class _Comparison:
    """A rendering beside the query; what is None is so where too little of the part is in sight."""

    rendering: ReferenceRendering
    loss: float
    window: Window | None
    linear: Linearisation | None

    @staticmethod
    def of(image: Image, rendering: ReferenceRendering) -> _Comparison:
        return _Comparison._in(Window.of(image, rendering), rendering)

    @staticmethod
    def _in(window: Window | None, rendering: ReferenceRendering) -> _Comparison:
        if window is None:
            return _Comparison(rendering, float("inf"), None, None)
        return _Comparison(rendering, window.loss(), window, Linearisation.of(window))

    def shifted(self, warp: Array) -> _Comparison:
        """With the part moved by a fraction of a pixel in the window alone: the rendering stays."""
        return _Comparison._in(None if self.window is None else self.window.shifted(warp), self.rendering)

    def correction(self, levels: Sequence[float], steps: int, precision: float) -> tuple[Array, float]:
        """The warp of the rendered points that fits the query best, and how many pixels it moves them."""
        if self.window is None or self.linear is None:
            return np.eye(4), 0.0
        warp = np.eye(4)
        shrunk, reached = [self.window], 1.0
        for level in sorted(levels, reverse=True):  # each from the one before
            shrunk.append(shrunk[-1].shrunk(level / reached))
            reached = level
        for window in shrunk[:0:-1]:
            linear = Linearisation.of(window)
            if linear is not None:
                warp = linear.solve(warp, steps, SHRUNK_PRECISION)
        warp = self.linear.solve(warp, steps, precision)
        return warp, self.linear.motion(warp)


def _followed(image: Image, last: ReferenceRendering, settings: RefinementSettings) -> tuple[Pose, float]:
    """The pose that a rendering of before leads to, and the loss at its own."""
    compared = _Comparison.of(image, last)
    warp, _ = compared.correction(settings.levels, STEPS, REDUCED_PRECISION)
    candidate = Pose(warp @ last.pose.matrix)
    return (candidate if _plausible(last.pose, candidate) else last.pose), compared.loss


def _from_reduced(
    image: Image, camera: Camera, pose: Pose, coarse: RenderFunction, settings: RefinementSettings
) -> tuple[tuple[Pose, float], _Comparison]:
    """((the pose that renderings of reduced size lead to, the loss at the given one), the last of them)"""
    level, small = max(settings.levels), reduced_camera(camera, settings)
    shrunk = np.asarray(cv2.resize(image, (small.width, small.height), interpolation=cv2.INTER_AREA), np.uint8)
    compared = _Comparison.of(shrunk, coarse(small, pose))
    loss_before, reached = compared.loss, pose
    below = [other / level for other in settings.levels if other < level]
    for _ in range(settings.renderings):
        warp, moved = compared.correction(below, STEPS, REDUCED_PRECISION)
        candidate = Pose(warp @ reached.matrix)
        if not _plausible(pose, candidate):
            return (pose, loss_before), compared
        reached = candidate
        if moved < COARSE_SETTLED * level:
            break
        compared, below = _Comparison.of(shrunk, coarse(small, reached)), []
    return (reached, loss_before), compared


def _refined(
    image: Image,
    camera: Camera,
    given: Pose,
    start: Pose,
    render: RenderFunction,
    settings: RefinementSettings,
    levels: Sequence[float],
) -> Refinement:
    """From `start` on by renderings of full size, the first of which serves the `levels` as well."""
    compared = _Comparison.of(image, render(camera, start))
    reached, accepted, loss_before, rendered_from = start, False, compared.loss, start
    for i in range(1, settings.renderings):
        warp, moved = compared.correction(levels if i == 1 else (), STEPS, PRECISION)
        candidate = Pose(warp @ reached.matrix)
        if not _plausible(given, candidate):
            break
        if 0 < moved < SUBPIXEL:
            closer = compared.shifted(warp)
            further, beyond = closer.correction((), STEPS, PRECISION)
            warp = warp if beyond < NEGLIGIBLE else further @ warp
            compared = replace(closer, rendering=shifted(compared.rendering, warp))
            reached, accepted = compared.rendering.pose, True
            break
        after = _Comparison.of(image, render(camera, candidate))
        if after.loss >= compared.loss:
            break
        settled = after.loss > SETTLED * compared.loss
        compared, reached, accepted, rendered_from = after, candidate, True, candidate
        if settled:
            break
    covariance = compared.linear.covariance() if accepted and compared.linear is not None else None
    return Refinement(reached, accepted, loss_before, compared.loss, covariance, compared.rendering, rendered_from)


def _plausible(start: Pose, pose: Pose) -> bool:
    shift = np.linalg.norm(start.centre - pose.centre) / max(float(np.linalg.norm(start.translation)), 1e-9)
    turn = np.degrees(rotation_angle(start, pose))
    return bool(turn <= MAX_ROTATION_DEG and shift <= MAX_TRANSLATION)
