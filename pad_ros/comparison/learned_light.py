"""Light that good units of a line showed: by how much more or less of it each point of the surface receives.

Light of another place, or what another ground throws onto the part, differs from point to point: what lies in a recess,
or faces the ground, no smooth shading of the whole part explains. Where several images show the same change at a point,
it is learned there: a gain, and light that is added or missing in all channels alike (the dichromatic model, see
`photometry.face_light`), in linear light. A model may know several such lights (day and night, a lamp replaced); of
them and the light of the reference views, the one that an image is most like counts.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.background import Background
from ..photometry.face_light import BLUR, flat_surface
from ..photometry.prepared_query import LitQuery
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]

SUMS = 5  # of an image, for each Gaussian: what the least squares need
MOST_LIGHTS = 4  # of a model; the oldest goes
BELIEF = 0.3  # pixels' worth, per Gaussian, that nothing changed
USUAL_COLOUR = 0.5  # linear light: what missing or added light is weighed against
LARGEST_LOSS, LARGEST_GAIN = -0.9, 1.5
STEP = 4  # of the part's pixels, every so many, that choose the light
LARGEST_DIFFERENCE = 0.1  # (0..1) that counts in that choice: a defect must not make it


def light_sums(lit: LitQuery, renderer: Renderer) -> Floats:
    """Of one image, for each Gaussian [N, SUMS]: its pixels' sums of r², r, q r, q (over the channels) and of 1.

    q: the query in linear light, r: the shaded rendering. Edges, which an error of the pose changes, are left out.
    renderer: of the Gaussians alone.
    """
    from .surface_statistics import spread  # needs torch, which a line does not

    shaded = lit.shaded
    window = renderer.window(shaded.camera, shaded.pose)
    if window is None:
        return np.zeros((len(renderer.gaussians), SUMS), np.float32)
    flat = flat_surface(shaded)
    seen, shown = (cv2.GaussianBlur(values**2, (0, 0), BLUR) for values in (lit.values, shaded.rgb))
    products = [(shown * shown).sum(axis=2), shown.sum(axis=2), (seen * shown).sum(axis=2), seen.sum(axis=2)]
    maps = np.stack([values * flat for values in products] + [flat.astype(np.float32)], axis=2)
    sums = spread(renderer, shaded.camera, shaded.pose, window, maps[window.slices].astype(np.float32))
    return sums[:, :SUMS].astype(np.float32)


def learned_light(sums: NDArray[np.floating]) -> Floats:
    """Gain less one and added light of each Gaussian, float32 [N, 2], from the sums [N, SUMS] of all images.

    Ridge regression of the change q - r on r: what few pixels show stays near no change.
    """
    square, total, product, query, count = sums.astype(np.float64).T
    a = square + BELIEF * square.sum() / max(count.sum(), 1.0)
    b = 3 * (count + BELIEF * USUAL_COLOUR)
    along, change = product - square, query - total
    determinant = np.maximum(a * b - total * total, 1e-12)
    found = np.stack([along * b - change * total, a * change - total * along], axis=1) / determinant[:, None]
    return found.clip(LARGEST_LOSS, LARGEST_GAIN).astype(np.float32)


def in_nearest_light(
    lit: LitQuery, reference: ReferenceRendering, lights: Floats, background: Background
) -> ReferenceRendering:
    """The reference in that of the learned lights, or in none, that the query is most like.

    lights: float32 [H, W, 2 L], gain less one and added light, blended like colours.
    """
    count = lights.shape[2] // 2
    if not count:
        return reference
    solid = np.flatnonzero(reference.alpha > 0.95)[::STEP]
    if not len(solid):
        return reference
    seen, shown = (values.reshape(-1, 3)[solid] for values in (lit.values, reference.rgb))
    offered = lights.reshape(-1, 2 * count)[solid]
    differences = [_difference(seen, shown)]
    for i in range(count):
        changed = _lit(shown, 1 + offered[:, 2 * i, None], offered[:, 2 * i + 1, None])
        differences.append(_difference(seen, changed))
    nearest = int(np.argmin(differences))
    if nearest == 0:
        return reference
    chosen = lights[..., 2 * nearest - 2 : 2 * nearest]
    return _in_light(reference, 1 + chosen[..., :1], chosen[..., 1:], background)


def _difference(seen: Floats, shown: Floats) -> float:
    return float(np.minimum(np.abs(seen - shown), LARGEST_DIFFERENCE).mean())


def _lit(colours: Floats, gain: Floats, added: Floats) -> Floats:
    """Colours (0..1) of a surface; a gamma of 2 stands for the camera's, which is not known."""
    return np.sqrt(np.clip(colours * colours * gain + added, 0, 1))


def _in_light(reference: ReferenceRendering, gain: Floats, added: Floats, background: Background) -> ReferenceRendering:
    """gain, added: [H, W, 1]. The background around the part stays as it is."""
    inside = reference.inside
    rgb, photographs = reference.rgb.copy(), reference.photographs.copy()
    alpha, g, a = reference.alpha[inside][..., None], gain[inside], added[inside]
    behind = (1 - alpha) * np.array(background.rgb01, np.float32)
    rgb[inside] = _lit(np.maximum(rgb[inside] - behind, 0), g, a * alpha * alpha) + behind
    for photograph in photographs:
        colours = _lit(photograph[inside].astype(np.float32) / np.float32(255), g, a)
        photograph[inside] = (255 * colours + 0.5).astype(np.uint8)
    return replace(reference, rgb=np.clip(rgb, 0, 1, dtype=np.float32), photographs=photographs)
