"""Images coming in: decode and validate. The one place that checks pixels.

An image is uint8 [H, W, 3] RGB, C-contiguous.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from ..errors import ImageError, InputError
from .headers import JPEG, image_size

Image = NDArray[np.uint8]  # [H, W, 3] RGB

MIN_SIDE = 32
MAX_PIXELS = 64_000_000
MAX_FILE_BYTES = 8 * MAX_PIXELS
BEHIND_ALPHA = (255.0, 255.0, 255.0)  # what is transparent is put on this
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

# OpenCV's remarks on damaged files would come on top of the one line that the user gets.
_opencv: Any = cv2
(_opencv if hasattr(cv2, "setLogLevel") else _opencv.utils.logging).setLogLevel(0)  # OpenCV 4, or 5


def validate(image: object, where: str = "image") -> Image:
    """`image` as a C-contiguous uint8 [H, W, 3] array, or an ImageError that says what is wrong."""
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{where}: not an array but {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"{where}: expected uint8 [H, W, 3] RGB, got {image.dtype} {list(image.shape)}")
    _check_size(image.shape[1], image.shape[0], where)
    return np.ascontiguousarray(image)


def decode(data: bytes, where: str = "image", max_pixels: int = MAX_PIXELS) -> tuple[Image, NDArray[np.uint8] | None]:
    """RGB image [H, W, 3] and alpha [H, W] (None if it has none) from PNG, JPEG, BMP, TIFF or WebP bytes.

    Grey images become RGB, 16-bit ones are scaled to 8; colours behind alpha are put on BEHIND_ALPHA. Pixels
    stay as they are stored: an orientation noted in EXIF is ignored, since intrinsics refer to the sensor.
    Raises ImageError for anything that is not a whole image of at most `max_pixels`, before it is decoded. A
    JPEG is refused where libjpeg warns. It has no checksum: damage that still reads as pixels goes unnoticed.
    """
    if not data:
        raise ImageError(f"{where}: empty file")
    try:
        width, height = image_size(data)
        _check_size(width, height, where, max_pixels)
        if data.startswith(JPEG):
            return validate(simplejpeg.decode_jpeg(data, "RGB", strict=True), where), None
    except ValueError as error:
        raise ImageError(f"{where}: {error}; {len(data)} bytes") from error
    try:
        raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        raw = None
    if raw is None or raw.shape[:2] != (height, width):
        raise ImageError(f"{where}: cannot be decoded as an image (damaged, or an unusual kind of its format)")
    if raw.dtype == np.uint16:
        raw = (raw >> 8).astype(np.uint8)
    if raw.dtype != np.uint8:
        raise ImageError(f"{where}: pixel type {raw.dtype} is not supported (8 or 16 bit integers are)")
    if raw.ndim == 2:
        return validate(cv2.cvtColor(raw, cv2.COLOR_GRAY2RGB), where), None
    if raw.shape[2] == 3:
        return validate(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), where), None
    alpha = np.ascontiguousarray(raw[..., 3])
    opacity = alpha[..., None].astype(np.uint16)  # 16 bits are enough, and a quarter of the memory of floats
    blended = cv2.cvtColor(raw, cv2.COLOR_BGRA2RGB) * opacity
    blended += np.array(BEHIND_ALPHA, np.uint16) * (255 - opacity)
    blended = (blended + np.uint16(127)) // np.uint16(255)
    return validate(blended.astype(np.uint8), where), alpha


def find(paths: Sequence[Path]) -> list[Path]:
    """The image files among `paths`, folders expanded; InputError for a path that is not there."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not found:
                raise InputError(f"{path}: no images ({', '.join(SUFFIXES)}) in this folder")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return files


def in_folder(folder: Path) -> list[Path]:
    """The image files right in a folder by name, hidden ones left out."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file())


def by_number(path: Path) -> list[tuple[int, str]]:
    """Sort key under which "2" comes before "10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", str(path))]


def load(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """The RGB image in a file; ImageError if it is missing, damaged, or of more than `max_pixels`."""
    return load_with_alpha(path, max_pixels)[0]


def load_with_alpha(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[Image, NDArray[np.uint8] | None]:
    """RGB image and alpha channel (None if the file has none)."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            raise ImageError(f"{path}: not a file, or larger than {MAX_FILE_BYTES // 10**6} MB")
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise ImageError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    return decode(data, str(path), max_pixels)


def save(path: Path, image: Image) -> None:
    """Write an RGB image; the suffix gives the format. ImageError where that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written = cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except (OSError, cv2.error) as error:
        raise ImageError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or 'format'})") from error
    if not written:
        raise ImageError(f"{path}: cannot be written")


def _check_size(width: int, height: int, where: str, max_pixels: int = MAX_PIXELS) -> None:
    if min(height, width) < MIN_SIDE or height * width > max_pixels:
        raise ImageError(f"{where}: {width}x{height} pixels is outside {MIN_SIDE} px .. {max_pixels / 1e6:.3g} Mpx")
