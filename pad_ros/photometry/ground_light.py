"""Light that another ground throws onto the part, more or less than the one that the part was taught on.

A white table lights a part from below and is mirrored in its glossy faces; a dark belt does neither. What the query
lacks is, in linear light, a share of the surface's own colour, and an amount in the colour that the ground lacks (the
dichromatic model; Shafer 1985, "Using color to separate reflection components"). Both are found at each pixel, and as
the median of what the part shows on surfaces of the same colour and direction nearby: a defect, which is small, is
outvoted there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.simd import LANES, fma, load, splat, store
from ..compute.threads import in_bands, kernel
from ..rendering.result import ReferenceRendering
from .face_light import BLUR, flat_surface
from .surface import Surface

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

RIDGE_SHARE, RIDGE_AMOUNT = 0.003, 0.03  # linear light squared: what few colours cannot tell apart stays near none
LARGEST_SHARE, LARGEST_AMOUNT = 0.9, 0.3  # of the surface's own colour; linear light
# The same where it is voted on: a piece of a colour of its own has no other voters than itself, and must not be taken
# for unlit where it is missing or dark.
MOST_OF_ALIKE = np.array([0.5, 0.15], np.float32)
LEAST_SHARE, LEAST_AMOUNT = 0.03, 0.002  # less is none
VOTERS = 600
STEP = 2  # px: one vote is taken for a block of so many, along both axes
SAME_COLOUR = 0.06  # (0..1),
SAME_DIRECTION = 0.25  # (of unit normals),
SAME_PLACE = 0.3  # (of the part's longer side in the image): standard deviations of how alike two places are
MOST_UNLIKE = 9.0  # sum of squared deviations beyond which a vote is left out
VOTES_FOR_NONE = 2.0  # that are always cast for no light
LEVELS = 32  # that a vote can fall on, the first one for no light


@dataclass(frozen=True, eq=False)
class GroundLight:
    """share, amount: float32 [h, w], of the surface's own colour and in linear light; change [3]: see
    `LitQuery.ground_change`."""

    share: Floats
    amount: Floats
    change: Floats

    def undone(self, query: Floats) -> Floats:
        """The query [h, w, 3] (0..1) as if the ground were the one that the part was taught on."""
        some = (self.share > LEAST_SHARE) | (self.amount > LEAST_AMOUNT)
        out = np.empty_like(query)
        in_bands(lambda first, last: _undo(query, self.share, self.amount, some, self.change, out, first, last),
                 len(query))  # fmt: skip
        return out

    def where(self, known: Mask) -> GroundLight:
        """None elsewhere than `known` [h, w]."""
        return GroundLight(self.share * known, self.amount * known, self.change)


def ground_light(query: Floats, reference: Floats, change: Floats) -> GroundLight:
    """Of each pixel of a query [h, w, 3] (0..1) beside the reference."""
    seen, shown = (cv2.GaussianBlur(values * values, (0, 0), BLUR) for values in (query, reference))
    out = np.empty((2, *query.shape[:2]), np.float32)
    in_bands(lambda first, last: _explain(seen, shown, change, *out, first, last), len(query))
    return GroundLight(out[0], out[1], change)


def place_traits(surface: Surface) -> Floats:
    """Direction and place [h, w, 5] at each pixel of a window, in units of how alike they are within a surface."""
    height, width = surface.depth.shape
    out = np.empty((height, width, 5), np.float32)
    np.divide(surface.normal, np.float32(SAME_DIRECTION), out=out[..., :3])
    step = 1 / (SAME_PLACE * max(height, width))
    out[..., 3], out[..., 4] = step * np.arange(width), step * np.arange(height)[:, None]
    return out


def of_alike(light: GroundLight, reference: ReferenceRendering, traits: Floats, wanted: Mask) -> GroundLight:
    """The median of the light of the places that are alike, at the pixels `wanted` [h, w]; none elsewhere.

    reference: a window; traits: see `place_traits`, of the same.
    """
    height, width = wanted.shape
    colour = cv2.GaussianBlur(reference.rgb, (0, 0), BLUR).reshape(-1, 3) / np.float32(SAME_COLOUR)
    traits = traits.reshape(-1, 5)
    voters = np.flatnonzero(flat_surface(reference))
    voters = voters[:: -(-len(voters) // VOTERS) or 1]
    votes = np.stack([light.share.ravel()[voters], light.amount.ravel()[voters]], axis=1) / MOST_OF_ALIKE
    levels = np.minimum((votes * LEVELS).astype(np.int8), LEVELS - 1)
    blocks = wanted[: height // STEP * STEP, : width // STEP * STEP].reshape(height // STEP, STEP, width // STEP, STEP)
    rows, columns = np.nonzero(blocks.any(axis=(1, 3)))
    pixels = STEP * (rows * width + columns)
    found = np.zeros((len(pixels), 2), np.float32)
    of_voters, of_pixels = (np.concatenate([colour[p], traits[p]], axis=1) for p in (voters, pixels))
    of_voters = np.ascontiguousarray(np.pad(of_voters, ((0, -len(voters) % LANES), (0, 0)), constant_values=np.inf).T)
    in_bands(lambda first, last: _elect(of_pixels, of_voters, levels, found, first, last), len(pixels))
    out = np.zeros((2, height, width), np.float32)
    for y in range(STEP):
        for x in range(STEP):
            out[:, STEP * rows + y, STEP * columns + x] = (found * MOST_OF_ALIKE).T
    share, amount = out * wanted
    return GroundLight(share, amount, light.change)


@kernel
def _explain(seen, shown, change, share, amount, first, last):  # type: ignore[no-untyped-def]
    """The share g and amount t, neither negative, for which seen = shown + (g shown + t) change, by least squares."""
    zero = np.float32(0)
    for y in range(first, last):
        for x in range(seen.shape[1]):
            a, b, c = np.float32(RIDGE_SHARE), zero, np.float32(RIDGE_AMOUNT)
            along, more = zero, zero
            for k in range(3):
                d, r = change[k], shown[y, x, k]
                difference = (seen[y, x, k] - r) * d
                a, b, c = a + d * d * r * r, b + d * d * r, c + d * d
                along, more = along + difference * r, more + difference
            scale = 1 / (a * c - b * b)
            g, t = (along * c - b * more) * scale, (a * more - b * along) * scale
            if t < 0:
                g, t = along / a, zero
            elif g < 0:
                g, t = zero, more / c
            share[y, x] = min(max(g, zero), np.float32(LARGEST_SHARE))
            amount[y, x] = min(max(t, zero), np.float32(LARGEST_AMOUNT))


@kernel
def _undo(query, share, amount, some, change, out, first, last):  # type: ignore[no-untyped-def]
    for y in range(first, last):
        for x in range(query.shape[1]):
            for k in range(3):
                value = query[y, x, k]
                if some[y, x]:
                    linear = (value * value - amount[y, x] * change[k]) / (1 + share[y, x] * change[k])
                    value = np.sqrt(min(max(linear, np.float32(0)), np.float32(1)))
                out[y, x, k] = value


@kernel
def _elect(pixels, voters, levels, out, first, last):  # type: ignore[no-untyped-def]
    """The median [P, 2], as a share of the largest, of the levels [V, 2] of voters that are like each of the pixels.

    pixels [P, T]; voters [T, V and more], infinite from V on, in whole vectors.
    """
    counts, unlike = np.zeros((2, LEVELS), np.float32), np.empty(LANES, np.float32)
    half, stride = np.float32(0.5), voters.shape[1]
    for i in range(first, last):
        counts[:] = 0
        total = np.float32(VOTES_FOR_NONE)
        counts[:, 0] = total
        for j in range(0, stride, LANES):
            squares = splat(np.float32(0))
            for k in range(pixels.shape[1]):
                difference = load(voters, k * stride + j) - splat(pixels[i, k])
                squares = fma(difference, difference, squares)
            store(unlike, 0, squares)
            for lane in range(LANES):
                if unlike[lane] < MOST_UNLIKE:
                    weight = np.exp(-half * unlike[lane])
                    counts[0, levels[j + lane, 0]] += weight
                    counts[1, levels[j + lane, 1]] += weight
                    total += weight
        for c in range(2):
            level, below = 0, np.float32(0)
            while level < LEVELS - 1 and below + counts[c, level] < half * total:
                below += counts[c, level]
                level += 1
            within = (half * total - below) / max(counts[c, level], np.float32(1e-6))
            out[i, c] = max(level - half + within, np.float32(0)) / np.float32(LEVELS - 1)
