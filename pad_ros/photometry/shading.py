"""How light shades the part: smooth over its surface, by direction and place.

Another lamp, or another background that throws less or more light from below, shades some sides.
Irradiance depends on the surface normal as a polynomial of second order, to within 1 % (Ramamoorthi & Hanrahan 2001);
light from nearby adds a slope over the part, and a lens one towards the corners; a glossy surface mirrors some of it
on top. So the rendering is multiplied by such a polynomial and another is added,
the same for all channels (a cast is the whole image's, see `light`), fitted to the query over the whole surface by
iteratively reweighted least squares with Huber's weights: a defect, which is small, can neither be explained by it nor
pull it, and a whole side in the shade is not taken for one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import for_each, kernel
from ..imaging.background import Background
from ..imaging.geometry import Camera
from ..rendering.result import ReferenceRendering
from .surface import Surface

Floats = NDArray[np.float32]

MIN_PIXELS = 1000
MAX_PIXELS = 1500
STEPS = 5
HUBER = 1.345  # 95 % efficiency for Gaussian residuals
MIN_SCALE = 0.05  # colour in 0..1: up to here every pixel counts in full
PRIOR = 0.01  # of the pixels' weight: what few pixels show stays near no change
BLUR = 1.5  # px, of both images: an edge that is off by a part of a pixel is no light
DARKEST, BRIGHTEST = 0.02, 0.98  # what the camera cuts off says nothing
SAME_SHADING = 0.004  # of full scale, mean over the part: good views in the light of the reference views stay below
LEAST_GAIN, LARGEST_GAIN = 0.4, 1.8  # beyond this it is no shading


@dataclass(frozen=True, eq=False)
class Polynomial:
    """The 13 terms at pixels of a window of the part.

    camera, surface: of the window; middle [3, 1], reach: of the surface's points; diagonal: of the whole image, px².
    """

    camera: Camera
    surface: Surface
    middle: Floats
    reach: float
    diagonal: float

    @staticmethod
    def over(rendering: ReferenceRendering, pixels: NDArray[np.int64], diagonal: float) -> Polynomial:
        """Centred and scaled by pixels (flat indices) of the part; rendering: a window."""
        surface = Surface.of(rendering)
        points = _points(rendering.camera, surface, pixels)
        middle = np.median(points, axis=1, keepdims=True)
        reach = max(float(np.percentile(np.abs(points - middle), 95)), 1e-9)
        return Polynomial(rendering.camera, surface, middle, reach, diagonal)

    def rows(self, pixels: NDArray[np.int64]) -> Floats:
        """[P, 13] at pixels (flat indices) of the window."""
        points = _points(self.camera, self.surface, pixels)
        x, y = points[:2] / np.maximum(points[2], np.float32(1e-6))
        nx, ny, nz = self.surface.normal.reshape(-1, 3)[pixels].T
        place = ((points - self.middle) / self.reach).clip(-1.5, 1.5)
        corner = ((x * self.camera.fx) ** 2 + (y * self.camera.fy) ** 2) / self.diagonal
        return np.stack([np.ones_like(nx), nx, ny, nz, nx * ny, ny * nz, nz * nx, nx * nx - ny * ny, 3 * nz * nz - 1,
                         *place, corner], axis=1).astype(np.float32)  # fmt: skip


def _points(camera: Camera, surface: Surface, pixels: NDArray[np.int64]) -> Floats:
    """Points [3, P] of the surface in the camera's frame."""
    width, depth = surface.depth.shape[1], surface.depth.ravel()[pixels]
    x = (pixels % width + np.float32(0.5 - camera.cx)) / np.float32(camera.fx)
    y = (pixels // width + np.float32(0.5 - camera.cy)) / np.float32(camera.fy)
    return np.stack([x * depth, y * depth, depth]).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Shading:
    """Coefficients [13] of what the part's colours are multiplied by, less one, and of what is added (0..1).

    change: mean change of the part's colours by it, of full scale.
    """

    multiplied: Floats
    added: Floats
    change: float
    polynomial: Polynomial

    @property
    def same(self) -> bool:
        """No difference beyond what is normal under one light."""
        return self.change <= SAME_SHADING

    def apply(self, rendering: ReferenceRendering, background: Background) -> ReferenceRendering:
        """The rendering, and its photographs, shaded; the background around the part stays as it is."""
        if self.same:
            return rendering
        inside, shape, size = rendering.inside, rendering.alpha.shape, rendering.alpha.size
        everywhere = np.flatnonzero(rendering.alpha[inside] > 0.02)
        rows = self.polynomial.rows(everywhere)
        gain, gloss = (1 + rows @ self.multiplied).clip(LEAST_GAIN, LARGEST_GAIN), rows @ self.added
        pixels = np.arange(size).reshape(shape)[inside].ravel()[everywhere]
        rgb, photographs, alpha = rendering.rgb.copy(), rendering.photographs.copy(), rendering.alpha.ravel()[pixels]

        def shade(i: int) -> None:
            if i == 0:
                behind = np.array(background.rgb01, np.float32)
                _shade(rgb.reshape(size, 3), pixels, gain, gloss, alpha, behind)
            else:
                _shade_photograph(photographs[i - 1].reshape(size, 3), pixels, gain, gloss, alpha)

        for_each(shade, 1 + len(photographs))
        return replace(rendering, rgb=rgb, photographs=photographs)


@kernel
def _shade(rgb, pixels, gain, gloss, alpha, behind):  # type: ignore[no-untyped-def]
    """Colours (0..1) of pixels [P, 3] of a rendering; what shows `behind` the part is not shaded."""
    for i in range(len(pixels)):
        for c in range(3):
            ground = (1 - alpha[i]) * behind[c]
            value = (rgb[pixels[i], c] - ground) * gain[i] + gloss[i] * alpha[i] + ground
            rgb[pixels[i], c] = min(max(value, np.float32(0)), np.float32(1))


@kernel
def _shade_photograph(values, pixels, gain, gloss, alpha):  # type: ignore[no-untyped-def]
    """The same for uint8 values [P, 3]."""
    for i in range(len(pixels)):
        for c in range(3):
            value = np.float32(values[pixels[i], c]) * gain[i] + np.float32(255) * gloss[i] * alpha[i] + np.float32(0.5)
            values[pixels[i], c] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))


