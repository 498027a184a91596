"""How a query's light and camera settings differ from those of the reference views: one gain and offset per channel.

Fitted on the part's surface itself, where query and rendering show the same material, by iteratively reweighted least
squares with Tukey's biweight (Huber & Ronchetti 2009, chapter 7): what a defect changes weighs nothing. Exposure and
white balance are gains of linear light, and nearly gains of the pixel values, which follow a power of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import kernel
from ..imaging.images import Image
from ..rendering.result import ReferenceRendering
from .samples import MIN_PIXELS, sample_part

Floats = NDArray[np.float32]

STEPS = 8
SETTLED = 1e-3  # change of the gain that ends the fit
TUKEY = 4.685  # 95 % efficiency for Gaussian residuals
MIN_SCALE = 0.01  # colour in 0..1, as in pose refinement
DARKEST, BRIGHTEST = 0.02, 0.98  # what the camera cuts off says nothing
SAME_CHANGE = 0.03  # of full scale, mean over the part: views in the light of the reference views stay below
LEAST_CHANGE = 0.008  # less is never undone
MAX_CUT_OFF = 0.5  # of the pixels in a channel: from less than the rest the light cannot be determined
LARGEST_GAIN = 1.5  # beyond this, or its inverse, it is not the same part under another light
LARGEST_CAST = 1.4  # between the gains of two channels: more is a part of another colour, not another white balance
WHILE_SEARCHING = 1.2  # times these limits: a pose that is a little off makes the light look stranger than it is
CAPPED = 0.1  # colour in 0..1: a pixel that differs by more is a highlight or a defect, by however much
SIMPLER = 0.95  # of the error of a line that all channels share: lines of their own must leave less
SMALL_CHANGE_LEAVES = 0.8  # of the error: at most, where the change may be that of good views


@dataclass(frozen=True)
class Light:
    """query = gain * reference + offset, per channel, colours in 0..1.

    change: mean change of the part's colours by it, of full scale, also where that is too little, or too much, to be
    undone; known: false where it is too much: gain and offset are then 1 and 0.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    change: float = 0.0
    known: bool = True

    @property
    def same(self) -> bool:
        """No difference beyond what is normal under one light."""
        return self.gain == SAME_LIGHT.gain and self.offset == SAME_LIGHT.offset

    def undo(self, image: Image) -> Image:
        """The query [H, W, 3] as it would look under the light of the reference views."""
        return image if self.same else np.asarray(cv2.LUT(image, self._undone[None]), np.uint8)

    @property
    def _undone(self) -> NDArray[np.uint8]:
        """[256, 3]: every value that a channel can have, as it would be under the light of the reference views."""
        levels = np.arange(256, dtype=np.float32)[:, None]
        table = (levels - 255 * np.array(self.offset, np.float32)) / np.array(self.gain, np.float32)
        return (table + 0.5).clip(0, 255).astype(np.uint8)

    @property
    def brightest(self) -> tuple[int, int, int]:
        """What `undo` makes of 255: in brighter light the camera cuts off what is brighter."""
        red, green, blue = (255, 255, 255) if self.same else map(int, self._undone[255])
        return red, green, blue

    def cut_off(self, rendering: ReferenceRendering) -> ReferenceRendering:
        """The rendering and its photographs, as bright as the query's camera can show them."""
        if min(self.brightest) == 255:
            return rendering
        most = np.array(self.brightest, np.uint8)
        rgb = np.minimum(rendering.rgb, most / np.float32(255), dtype=np.float32)
        return replace(rendering, rgb=rgb, photographs=np.minimum(rendering.photographs, most))


SAME_LIGHT = Light()


def fit_light(image: Image, rendering: ReferenceRendering, allowance: float = 1.0) -> Light:
    """The light of a query [H, W, 3] at the rendering's pose; SAME_LIGHT where it is unknown or hardly differs.

    allowance: times the largest gain and cast.
    """
    samples = sample_part(image, rendering)
    return SAME_LIGHT if samples is None else light_between(samples.query, samples.reference, allowance)


