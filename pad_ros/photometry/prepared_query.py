"""PreparedQuery: one image to inspect, and what all stages need of it, each worked out once when first asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ..imaging.background import Background, Mask, background_mask, mask_box, part_mask
from ..imaging.geometry import Camera, undistort_image
from ..imaging.images import Image
from ..imaging.rect import Rect
from ..rendering.result import ReferenceRendering
from .ground import around_part, filled, is_plain_background, nearest_empty, on_ground
from .light import WHILE_SEARCHING, Light, fit_light
from .shading import Shading, fit_shading

Floats = NDArray[np.float32]

OVERVIEW_PIXELS = 1_000_000  # more are not needed to find the part by a few features
LEAST_GROUND_CHANGE = 0.1  # linear light
SHRINK_STEPS = 8  # to half the size: so that neighbouring frames of a stream have the same size


@dataclass(frozen=True, eq=False)
class LitQuery:
    """A query in the light of the reference views, and the ground behind the part in it, by one rendering.

    The rendering may be smaller than the image and off by a few pixels: a search needs no more. image: uint8
    [H, W, 3], undistorted. plain: the query stands in front of the background of the reference views.
    """

    image: Image
    light: Light
    plain: bool
    background_mask: Mask | None  # at the rendering's size: where the query has the colour of that background
    rendering: ReferenceRendering
    background: Background
    empty: Sequence[Image]

    @cached_property
    def _grounds(self) -> dict[tuple[int, ...], Floats]:
        """`behind` at the sizes that were asked for."""
        return {}

    @cached_property
    def values(self) -> Floats:
        """The image in 0..1."""
        return self.image.astype(np.float32) / np.float32(255)

    @cached_property
    def behind(self) -> Floats:
        """[H, W, 3] (0..1): the ground, also where the part hides it: from views of the empty cell, or filled in."""
        height, width = self.image.shape[:2]
        near = around_part(self.rendering)
        if near.shape != (height, width):
            near = cv2.resize(near.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        return nearest_empty(self.values, near, self.empty) if self.empty else filled(self.values, near)

    @cached_property
    def shading(self) -> Shading | None:
        """How the query's light shades the rendering, which must be of the image's size."""
        return fit_shading(self.image, self.cut_off(self.rendering))

    @cached_property
    def shaded(self) -> ReferenceRendering:
        """The rendering, and its photographs, as the query's light shades it."""
        return self.rendering if self.shading is None else self.shading.apply(self.rendering, self.background)

    @cached_property
    def ground_change(self) -> Floats | None:
        """By how much [3] the ground is brighter than that of the reference views, in linear light, relative to the
        channel of the largest change; None where no channel changes much, or hardly any ground is in sight."""
        free = ~around_part(self.rendering)
        if self.plain or free.shape != self.values.shape[:2] or not free.any():
            return None
        ground = np.array(cv2.mean(self.values * self.values, free.view(np.uint8))[:3])
        change = ground - np.array(self.background.rgb01) ** 2
        largest = float(np.abs(change).max())
        return None if largest < LEAST_GROUND_CHANGE else np.asarray(change / largest, np.float32)

    @property
    def light_change(self) -> float:
        """Mean change of the part's colours by the query's light, of full scale: as a whole and by its shading."""
        return self.light.change + (0.0 if self.shading is None else self.shading.change)

    @cached_property
    def in_place(self) -> ReferenceRendering:
        """The shaded rendering composed with what the query itself shows behind and around it."""
        return self.cut_off(on_ground(self.shaded, self.values, self.background))

    def with_photographs(self, rendering: ReferenceRendering) -> LitQuery:
        """The same by the same rendering, to which photographs were added; nothing is worked out again."""
        lit = replace(self, rendering=rendering)
        kept = {name: value for name, value in self.__dict__.items() if name in ("values", "behind", "shading")}
        lit.__dict__.update(kept)
        return lit

    def over_ground(self, rendering: ReferenceRendering) -> ReferenceRendering:
        """A rendering of any size over the query's ground in place of the background of the reference views."""
        if self.plain:
            return self.cut_off(rendering)
        shape = rendering.alpha.shape
        ground = self._grounds.get(shape)
        if ground is None:
            ground = self.behind
            if ground.shape[:2] != shape:
                ground = cv2.resize(ground, shape[::-1], interpolation=cv2.INTER_AREA)
            self._grounds[shape] = ground
        return self.cut_off(on_ground(rendering, ground, self.background))

    def cut_off(self, rendering: ReferenceRendering) -> ReferenceRendering:
        """A rendering as bright as the query's camera can show it: an overexposed white ground has less in `image`."""
        return self.light.cut_off(rendering)


