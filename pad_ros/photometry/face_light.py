"""Light that falls on a face, or is mirrored in it, more or less than in the light of the reference views.

More light multiplies the face's colour; what a smooth face mirrors of a lamp is added, the same in all channels of
linear light (the dichromatic model; Shafer 1985, "Using color to separate reflection components"). Both are about the
same all over a face. So each is taken, at a pixel, as the median over its neighbours on the same face: those of similar
colour, depth and direction in the rendering. A burr or a stain, which covers a part of a face, is outvoted.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import in_bands, kernel
from ..rendering.result import ReferenceRendering
from .surface import Surface

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

BLUR = 0.8  # px, of both images: an edge that is off by a part of a pixel is no light
LARGEST_SLOPE = 0.05  # of the rendering's grey value per px: steeper pixels are edges and do not vote
RIDGE = 0.05  # of linear light squared: gain and gloss of a grey face cannot be separated and share the change
LEAST_CHANGE = 0.005  # linear light, mean of the channels
LARGEST_GLOSS, LARGEST_GAIN = 0.6, 0.8  # linear light; share of the face's own
LEVELS = 41  # that a vote can fall on, the middle one for no change
VOTES_FOR_NONE = 2.0  # that are always cast for no change
VOTE_REACH, VOTE_STEP = 14, 2  # px around a pixel, along both axes
NEAR = 6.0  # px,
SAME_COLOUR = 0.1  # (0..1),
SAME_DIRECTION = 0.5  # (of unit normals),
SAME_DEPTH = 0.03  # (logarithm): standard deviations of how alike two pixels of one face are
MOST_UNLIKE = 16.0  # sum of squared deviations beyond which a vote is left out


def without_face_light(query: Floats, reference: ReferenceRendering, surface: Surface, where: Mask) -> Floats | None:
    """The query [h, w, 3] (0..1) without the light that faces show more or less of than the rendering of the window.

    surface: of the rendering; where [h, w]: which pixels may change. None where none does.
    """
    linear, expected = query**2, reference.rgb**2  # a gamma of 2 stands for the camera's, which is not known
    seen, shown = (cv2.GaussianBlur(values, (0, 0), BLUR) for values in (linear, expected))
    change = cv2.transform(seen - shown, np.full((1, 3), 1 / 3))
    wanted = where & (np.abs(change) > LEAST_CHANGE) & (reference.alpha > 0.5)
    if not wanted.any():
        return None
    voters = flat_surface(reference)
    face = np.empty((*wanted.shape, 7), np.float32)
    face[..., :3] = reference.rgb / np.float32(SAME_COLOUR)
    face[..., 3:6] = surface.normal / np.float32(SAME_DIRECTION)
    face[..., 6] = np.log(np.maximum(surface.depth, np.float32(1e-6))) / np.float32(SAME_DEPTH)
    out = query.copy()

    def explain(first: int, last: int) -> None:
        upper, lower = max(first - VOTE_REACH, 0), min(last + VOTE_REACH, len(out))
        rows = np.s_[upper:lower]
        votes = np.empty((lower - upper, out.shape[1], 2), np.int8)
        _vote(seen[rows], shown[rows], votes)
        _elect(wanted[rows], voters[rows], votes, face[rows], first - upper, last - upper, linear[rows], out[rows])

    in_bands(explain, len(out))
    return out


def flat_surface(reference: ReferenceRendering) -> Mask:
    """Where [H, W] the rendering shows neither an edge nor the outline of the part."""
    grey = cv2.cvtColor(reference.rgb, cv2.COLOR_RGB2GRAY)
    across, down = (cv2.Sobel(grey, cv2.CV_32F, *axis, ksize=3, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    solid = cv2.erode((reference.alpha > 0.9).view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.asarray(solid & (cv2.magnitude(across, down) < LARGEST_SLOPE))


@kernel
def _vote(seen, shown, out):  # type: ignore[no-untyped-def]
    """Levels [H, W, 2] of the gain and gloss that explain each pixel best: seen - shown = gain * shown + gloss."""
    middle = LEVELS // 2
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            square, total, along, change = np.float32(RIDGE), np.float32(0), np.float32(0), np.float32(0)
            for c in range(3):
                difference = seen[y, x, c] - shown[y, x, c]
                square += shown[y, x, c] * shown[y, x, c]
                total += shown[y, x, c]
                along += difference * shown[y, x, c]
                change += difference
            count = np.float32(3 + RIDGE)
            scale = 1 / (square * count - total * total)
            gain, gloss = (along * count - change * total) * scale, (square * change - total * along) * scale
            for k, share in enumerate((gain / LARGEST_GAIN, gloss / LARGEST_GLOSS)):
                out[y, x, k] = min(max(int(np.floor(middle * share + 0.5)), -middle), middle) + middle


# parameters: pixels and their neighbours, the rows in question, and what is changed there
@kernel
def _elect(wanted, voters, votes, face, first, last, linear, out):  # type: ignore[no-untyped-def]
    """Take the light that the neighbours vote for from the wanted pixels of rows first..last."""
    height, width, features = face.shape
    counts = np.zeros((2, LEVELS), np.float32)
    half, near = np.float32(0.5), np.float32(1 / NEAR**2)
    for y in range(first, last):
        for x in range(width):
            if not wanted[y, x]:
                continue
            counts[:] = 0
            total = np.float32(VOTES_FOR_NONE)
            counts[0, LEVELS // 2] = counts[1, LEVELS // 2] = total
            for v in range(y - VOTE_REACH, y + VOTE_REACH + 1, VOTE_STEP):
                if v < 0 or v >= height:
                    continue
                for u in range(max(x - VOTE_REACH, x % VOTE_STEP), min(x + VOTE_REACH + 1, width), VOTE_STEP):
                    if not voters[v, u]:
                        continue
                    unlike = np.float32((v - y) ** 2 + (u - x) ** 2) * near
                    for k in range(features):
                        difference = face[v, u, k] - face[y, x, k]
                        unlike += difference * difference
                    if unlike < MOST_UNLIKE:
                        weight = np.exp(-half * unlike)
                        counts[0, votes[v, u, 0]] += weight
                        counts[1, votes[v, u, 1]] += weight
                        total += weight
            gain = 1 + _median(counts[0], total) * LARGEST_GAIN
            gloss = _median(counts[1], total) * LARGEST_GLOSS
            for c in range(3):
                value = (linear[y, x, c] - gloss) / gain
                out[y, x, c] = np.sqrt(min(max(value, 0), 1))


@kernel
def _median(counts, total):  # type: ignore[no-untyped-def]
    """The median of votes on levels, as a share of the largest change: -1..1."""
    level, below, half = 0, np.float32(0), np.float32(0.5) * total
    while level < LEVELS - 1 and below + counts[level] < half:
        below += counts[level]
        level += 1
    return (level - 0.5 + (half - below) / max(counts[level], np.float32(1e-6)) - LEVELS // 2) / (LEVELS // 2)
