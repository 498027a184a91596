"""The residual of a query: in the light of the reference views, and over whatever ground it shows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import in_bands
from ..imaging.background import mask_box
from ..imaging.images import Image
from ..imaging.lab import lab_planes
from ..networks.segmenters import Segmenter
from ..photometry.face_light import without_face_light
from ..photometry.ground import EMPTY_ALPHA, on_ground
from ..photometry.moved_light import without_moved_light
from ..photometry.prepared_query import LitQuery, PreparedQuery
from ..rendering.result import ReferenceRendering
from .colour import differing, residuals, residuals_where
from .expectation import on_part
from .learned_light import in_nearest_light
from .other_ground import LEAST_FORGIVEN, forgive_ground_light
from .surroundings import BackgroundDistance, distance_from_empty, distance_from_ground

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Residual = Callable[[Image, ReferenceRendering], Floats]

SEGMENTED_SHARE = 0.5  # of the part must a segmenter find, or what it does not find says nothing
ADDED_LIGHT_COST = 0.2  # residual per L*a*b* / 100 that added light explains
MISSING_LIGHT_COST = 1.0  # the same for missing light: a hole, or a missing part, is darker as well
MOVED_LIGHT_COST = 0.3  # the same for light that lies beside its place, either way, where the light is surely another:
SURELY_OTHER = 1.5  # times the usual change; below it the cost rises to 1
FAR_STEP = 3  # of the pixels without a part, which are many, every so many, along both axes
FAR_QUANTILE = 0.95
MAX_FAR_RESIDUAL = 0.05  # L*a*b* / 100: no more is forgiven off the part


@dataclass(frozen=True)
class KnownLight:
    """What a comparison knows of light. usual_change: of it, as `LitQuery.light_change`, that good views stay below;
    channels: the last ones of the rendering's features, which are lights that lines have shown."""

    usual_change: float = math.inf
    channels: int = 0


@dataclass(frozen=True, eq=False)
class Measurement:
    """residual: float32 [H, W, C], undistorted pixels; ground_residual: what the query's own ground may differ by,
    ground_varies: what it differs by itself.

    reference: the rendering as compared; ground, surroundings_judged: see `Evidence`. other_ground: the query stands
    before another background than the trained one.
    """

    residual: Floats
    ground_residual: float
    ground_varies: float
    reference: ReferenceRendering
    ground: Mask | None
    surroundings_judged: bool = True
    other_ground: bool = False


def measure(
    query: PreparedQuery,
    rendering: ReferenceRendering,
    residual: Residual,
    segmenter: Segmenter | None,
    shift: int | None,
    light: KnownLight,
) -> Measurement:
    """The residual of a query beside the rendering, by a comparison's own `residual` of (image, rendering).

    With `shift` (px forgiven), where the query's light differs by more than is usual: the reference is shaded as that
    light shades the part, and what a whole face shows more of it, or what of it has moved, is forgiven, at a cost.
    Of the lights that lines have shown the nearest is put on top. In front of another background the rendering is
    composed with the query's ground, in two ways: with what the query shows around the part, and with ground continued
    behind it; with `shift` the colour that fits better counts, and light that the ground throws onto the part, or does
    not, is forgiven at a cost (`other_ground`). What lies off the part is then judged by how unlike the ground it is.
    """
    lit = query.lit_by(rendering)
    learned = rendering.features[..., rendering.features.shape[2] - light.channels :]
    if lit.plain:
        other_light = shift is not None and lit.light_change > light.usual_change
        known = lit.shaded if other_light else rendering
        reference = lit.cut_off(in_nearest_light(lit, known, learned, query.background))
        found = residual(lit.image, reference)
        if shift is not None and other_light:
            _forgive_face_light(found, lit, reference, shift)
            _forgive_moved_light(found, lit, reference, shift, light.usual_change)
        far = _far_residual(found[..., 0], rendering)
        return Measurement(found, far, far, reference, lit.background_mask)
    shaded = in_nearest_light(lit, lit.shaded, learned, query.background)
    in_place = lit.in_place
    if shaded is not lit.shaded:
        in_place = lit.cut_off(on_ground(shaded, lit.values, query.background))
    if shift is None:
        found = residual(lit.image, in_place)
    else:
        found = _around_part(
            lit, in_place, lit.cut_off(on_ground(shaded, lit.behind, query.background)), residual, shift
        )
        others = {id(other): other for other in (lit.shaded, lit.rendering) if other is not shaded}
        references = [in_place, *(lit.cut_off(on_ground(x, lit.values, query.background)) for x in others.values())]
        forgive_ground_light(found, lit, references, shift)
    normal, varies, ground = _judge_surroundings(found, lit, segmenter, shift or 0)
    return Measurement(found, normal, varies, in_place, ground, ground is not None, other_ground=True)