def light_between(query: NDArray[np.float64], reference: NDArray[np.float64], allowance: float = 1.0) -> Light:
    """The light of pixels [P, 3] (0..1) that show, most of them, the same material as those of `reference`.

    allowance: as in `fit_light`.
    """
    if _cut_off(query, reference) > MAX_CUT_OFF:
        return Light(known=False)
    columns = zip(*(np.ascontiguousarray(values.T) for values in (reference, query)), strict=True)
    lines = [_line(x, y) for x, y in columns]
    change = max(float(np.abs((g - 1) * reference[:, c] + o).mean()) for c, (g, o) in enumerate(lines))
    if change <= LEAST_CHANGE or not _possible(lines, reference.mean(axis=0), allowance):
        return Light(change=change, known=change <= SAME_CHANGE)
    # A highlight that moved changes the darkest channel most, which looks like a cast of the lamp.
    shared = _line(*(np.ascontiguousarray(values.T).ravel() for values in (reference, query)))
    share = SIMPLER if change > SAME_CHANGE else SMALL_CHANGE_LEAVES
    simplest, *others = ([(1.0, 0.0)] * 3, [shared] * 3, lines)
    least = _unexplained(simplest, query, reference)
    for candidate in others:
        if (error := _unexplained(candidate, query, reference)) < share * least:
            simplest, least = candidate, error
    (a, x), (b, y), (c, z) = simplest
    return Light((a, b, c), (x, y, z), change)


def _possible(lines: Sequence[tuple[float, float]], colour: NDArray[np.float64], allowance: float) -> bool:
    """Whether a lamp or the camera can do so to a part of that mean colour [3]; allowance: as in `fit_light`.

    In a dark channel a few grey levels of stray light are a large gain: gains are those of the colour plus DARKEST.
    """
    gains = [(gain * x + DARKEST) / (x + DARKEST) for (gain, _), x in zip(lines, colour, strict=True)]
    most, cast = allowance * LARGEST_GAIN, allowance * LARGEST_CAST
    return bool(min(gains) >= 1 / most and max(gains) <= most and max(gains) <= cast * min(gains))


def _unexplained(
    lines: Sequence[tuple[float, float]], query: NDArray[np.float64], reference: NDArray[np.float64]
) -> float:
    """Mean difference (0..1) that is left where the lines (gain, offset) of the channels are undone."""
    gain, offset = np.array(lines).T
    usable = (query > DARKEST) & (query < BRIGHTEST)
    left = np.minimum(np.abs((query - offset) / gain - reference), CAPPED)
    return float((left * usable).sum() / max(np.count_nonzero(usable), 1))


def _cut_off(query: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Share of the values that the camera cut off though the reference shows them: of the worst channel."""
    within = (reference > 2 * DARKEST) & (reference < 1 - 2 * (1 - BRIGHTEST))
    cut = within & ((query <= DARKEST) | (query >= BRIGHTEST))
    return float((cut.sum(axis=0) / np.maximum(within.sum(axis=0), MIN_PIXELS)).max())


@kernel
def _line(reference: NDArray[np.float64], query: NDArray[np.float64]) -> tuple[float, float]:
    """(gain, offset) that most of the pixels agree with."""
    usable = (query > DARKEST) & (query < BRIGHTEST)
    if usable.sum() < MIN_PIXELS:
        return 1.0, 0.0
    x, y = reference[usable], query[usable]
    gain, offset = float(np.median(y)) / max(float(np.median(x)), 1e-3), 0.0
    for _ in range(STEPS):
        residual = y - gain * x - offset
        reach = TUKEY * max(1.4826 * np.median(np.abs(residual)), MIN_SCALE)
        total, sx, sy, sxx, sxy = 1e-9, 0.0, 0.0, 0.0, 0.0
        for i in range(len(x)):
            w = max(1 - (residual[i] / reach) ** 2, 0.0) ** 2
            total += w
            sx += w * x[i]
            sy += w * y[i]
            sxx += w * x[i] * x[i]
            sxy += w * x[i] * y[i]
        mx, my = sx / total, sy / total
        variance = sxx / total - mx * mx
        if variance < 1e-4:  # a part of one colour: gain and offset cannot be separated
            return my / max(mx, 1e-3), 0.0
        before, gain = gain, (sxy / total - mx * my) / variance
        offset = my - gain * mx
        if abs(gain - before) < SETTLED:
            break
    return gain, offset
