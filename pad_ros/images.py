"""Images coming in: decode, validate, resize. The one place that checks pixels.

An image is uint8 [H, W, 3] RGB, C-contiguous.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .errors import ImageError

Image = NDArray[np.uint8]  # [H, W, 3] RGB

MIN_SIDE = 32
MAX_PIXELS = 64_000_000
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def validate(image: object, where: str = "image") -> Image:
    """`image` as a C-contiguous uint8 [H, W, 3] array, or an ImageError that says what is wrong."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{where}: not an array but {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"{where}: expected uint8 [H, W, 3] RGB, got {image.dtype} {list(image.shape)}")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE or height * width > MAX_PIXELS:
        raise ImageError(f"{where}: {width}x{height} pixels is outside {MIN_SIDE} px .. {MAX_PIXELS // 10**6} Mpx")
    return np.ascontiguousarray(image)


def decode(data: bytes, where: str = "image") -> tuple[Image, NDArray[np.uint8] | None]:
    """RGB image [H, W, 3] and alpha [H, W] (None if it has none) from PNG, JPEG, ... bytes.

    Grey images become RGB, 16-bit ones are scaled to 8; colours behind alpha are put on white.
    Raises ImageError for anything that is not a whole image.
    """
    if not data:
        raise ImageError(f"{where}: empty file")
    if _truncated(data):
        raise ImageError(f"{where}: truncated file ({len(data)} bytes)")
    try:
        raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        raw = None
    if raw is None:
        raise ImageError(f"{where}: cannot be decoded as an image (damaged, or an unknown format)")
    if raw.dtype == np.uint16:
        raw = (raw >> 8).astype(np.uint8)
    if raw.dtype != np.uint8:
        raise ImageError(f"{where}: pixel type {raw.dtype} is not supported (8 or 16 bit integers are)")
    alpha = None
    if raw.ndim == 2:
        rgb = cv2.cvtColor(raw, cv2.COLOR_GRAY2RGB)
    elif raw.shape[2] == 4:
        alpha = np.ascontiguousarray(raw[..., 3])
        a = alpha[..., None].astype(np.float32) / 255.0
        rgb = (cv2.cvtColor(raw, cv2.COLOR_BGRA2RGB) * a + 255.0 * (1 - a) + 0.5).astype(np.uint8)
    else:
        rgb = cv2.cvtColor(raw, cv2.COLOR_BGR2RGB)
    return validate(rgb, where), alpha


def load(path: Path) -> Image:
    """The RGB image in a file; ImageError if it is missing or damaged."""
    return load_with_alpha(path)[0]


def load_with_alpha(path: Path) -> tuple[Image, NDArray[np.uint8] | None]:
    """RGB image and alpha channel (None if the file has none)."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    return decode(data, str(path))


def save(path: Path, image: Image) -> None:
    """Write an RGB image; the suffix gives the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise ImageError(f"{path}: cannot be written")


def _truncated(data: bytes) -> bool:
    # OpenCV decodes the readable part of a cut-off JPEG or PNG and only prints a warning.
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-16:]
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-64:]
    return False