@dataclass(frozen=True, eq=False)
class PreparedQuery:
    """A validated RGB image [H, W, 3], the camera that took it (with distortion), and what is known of its scene.

    background: of the reference views. empty: views of the same camera without a part. region: where to look for the
    part, px of the undistorted image.
    """

    image: Image
    camera: Camera
    background: Background
    empty: tuple[Image, ...] = ()
    region: Rect | None = None
    whole: PreparedQuery | None = None  # the one that this one was shrunk from
    _lit: list[LitQuery] = field(default_factory=list, repr=False)  # the last one asked for
    _shrunk: dict[tuple[int, int], PreparedQuery] = field(default_factory=dict, repr=False)  # by width and height

    def of_size(self, camera: Camera) -> PreparedQuery:
        """The query at the size of a camera: shrunk by area, with all that is known of it; itself at its own size."""
        size = camera.width, camera.height
        if size == (self.camera.width, self.camera.height):
            return self
        if size not in self._shrunk:
            across, down = size[0] / self.camera.width, size[1] / self.camera.height
            region = self.region
            if region is not None:
                x0, y0, x1, y1 = region
                region = Rect(int(x0 * across), int(y0 * down), math.ceil(x1 * across), math.ceil(y1 * down))
            self._shrunk[size] = PreparedQuery(
                _resized(self.image, size), self.camera.resized(*size), self.background,
                tuple(_resized(view, size) for view in self.empty), region, self.whole or self,
            )  # fmt: skip
        return self._shrunk[size]

    def shrunk(self, factor: float) -> PreparedQuery:
        """The query shrunk by up to this factor, in steps."""
        if factor < 2 ** (1 / SHRINK_STEPS):
            return self
        scale = 2 ** (-math.floor(SHRINK_STEPS * math.log2(factor)) / SHRINK_STEPS)
        return self.of_size(
            self.camera.resized(max(round(scale * self.camera.width), 1), max(round(scale * self.camera.height), 1))
        )

    @cached_property
    def overview(self) -> PreparedQuery:
        """The query with at most about OVERVIEW_PIXELS."""
        return self.shrunk(math.sqrt(self.camera.width * self.camera.height / OVERVIEW_PIXELS))

    @cached_property
    def undistorted(self) -> Image:
        """The image as `pinhole` would have taken it."""
        return undistort_image(self.image, self.camera)

    @cached_property
    def pinhole(self) -> Camera:
        """The camera without distortion."""
        return self.camera.pinhole()

    @cached_property
    def contrast(self) -> float:
        """Standard deviation of all values of the image, grey levels."""
        mean, deviation = cv2.meanStdDev(self.image)
        return math.sqrt(max(float(np.mean(mean**2 + deviation**2)) - float(np.mean(mean)) ** 2, 0.0))

    @cached_property
    def part_mask(self) -> Mask | None:
        """Where [H, W] the undistorted image differs from the plain background, in the region; None without one."""
        mask = part_mask(self.undistorted, self.background)
        if mask is not None and self.region is not None:
            inside = np.zeros_like(mask)
            inside[self.region.slices] = mask[self.region.slices]
            mask = inside
        return mask

    @cached_property
    def part_box(self) -> tuple[float, Rect | None]:
        """The share of the image that `part_mask` covers, and its rectangle; None where it is empty or not known."""
        mask = self.part_mask
        return (0.0, None) if mask is None else (np.count_nonzero(mask) / mask.size, mask_box(mask))

    @cached_property
    def empty_cell(self) -> tuple[Image, ...]:
        """The views without a part, undistorted."""
        return tuple(undistort_image(view, self.camera) for view in self.empty)

    def lit_by(self, rendering: ReferenceRendering) -> LitQuery:
        """Light and ground of the query by a rendering of any size; for the same rendering they are kept."""
        if self._lit and self._lit[0].rendering is rendering:
            return self._lit[0]
        if self._lit and self._lit[0].rendering.rgb is rendering.rgb:
            self._lit[0] = self._lit[0].with_photographs(rendering)
            return self._lit[0]
        self._lit[:] = [self._lit_within(1.0, rendering)]
        return self._lit[0]

    def lit_while_searching(self, rendering: ReferenceRendering) -> LitQuery:
        """The same at a pose that is yet to be found: there a light somewhat beyond the limits is undone as well."""
        lit = self.lit_by(rendering)
        if lit.light.known:
            return lit
        wider = self._lit_within(WHILE_SEARCHING, rendering)
        return wider if wider.light.known else lit

    def _lit_within(self, allowance: float, rendering: ReferenceRendering) -> LitQuery:
        image = self.undistorted
        size = (rendering.camera.width, rendering.camera.height)
        shrunk = image
        if size != (image.shape[1], image.shape[0]):
            shrunk = _resized(image, size)
        light = fit_light(shrunk, rendering, allowance)
        mask = background_mask(light.undo(shrunk), self.background.darkened(light.brightest))
        plain = is_plain_background(mask, rendering)
        return LitQuery(light.undo(image), light, plain, mask, rendering, self.background, self.empty_cell)


def _resized(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
