"""What an encoded image says about itself, read before anything decodes it.

OpenCV decodes whatever is readable of a damaged file, allocates whatever a header asks for, and knows
formats that nobody sends on purpose. So the container is checked here first. (Pillow would save a third of these
lines, but does not check the end of a PNG, warns on stderr, and refuses TIFFs that OpenCV reads.)
"""

from __future__ import annotations

import struct
import zlib

import simplejpeg

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc")
TIFF_WIDTH, TIFF_HEIGHT = 256, 257


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels of PNG, JPEG, BMP, TIFF or WebP bytes; ValueError with the reason where the
    header is damaged or of another format. PNG and WebP must be whole, and PNG checksums right."""
    try:
        if data.startswith(PNG):
            return _png(data)
        if data.startswith(JPEG):
            height, width, *_ = simplejpeg.decode_jpeg_header(data)
            return width, height
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith((b"II*\0", b"MM\0*")):
            return _tiff(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError) as error:
        raise ValueError("truncated file") from error
    if data[4:12] in HEIC:
        raise ValueError("HEIC cannot be read; save the photograph as JPEG or PNG")
    raise ValueError("cannot be decoded as an image (damaged, or not PNG, JPEG, BMP, TIFF or WebP)")


def _png(data: bytes) -> tuple[int, int]:
    view, at, kind = memoryview(data), len(PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(view[at + 4 : end]) != checksum:
            raise ValueError("damaged file (PNG checksum)")
        at = end + 4
    if data[12:16] != b"IHDR":
        raise ValueError("damaged file (PNG without header)")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    header, width, height = struct.unpack_from("<Iii", data, 14)
    if header == 12:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
    if width < 0:
        raise ValueError("damaged file (BMP of negative width)")
    return width, abs(height)  # negative: its rows run from top to bottom


def _tiff(data: bytes) -> tuple[int, int]:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, directory)
    found = {}
    for i in range(count):
        tag, kind = struct.unpack_from(f"{order}HH", data, directory + 2 + 12 * i)
        if tag in (TIFF_WIDTH, TIFF_HEIGHT):
            (found[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, directory + 10 + 12 * i)
    if len(found) < 2:
        raise ValueError("damaged file (TIFF without size)")
    return found[TIFF_WIDTH], found[TIFF_HEIGHT]


def _webp(data: bytes) -> tuple[int, int]:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < length + 8:
        raise ValueError("truncated file")
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
