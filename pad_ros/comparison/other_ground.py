"""What is left of a residual without the light that another ground throws onto the part, and without what was taken
too much of it.

Which of three references is right about the light differs from place to place: the one in the light that the line has
shown, the one as the query's light shades the part, and the one as it was taught. Each may lack light of the ground
besides. The one that leaves least counts, and all that is explained by light costs some of what it explains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..imaging.lab import lab_planes
from ..photometry.ground_light import ground_light, of_alike, place_traits
from ..photometry.prepared_query import LitQuery
from ..photometry.surface import Surface
from ..rendering.result import ReferenceRendering
from .colour import residuals_where
from .expectation import MIN_ALPHA

Floats = NDArray[np.float32]

LEAST_FORGIVEN = 0.02  # L*a*b* / 100: a smaller residual needs no explanation
COST = 0.4  # residual per L*a*b* / 100 that light explains at one place: a hole, or a missing part, is darker as well
COST_OF_ALIKE = 0.05  # the same where all places that are alike show the light


def forgive_ground_light(residual: Floats, lit: LitQuery, references: Sequence[ReferenceRendering], shift: int) -> None:
    """Lower the colour of `residual` [H, W, C] on the part.

    references: over the query's own ground, the compared one first. Nothing changes where the ground is about as bright
    as the one that the part was taught on.
    """
    change = lit.ground_change
    if change is None:
        return
    inside = lit.rendering.inside
    query, found = np.ascontiguousarray(lit.values[inside]), residual[inside][..., 0]
    windows = [reference.cropped(inside) for reference in references]
    surface = Surface.of(windows[0]) if lit.shading is None else lit.shading.polynomial.surface
    traits = place_traits(surface)
    compared = lab_planes(windows[0].rgb)
    where = (found > LEAST_FORGIVEN) & (windows[0].alpha > MIN_ALPHA)
    for window in windows:
        of_pixel = ground_light(query, window.rgb, change)
        alike = of_alike(of_pixel, window, traits, where & (window.alpha > 0.5))
        first = alike.undone(query)
        rest = ground_light(first, window.rgb, change).where(where)
        unlit = rest.undone(first)
        left = residuals_where(unlit, window, shift, where)
        width = left.shape[1]
        prices = (COST_OF_ALIKE, query, first), (COST, first, unlit)
        for cost, before, after in prices:
            left += np.float32(cost) * _apart(lab_planes(before), lab_planes(after), width)
        if window is not windows[0]:
            left += np.float32(COST) * _apart(lab_planes(window.rgb), compared, width)
        np.minimum(found, left, out=found)


def _apart(a: Floats, b: Floats, width: int) -> Floats:
    lightness, red, yellow = (a - b)[:, :, :width]
    return np.asarray(np.sqrt(lightness**2 + red**2 + yellow**2))