def fit_shading(query: Floats, rendering: ReferenceRendering) -> Shading | None:
    """The shading of a query [H, W, 3] (0..1); None where it cannot be determined."""
    inside = rendering.inside
    shown = rendering.cropped(inside)
    solid = cv2.erode((shown.alpha > 0.95).astype(np.float32), np.ones((3, 3), np.uint8))
    pixels = np.flatnonzero(solid)
    if len(pixels) < MIN_PIXELS:
        return None
    chosen = pixels[:: -(-len(pixels) // MAX_PIXELS)]
    height, width = rendering.alpha.shape
    polynomial = Polynomial.over(shown, chosen, float(height**2 + width**2))
    rows = polynomial.rows(chosen)
    share = np.maximum(cv2.GaussianBlur(solid, (0, 0), BLUR), np.float32(1e-6))[..., None]
    q, r = (_smoothed(values[inside], solid, share)[chosen] for values in (query, rendering.rgb))
    multiplied, added = np.split(_fit(rows, r, q), 2)
    change = float(np.abs((rows @ multiplied)[:, None] * r + (rows @ added)[:, None]).mean())
    return Shading(multiplied, added, change, polynomial)


def _smoothed(values: Floats, solid: Floats, share: Floats) -> Floats:
    """[H * W, 3], blurred within the part; share [H, W, 1]: the part itself, blurred."""
    return np.asarray(cv2.GaussianBlur(values * solid[..., None], (0, 0), BLUR) / share).reshape(-1, 3)


def _fit(rows: Floats, reference: Floats, query: Floats) -> Floats:
    """Coefficients [2 K] by which query - reference = rows @ (first K) * reference + rows @ (last K), for most pixels.

    rows [P, K]; reference, query [P, 3].
    """
    usable = (query > DARKEST) & (query < BRIGHTEST)
    count, size = np.count_nonzero(usable), rows.shape[1]
    found: NDArray[np.float64] = np.zeros(2 * size)
    if count < MIN_PIXELS // 2:
        return found.astype(np.float32)
    prior = PRIOR * float((reference[usable] ** 2).mean()) * count * np.eye(2 * size)
    for _ in range(STEPS):
        change = query - reference - (rows @ found[:size])[:, None] * reference - (rows @ found[size:])[:, None]
        scale = max(1.4826 * float(np.median(np.abs(change[usable]))), MIN_SCALE)
        weight = usable * np.minimum(1, HUBER * scale / np.maximum(np.abs(change), 1e-9))
        normal, right = np.zeros((2 * size, 2 * size)), np.zeros(2 * size)
        _gather(rows, reference, query, weight, normal, right)
        found = np.asarray(np.linalg.solve(normal + normal.T - np.diag(np.diag(normal)) + prior, right))
    return found.astype(np.float32)


@kernel
def _gather(rows, reference, query, weight, normal, right):  # type: ignore[no-untyped-def]
    """Add up the upper half of the normal matrix [2 K, 2 K] and the right side [2 K] of a weighted fit."""
    size = rows.shape[1]
    for i in range(len(rows)):
        plain, once, twice, target, product = 0.0, 0.0, 0.0, 0.0, 0.0
        for c in range(3):
            w, r = weight[i, c], reference[i, c]
            change = query[i, c] - r
            plain, once, twice = plain + w, once + w * r, twice + w * r * r
            target, product = target + w * change, product + w * r * change
        for a in range(size):
            here = rows[i, a]
            right[a] += here * product
            right[size + a] += here * target
            for b in range(a, size):
                both = here * rows[i, b]
                normal[a, b] += both * twice
                normal[size + a, size + b] += both * plain
            for b in range(size):
                normal[a, size + b] += here * rows[i, b] * once
