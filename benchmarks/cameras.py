"""Made-up cameras of several megapixels, for the benchmarks of large images."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import cv2
import numpy as np

from pad_ros.imaging.background import Background, mask_box, part_mask
from pad_ros.imaging.geometry import Camera
from pad_ros.imaging.images import Image

PART_WIDTH = 600  # px
RIM = 0.1  # of the image's height: ground that goes on beyond it
CAMERAS = {"5 MP Bayer": (2592, 1944), "12 MP Bayer": (4000, 3000)}


def part_width(plain: Sequence[Image], background: Background) -> float:
    """px, median over images of the part before its plain background."""
    boxes = [mask_box(mask) for image in plain if (mask := part_mask(image, background)) is not None]
    return float(np.median([box.width for box in boxes if box is not None]))


def enlarged(image: Image, factor: float) -> Image:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)


def in_frame(image: Image, camera: Camera, size: tuple[int, int], factor: float) -> tuple[Image, Camera]:
    """The image enlarged in the middle of a frame of `size`, and the camera of the frame."""
    picture = enlarged(image, factor)[: size[1], : size[0]]
    height, width = picture.shape[:2]
    rim = picture[: round(RIM * height)]
    frame = np.tile(rim, (-(-size[1] // len(rim)), -(-size[0] // width), 1))[: size[1], : size[0]].copy()
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    frame[y : y + height, x : x + width] = picture
    seen = Camera(*size, camera.fx * factor, camera.fy * factor, camera.cx * factor + x, camera.cy * factor + y)
    return frame, seen


def message(image: Image, encoding: str = "rgb8") -> SimpleNamespace:
    """What a camera sends."""
    height, width = image.shape[:2]
    pixels = image
    if encoding == "bayer_rggb8":
        pixels = image[..., 1].copy()
        pixels[::2, ::2], pixels[1::2, 1::2] = image[::2, ::2, 0], image[1::2, 1::2, 2]
    return SimpleNamespace(
        encoding=encoding, height=height, width=width, step=pixels.nbytes // height, is_bigendian=0,
        data=pixels.tobytes(),
    )  # fmt: skip