def _around_part(
    lit: LitQuery, in_place: ReferenceRendering, continued: ReferenceRendering, residual: Residual, shift: int
) -> Floats:
    """The residual [H, W, C] to the better of two ways to compose the part with the ground, zero far from the part."""
    inside = lit.rendering.inside
    image, shown = np.ascontiguousarray(lit.image[inside]), continued.cropped(inside)
    within = residual(image, in_place.cropped(inside))
    alone = replace(shown, photographs=shown.photographs[:0], seen=shown.seen[:0])  # they are those of `in_place`
    np.minimum(within[..., 0], residuals(image, alone, shift)[..., 0], out=within[..., 0])
    found = np.zeros((*lit.image.shape[:2], within.shape[2]), np.float32)
    found[inside] = within
    return found


def _forgive_face_light(residual: Floats, lit: LitQuery, reference: ReferenceRendering, shift: int) -> None:
    """Lower `residual` to what is left without the light that whole faces show more or less of, and its cost.

    Not where one gain of the whole image explains the light, as another exposure: no face shows more than others then.
    """
    if lit.shading is None or lit.shading.same:
        return
    inside = reference.inside
    shown, query, found = reference.cropped(inside), lit.values[inside], residual[inside][..., 0]
    unlit = without_face_light(query, shown, lit.shading.polynomial.surface, found > LEAST_FORGIVEN)
    if unlit is not None:
        _lower(found, query, unlit, shown, shift, (ADDED_LIGHT_COST, MISSING_LIGHT_COST))


def _forgive_moved_light(
    residual: Floats, lit: LitQuery, reference: ReferenceRendering, shift: int, usual_change: float
) -> None:
    """Lower `residual` to what is left without shadows and highlights that moved, and their cost, where light did."""
    if lit.shading is None or lit.shading.same:
        return
    inside = reference.inside
    shown, query, found = reference.cropped(inside), lit.values[inside], residual[inside][..., 0]
    unlit = without_moved_light(query, shown, lit.shading.polynomial.surface, found > LEAST_FORGIVEN)
    beyond = (lit.light_change / max(usual_change, 1e-9) - 1) / (SURELY_OTHER - 1)
    cost = 1 - (1 - MOVED_LIGHT_COST) * min(beyond, 1.0)
    _lower(found, query, unlit, shown, shift, (cost, cost))


# parameters: what is lowered, by what two images show beside the rendering, and what added and missing light cost
def _lower(
    found: Floats, query: Floats, unlit: Floats, shown: ReferenceRendering, shift: int, costs: tuple[float, float]
) -> None:
    left = residuals_where(unlit, shown, shift, differing(unlit, query))
    added, missing = (np.float32(cost) for cost in costs)

    def lower(first: int, last: int) -> None:
        rows, width = np.s_[first:last], query.shape[1]
        lightness, a, b = (lab_planes(query[rows]) - lab_planes(unlit[rows]))[:, :, :width]
        left[rows] += np.where(lightness > 0, added, missing) * np.sqrt(lightness**2 + a**2 + b**2)
        np.minimum(found[rows], left[rows], out=found[rows])

    in_bands(lower, len(found))


def _judge_surroundings(
    residual: Floats, lit: LitQuery, segmenter: Segmenter | None, shift: int
) -> tuple[float, float, Mask | None]:
    """Put into `residual` how unlike the ground it is off the part.

    What is normal there, what the ground itself varies by, and where ground is seen.
    """
    rendering = lit.in_place
    part = on_part(rendering)
    residual[~part] = 0
    if lit.empty:
        distance: BackgroundDistance | None = distance_from_empty(lit.values, rendering, lit.empty, shift)
    else:
        distance = distance_from_ground(lit.values, rendering)
    if distance is None:
        return 0.0, 0.0, None
    ground = distance.values <= distance.normal
    if segmenter is not None:
        box = mask_box(part)
        seen = segmenter.part((255 * lit.values + 0.5).astype(np.uint8), box) if box is not None else part
        solid = rendering.alpha > 0.5
        if solid.any() and seen[solid].mean() >= SEGMENTED_SHARE:
            distance, ground = replace(distance, judged=distance.judged & seen), ~seen
    off_part = distance.judged & ~(cv2.dilate(rendering.alpha, np.ones((3, 3), np.uint8)) > EMPTY_ALPHA)
    residual[off_part, 0] = distance.values[off_part]
    return distance.normal, distance.varies, ground


def _far_residual(colour: Floats, rendering: ReferenceRendering) -> float:
    """What the ground differs by where no part is near: other light on it, or a channel that it saturates."""
    far = np.ones(colour.shape, bool)
    far[rendering.inside] = False
    sample = colour[::FAR_STEP, ::FAR_STEP][far[::FAR_STEP, ::FAR_STEP]]
    return min(float(np.quantile(sample, FAR_QUANTILE)), MAX_FAR_RESIDUAL) if len(sample) else 0.0
