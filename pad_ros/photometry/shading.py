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

import numpy as np
from numpy.typing import NDArray

from ..compute.simd import LANES, fma, load, splat, store
from ..compute.threads import for_each, kernel
from ..imaging.background import Background
from ..imaging.geometry import Camera
from ..imaging.images import Image
from ..rendering.result import ReferenceRendering
from .samples import MIN_PIXELS, sample_part
from .surface import Surface

Floats = NDArray[np.float32]

TERMS, ROW = 13, 16  # of the polynomial; floats of a row in memory: whole vectors
STEPS = 5
SETTLED = 2e-3  # change of all coefficients that ends the fit
HUBER = 1.345  # 95 % efficiency for Gaussian residuals
MIN_SCALE = 0.05  # colour in 0..1: up to here every pixel counts in full
PRIOR = 0.01  # of the pixels' weight: what few pixels show stays near no change
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


def fit_shading(query: Image | Floats, rendering: ReferenceRendering) -> Shading | None:
    """The shading of a query [H, W, 3] (uint8, or float32 in 0..1); None where it cannot be determined."""
    samples = sample_part(query, rendering)
    if samples is None:
        return None
    height, width = rendering.alpha.shape
    shown = rendering.cropped(rendering.inside)
    polynomial = Polynomial.over(shown, samples.pixels, float(height**2 + width**2))
    rows, reference = polynomial.rows(samples.pixels), samples.reference.astype(np.float32)
    multiplied, added = _fit(rows, reference, samples.query.astype(np.float32))
    change = float(np.abs((rows @ multiplied)[:, None] * reference + (rows @ added)[:, None]).mean())
    return Shading(multiplied, added, change, polynomial)


def _fit(rows: Floats, reference: Floats, query: Floats) -> tuple[Floats, Floats]:
    """Coefficients [K] each by which query - reference = (rows @ first) * reference + rows @ second, for most pixels.

    rows [P, K]; reference, query [P, 3].
    """
    usable = (query > DARKEST) & (query < BRIGHTEST)
    count = np.count_nonzero(usable)
    found = np.zeros((2, TERMS), np.float32)
    if count < MIN_PIXELS:
        return found[0], found[1]
    padded = np.zeros((len(rows), ROW), np.float32)
    padded[:, :TERMS] = rows
    prior = PRIOR * float((reference[usable] ** 2).mean()) * count * np.eye(2 * TERMS)
    for _ in range(STEPS):
        left = np.empty_like(query)
        _unexplained(rows, reference, query, found[0], found[1], left)
        scale = max(1.4826 * float(np.median(np.abs(left[usable]))), MIN_SCALE)
        sums = np.zeros((3, TERMS, ROW), np.float32)
        right: NDArray[np.float64] = np.zeros(2 * TERMS)
        _gather(padded, reference, query, usable, left, np.float32(HUBER * scale), sums, right)
        normal = prior.copy()
        of_gain, of_added = slice(TERMS), slice(TERMS, None)
        for block, (row, column) in zip(
            sums, ((of_gain, of_gain), (of_gain, of_added), (of_added, of_added)), strict=True
        ):
            normal[row, column] += block[:, :TERMS]
        normal[of_added, of_gain] = normal[of_gain, of_added].T
        before, found = found, np.linalg.solve(normal, right).astype(np.float32).reshape(2, TERMS)
        if np.abs(found - before).max() < SETTLED:
            break
    return found[0], found[1]


@kernel
def _unexplained(rows, reference, query, multiplied, added, out):  # type: ignore[no-untyped-def]
    """What the coefficients leave of query - reference [P, 3]."""
    for i in range(len(rows)):
        gain, more = np.float32(1), np.float32(0)
        for k in range(len(multiplied)):
            gain, more = gain + rows[i, k] * multiplied[k], more + rows[i, k] * added[k]
        for c in range(3):
            out[i, c] = query[i, c] - gain * reference[i, c] - more


@kernel
def _gather(rows, reference, query, usable, left, reach, sums, right):  # type: ignore[no-untyped-def]
    """Add up the blocks of the normal matrix [3, K, ROW] and the right side [2 K] of a fit with Huber's weights.

    rows [P, ROW], zero from K on. Blocks: of products of two terms times reference squared, times reference, alone.
    """
    terms = sums.shape[1]
    block = terms * ROW
    for i in range(len(rows)):
        plain, once, twice = np.float32(0), np.float32(0), np.float32(0)
        target, product = np.float32(0), np.float32(0)
        for c in range(3):
            if usable[i, c]:
                w, r = reach / max(abs(left[i, c]), reach), reference[i, c]
                change = query[i, c] - r
                plain, once, twice = plain + w, once + w * r, twice + w * r * r
                target, product = target + w * change, product + w * r * change
        for half in range(0, ROW, LANES):
            others = load(rows, i * ROW + half)
            for a in range(terms):
                both, at = splat(rows[i, a]) * others, a * ROW + half
                store(sums, at, fma(splat(twice), both, load(sums, at)))
                store(sums, block + at, fma(splat(once), both, load(sums, block + at)))
                store(sums, 2 * block + at, fma(splat(plain), both, load(sums, 2 * block + at)))
        for a in range(terms):
            right[a] += rows[i, a] * product
            right[terms + a] += rows[i, a] * target
