"""Sizes and wholeness of encoded images, without decoding them."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pad_ros.errors import ImageError
from pad_ros.imaging import images
from pad_ros.imaging.headers import image_size

HEIGHT, WIDTH = 40, 56
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def encode(suffix: str, *options: int, image: np.ndarray = PICTURE) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


JPEG, BMP = encode(".jpg"), encode(".bmp")
FILES = {
    "png": encode(".png"),
    "jpg": JPEG,
    "progressive jpg": encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "bmp": BMP,
    "tif": encode(".tif"),
    "webp": encode(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    "lossless webp": encode(".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "webp with alpha": encode(".webp", cv2.IMWRITE_WEBP_QUALITY, 80, image=np.dstack([PICTURE, PICTURE[..., 0]])),
}


def tiff_of(width: int, height: int, order: str = "<", short: bool = False) -> bytes:
    """The directory of a TIFF without its pixels."""
    kind, code, pad = (3, "H", b"\0\0") if short else (4, "I", b"")
    table = b"".join(
        struct.pack(f"{order}HHI{code}", tag, kind, 1, value) + pad for tag, value in ((256, width), (257, height))
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}IH", 8, 2) + table + b"\0\0\0\0"


@pytest.mark.parametrize("kind", FILES)
def test_size(kind):
    assert image_size(FILES[kind]) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("short", [True, False])
def test_size_of_tiff(order, short):
    assert image_size(tiff_of(640, 481, order, short)) == (640, 481)


def test_size_of_old_and_upside_down_bmp():
    assert image_size(b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 70, 50, 1, 24)) == (70, 50)
    assert image_size(BMP[:22] + struct.pack("<i", -HEIGHT) + BMP[26:]) == (WIDTH, HEIGHT)


def test_the_end_of_a_preview_is_not_the_end_of_the_image():
    preview = b"JFXX\0" + JPEG
    whole = JPEG[:2] + b"\xff\xe0" + struct.pack(">H", len(preview) + 2) + preview + JPEG[2:]
    assert image_size(whole) == (WIDTH, HEIGHT)
    with pytest.raises(ImageError, match="[Pp]remature end"):
        images.decode(whole[:-40])


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind not in ("bmp", "tif")])
@given(share=st.floats(0, 1, exclude_max=True))
def test_every_truncation_is_noticed(kind, share):
    with pytest.raises(ImageError):
        images.decode(FILES[kind][: int(share * len(FILES[kind]))])
    if "jpg" not in kind:  # the decoder itself finds where a JPEG ends
        with pytest.raises(ValueError):
            image_size(FILES[kind][: int(share * len(FILES[kind]))])


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBP"]),
    st.binary(max_size=200),
)
@example(b"\xff\xd8\xff", b"\xff" * 100)
@example(b"\xff\xd8\xff", b"\xe0\0\0" * 30)
@example(b"BM", struct.pack("<12xIii", 0, -1, 5))
def test_any_bytes_have_a_size_or_none(start, rest):
    try:
        width, height = image_size(start + rest)
    except ValueError:
        return
    assert width >= 0 and height >= 0


def huge_jpeg() -> bytes:
    at = JPEG.index(b"\xff\xc0")
    return JPEG[: at + 5] + struct.pack(">HH", 65000, 65000) + JPEG[at + 9 :]


HUGE = {
    "jpg": huge_jpeg(),
    "bmp": BMP[:18] + struct.pack("<ii", 40000, -40000) + BMP[26:],
    "tif": tiff_of(60000, 60000),
    "webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2,
}


@pytest.mark.parametrize("kind", HUGE)
def test_huge_sizes_are_refused_before_decoding(kind, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(ImageError, match="Mpx"):
        images.decode(HUGE[kind])


@pytest.mark.parametrize("suffix", [".ppm", ".jp2", ".hdr", ".gif"])
def test_other_formats_are_refused(suffix):
    image = PICTURE.astype(np.float32) if suffix == ".hdr" else PICTURE
    # OpenCV 4 writes no GIF: one of one pixel.
    gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    with pytest.raises(ValueError, match="PNG, JPEG"):
        image_size(gif if suffix == ".gif" else encode(suffix, image=image))


def test_heic_is_refused_in_words():
    with pytest.raises(ImageError, match="IMG_1.HEIC: HEIC cannot be read; save the photograph as JPEG or PNG"):
        images.decode(b"\0\0\0\x18ftypheic" + bytes(100), "IMG_1.HEIC")
