"""What is known of the place where parts are shown to a camera that does not move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, SceneError
from . import images
from .images import Image
from .rect import Rect

MIN_VIEW_SHARE = 0.98


@dataclass(frozen=True, eq=False)
class Scene:
    """empty: images [H, W, 3] of the place without a part; roi: px of the undistorted image, where to look for one.

    min_view_share: of the part's surface that should be in view, the least that must be compared for a PASS.
    """

    empty: tuple[Image, ...] = ()
    roi: Rect | None = None
    min_view_share: float = MIN_VIEW_SHARE

    @staticmethod
    def read(background: Sequence[Path], roi: Rect | None = None, min_view_share: float = MIN_VIEW_SHARE) -> Scene:
        """background: image files, or folders of them; InputError where one cannot be read."""
        return Scene(tuple(images.load(file) for file in images.find(background)), roi, min_view_share)

    def check(self, image: Image) -> None:
        """SceneError where the empty scene was not taken by the camera of `image`."""
        for view in self.empty:
            if view.shape != image.shape:
                raise SceneError(
                    f"the empty cell was taken with {view.shape[1]}x{view.shape[0]} pixels, the image has "
                    f"{image.shape[1]}x{image.shape[0]}; give backgrounds from the same camera"
                )


def parse_region(text: str) -> Rect:
    """The region "X0,Y0,X1,Y1"; InputError where it is none."""
    try:
        x0, y0, x1, y1 = (int(number) for number in text.split(","))
    except ValueError:
        x0 = y0 = x1 = y1 = 0
    if not (0 <= x0 < x1 and 0 <= y0 < y1):
        raise InputError(f"{text!r} is no region: expected X0,Y0,X1,Y1 in pixels, X0 < X1 and Y0 < Y1")
    return Rect(x0, y0, x1, y1)
