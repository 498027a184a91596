"""How the surroundings shade the part: smooth over its surface, by direction and place.

In front of another background, less or more light comes from below, and what stands around shades some sides.
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

from ..imaging.background import Background
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]

MIN_PIXELS = 1000
MAX_PIXELS = 3000
STEPS = 6
HUBER = 1.345  # 95 % efficiency for Gaussian residuals
MIN_SCALE = 0.05  # colour in 0..1: up to here every pixel counts in full
PRIOR = 0.01  # of the pixels' weight: what few pixels show stays near no change
SMOOTH = 1.5  # px, of the depth that normals are taken from
BLUR = 1.5  # px, of both images: an edge that is off by a part of a pixel is no light
DARKEST, BRIGHTEST = 0.02, 0.98  # what the camera cuts off says nothing
SAME_SHADING = 0.004  # of full scale, mean over the part: good views in the light of the reference views stay below
LEAST_GAIN, LARGEST_GAIN = 0.4, 1.8  # beyond this it is no shading


@dataclass(frozen=True, eq=False)
class Shading:
    """At pixels [P] of the part (flat indices): what its colours are multiplied by, and what is added (0..1) [P, 1]."""

    pixels: NDArray[np.int64]
    gain: Floats
    gloss: Floats

    def apply(self, rendering: ReferenceRendering, background: Background) -> ReferenceRendering:
        """The rendering, and its photographs, shaded; the background around the part stays as it is."""
        alpha = rendering.alpha.ravel()[self.pixels, None]
        rgb, photographs = rendering.rgb.copy(), rendering.photographs.copy()
        flat, behind = rgb.reshape(-1, 3), (1 - alpha) * np.array(background.rgb01, np.float32)
        flat[self.pixels] = np.clip((flat[self.pixels] - behind) * self.gain + self.gloss + behind, 0, 1)
        for photograph in photographs.reshape(len(photographs), rendering.alpha.size, 3):
            relit = photograph[self.pixels] * self.gain + (255 * self.gloss + np.float32(0.5))
            photograph[self.pixels] = relit.clip(0, 255).astype(np.uint8)
        return replace(rendering, rgb=rgb, photographs=photographs)


def fit_shading(query: Floats, rendering: ReferenceRendering) -> Shading | None:
    """The shading of a query [H, W, 3] (0..1); None where it cannot be determined or hardly changes the part."""
    alpha = rendering.alpha
    solid = cv2.erode((alpha > 0.95).astype(np.float32), np.ones((3, 3), np.uint8))
    pixels = np.flatnonzero(solid)
    if len(pixels) < MIN_PIXELS:
        return None
    everywhere = np.flatnonzero(alpha > 0.02)
    terms = _terms(rendering, everywhere)
    chosen = pixels[:: -(-len(pixels) // MAX_PIXELS)]
    rows = terms[np.searchsorted(everywhere, chosen)]
    q, r = (_smoothed(values, solid)[chosen] for values in (query, rendering.rgb))
    both = np.concatenate([np.concatenate([rows * r[:, c, None], rows], axis=1) for c in range(3)])
    fitted = _fit(both, (q - r).T.ravel(), q.T.ravel())
    if float(np.abs(both @ fitted).mean()) <= SAME_SHADING:
        return None
    k = terms.shape[1]
    gain = np.clip(1 + terms @ fitted[:k], LEAST_GAIN, LARGEST_GAIN)[:, None]
    return Shading(everywhere, gain, (terms @ fitted[k:] * alpha.ravel()[everywhere])[:, None])


def _terms(rendering: ReferenceRendering, pixels: NDArray[np.int64]) -> Floats:
    """The polynomial's terms [P, 13] at pixels of the part (flat indices)."""
    camera, alpha = rendering.camera, rendering.alpha
    weight = cv2.GaussianBlur(alpha, (0, 0), SMOOTH)
    depth = cv2.GaussianBlur(rendering.depth * alpha, (0, 0), SMOOTH) / np.maximum(weight, 1e-6)
    height, width = alpha.shape
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5 - camera.cx)) / np.float32(camera.fx)
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5 - camera.cy)) / np.float32(camera.fy)
    points = np.stack([x * depth, y[:, None] * depth, depth], axis=2)
    along, down = (cv2.Sobel(points, cv2.CV_32F, *axis, ksize=3).reshape(-1, 3)[pixels] for axis in ((1, 0), (0, 1)))
    normals = np.cross(down, along)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    place = points.reshape(-1, 3)[pixels]
    place = (place - np.median(place, axis=0)) / np.maximum(
        np.percentile(np.abs(place - np.median(place, 0)), 95), 1e-9
    )
    place = place.clip(-1.5, 1.5)
    nx, ny, nz = normals.T
    corner = ((x[pixels % width] * camera.fx) ** 2 + (y[pixels // width] * camera.fy) ** 2) / (width**2 + height**2)
    return np.stack([np.ones_like(nx), nx, ny, nz, nx * ny, ny * nz, nz * nx, nx * nx - ny * ny, 3 * nz * nz - 1,
                     *place.T, corner], axis=1).astype(np.float32)  # fmt: skip


def _smoothed(values: Floats, solid: Floats) -> Floats:
    """[H * W, 3], blurred within the part."""
    share = np.maximum(cv2.GaussianBlur(solid, (0, 0), BLUR), np.float32(1e-6))[..., None]
    return np.asarray(cv2.GaussianBlur(values * solid[..., None], (0, 0), BLUR) / share).reshape(-1, 3)


def _fit(rows: Floats, target: Floats, query: Floats) -> Floats:
    """Coefficients [K] of target [P] = rows [P, K] @ coefficients for most of the pixels."""
    usable = (query > DARKEST) & (query < BRIGHTEST)
    a, b = rows[usable].astype(np.float64), target[usable].astype(np.float64)
    found: NDArray[np.float64] = np.zeros(rows.shape[1])
    if len(b) < MIN_PIXELS // 2:
        return found.astype(np.float32)
    prior = PRIOR * len(b) * float((a[:, 0] ** 2).mean()) * np.eye(len(found))
    for _ in range(STEPS):
        residual = b - a @ found
        scale = max(1.4826 * float(np.median(np.abs(residual))), MIN_SCALE)
        weight = np.minimum(1, HUBER * scale / np.maximum(np.abs(residual), 1e-9))
        weighted = a * weight[:, None]
        found = np.asarray(np.linalg.solve(weighted.T @ a + prior, weighted.T @ b))
    return found.astype(np.float32)
