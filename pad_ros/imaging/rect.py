"""Rectangles of whole pixels."""

from __future__ import annotations

from typing import NamedTuple


class Rect(NamedTuple):
    """Pixels x0 <= x < x1, y0 <= y < y1 of an image: the ends are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to cut the rectangle out of an array [H, W, ...]."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def xywh(self) -> tuple[int, int, int, int]:
        """(x, y, width, height), as results and OpenCV have it."""
        return self.x0, self.y0, self.width, self.height

    @staticmethod
    def of_image(shape: tuple[int, ...]) -> Rect:
        """The whole image of this array shape [H, W, ...]."""
        return Rect(0, 0, shape[1], shape[0])

    def grown(self, margin: int) -> Rect:
        """With `margin` px more on every side; may reach beyond the image."""
        return Rect(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def clipped(self, shape: tuple[int, ...]) -> Rect:
        """What lies inside an image of this array shape [H, W, ...]; empty where nothing does."""
        height, width = shape[:2]
        x0, y0 = min(max(self.x0, 0), width), min(max(self.y0, 0), height)
        return Rect(x0, y0, min(max(self.x1, x0), width), min(max(self.y1, y0), height))
