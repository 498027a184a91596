"""Images coming in: every format and pixel type, and refusal of whatever is not a whole image."""

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad_ros.errors import ImageError
from pad_ros.imaging import images
from pad_ros.imaging.headers import PNG, image_size

WIDTH, HEIGHT = 48, 40
LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".webp")


def picture() -> images.Image:
    coarse = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)


def encode(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """The file of pixels as OpenCV has them (BGR)."""
    parameters = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else []
    return cv2.imencode(suffix, pixels, parameters)[1].tobytes()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def refused(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        images.decode(data, "here")
    message = str(caught.value)
    assert message.startswith("here: ")
    assert "\n" not in message
    return message


# --- what is read ---


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_formats(suffix):
    data = encode(cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR), suffix)
    image, alpha = images.decode(data)
    np.testing.assert_array_equal(image, picture())
    assert alpha is None
    assert image.flags.c_contiguous
    assert image_size(data) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("progressive", [0, 1])
def test_jpeg(progressive):
    bgr = cv2.cvtColor(picture(), cv2.COLOR_RGB2BGR)
    parameters = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    data = cv2.imencode(".jpg", bgr, parameters)[1].tobytes()
    image, _ = images.decode(data)
    assert np.abs(image.astype(int) - picture()).mean() < 5
    assert image_size(data) == (WIDTH, HEIGHT)


def test_jpeg_with_a_clip_behind_it():
    """Phones append previews and videos after the image."""
    data = encode(picture(), ".jpg")
    np.testing.assert_array_equal(images.decode(data + b"clip" * 1000)[0], images.decode(data)[0])


def test_orientation_in_exif_is_ignored():
    """Intrinsics refer to the pixels as they are stored."""
    data = encode(picture(), ".jpg")
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # orientation 6: turn right
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (WIDTH, HEIGHT, 3)
    np.testing.assert_array_equal(images.decode(turned)[0], images.decode(data)[0])


def test_grey():
    grey = picture()[..., 0]
    np.testing.assert_array_equal(images.decode(encode(grey))[0], np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_are_scaled(suffix):
    deep = picture()[..., ::-1].astype(np.uint16) * 257  # 0..255 -> 0..65535
    np.testing.assert_array_equal(images.decode(encode(deep, suffix))[0], picture())
    np.testing.assert_array_equal(images.decode(encode(deep[..., 0], suffix))[0][..., 0], picture()[..., 2])


def test_alpha_puts_colours_on_white():
    bgra = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    bgra[:] = (30, 20, 10, 255)
    bgra[:10, :, 3] = 0
    bgra[10:20, :, 3] = 128
    for suffix in (".png", ".webp"):
        image, alpha = images.decode(encode(bgra, suffix))
        np.testing.assert_array_equal(alpha, bgra[..., 3])
        np.testing.assert_array_equal(image[[0, 10, 30], 0], [[255, 255, 255], [132, 137, 142], [10, 20, 30]])
    image, alpha = images.decode(encode(bgra.astype(np.uint16) * 257))
    np.testing.assert_array_equal(alpha, bgra[..., 3])


def test_grey_with_alpha():
    image, alpha = images.decode(png(WIDTH, HEIGHT, 8, 4, (b"\0" + bytes([100, 51]) * WIDTH) * HEIGHT))
    assert (alpha == 51).all()
    assert (image == round(255 - 155 * 0.2)).all()


def test_two_colours():
    image, _ = images.decode(png(WIDTH, HEIGHT, 1, 0, (b"\0" + b"\xaa" * (WIDTH // 8)) * HEIGHT))
    np.testing.assert_array_equal(image[0, :4, 0], [255, 0, 255, 0])


# --- what is refused ---


def test_no_image():
    assert "empty" in refused(b"")
    for data in (b"x", b"hello, I am text" * 100, b"GIF89a" + bytes(100), b"%PDF-1.7", b"P6 48 40 255 " + bytes(5760)):
        assert "PNG, JPEG" in refused(data)


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".jpg"])
def test_every_truncation(suffix):
    data = encode(picture(), suffix)
    for length in sorted({*range(1, 60), *np.linspace(60, len(data) - 1, 40).astype(int), len(data) - 2}):
        refused(data[:length])


def test_a_changed_byte_in_png():
    data = encode(picture())
    for at in np.linspace(8, len(data) - 1, 60).astype(int):
        refused(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".jpg"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_changed_bytes_are_decoded_or_refused(suffix, data):
    content = bytearray(encode(picture(), suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        end = len(content) if data.draw(st.booleans()) else min(64, len(content))
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    try:
        image, _ = images.decode(bytes(content), "here")
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert image.dtype == np.uint8 and image.shape[2] == 3


@settings(max_examples=100, deadline=None)
@given(
    start=st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF\x20\0\0\0WEBP"]
    ),
    data=st.binary(max_size=200),
)
def test_any_bytes_are_refused(start, data):
    refused(start + data)


def photo_jpeg(progressive: int) -> bytes:
    """A JPEG of 400x300 with structure, as cameras send."""
    noise = np.random.default_rng(3).integers(0, 255, (38, 50, 3), np.uint8)
    smooth = cv2.resize(noise, (400, 300), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[
        1
    ].tobytes()


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_cut_jpeg_is_refused_even_with_an_end(progressive, share):
    data = photo_jpeg(progressive)
    cut = data[: int(share * len(data))]
    assert cv2.imdecode(np.frombuffer(cut + b"\xff\xd9", np.uint8), cv2.IMREAD_COLOR) is not None  # OpenCV fills it in
    for damaged in (cut, cut + b"\xff\xd9"):
        assert "remature end" in refused(damaged)


@pytest.mark.parametrize("progressive", [0, 1])
def test_flipped_bits_of_a_jpeg(progressive):
    """What can be promised: never a crash, always the announced size, and refusal where libjpeg has a remark.

    The format has no checksum: most flips are another valid picture.
    """
    data = photo_jpeg(progressive)
    expected, _ = images.decode(data)
    outcomes = []
    for bit in np.random.default_rng(5).integers(0, 8 * len(data), 200):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        try:
            outcomes.append(images.decode(bytes(flipped))[0].shape == expected.shape)
        except ImageError:
            outcomes.append(None)
    assert outcomes.count(None) >= 40
    assert outcomes.count(False) <= 2  # a flip in the size itself


def test_pixels_are_bounded_by_the_caller(monkeypatch, tmp_path):
    """The default allows 64 Mpx; who knows the camera allows less, and nothing larger is decoded."""
    (tmp_path / "x.png").write_bytes(encode(picture()))
    (tmp_path / "x.jpg").write_bytes(encode(picture(), ".jpg"))
    for name in ("x.png", "x.jpg"):
        assert images.load(tmp_path / name, WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(images.simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    for name in ("x.png", "x.jpg"):
        with pytest.raises(ImageError, match="48x40 pixels is outside 32 px .. 0.00192 Mpx"):
            images.load(tmp_path / name, WIDTH * HEIGHT - 1)


def test_float_pixels():
    assert "float32 is not supported" in refused(encode(picture().astype(np.float32), ".tiff"))


@pytest.mark.parametrize("size", [(31, 40), (40, 31), (1, 1)])
def test_too_small(size):
    assert "outside 32 px" in refused(encode(np.zeros(size[::-1], np.uint8)))


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    """110 KB that would be 900 Mpx."""
    bomb = png(30_000, 30_000, 1, 0, bytes(30_000 * 3751))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    assert len(bomb) < 200_000
    assert "30000x30000 pixels is outside" in refused(bomb)


def test_a_header_that_promises_too_much(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    jpeg = bytearray(encode(picture(), ".jpg"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    assert "65500x65500 pixels" in refused(bytes(jpeg))
    bmp = bytearray(encode(picture(), ".bmp"))
    bmp[18:26] = struct.pack("<ii", 100_000, -100_000)
    assert "100000x100000 pixels" in refused(bytes(bmp))


@pytest.mark.parametrize(
    "image, text",
    [
        (None, "not an array but NoneType"),
        ([[1]], "not an array but list"),
        (np.zeros((40, 40), np.uint8), "got uint8 .40, 40."),
        (np.zeros((40, 40, 4), np.uint8), "got uint8 .40, 40, 4."),
        (np.zeros((40, 40, 3), np.float32), "got float32"),
        (np.zeros((40, 31, 3), np.uint8), "31x40 pixels is outside 32 px"),
        (np.zeros((0, 40, 3), np.uint8), "40x0 pixels"),
        (np.broadcast_to(np.zeros(3, np.uint8), (8001, 8000, 3)), "8000x8001 pixels is outside .* 64 Mpx"),
    ],
)
def test_validate_refuses(image, text):
    with pytest.raises(ImageError, match=text):
        images.validate(image)


def test_validate_makes_contiguous():
    image = images.validate(picture()[:, ::-1])
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, picture()[:, ::-1])


# --- files ---


@pytest.mark.parametrize("suffix", LOSSLESS[:4])
def test_save_and_load(tmp_path, suffix):
    path = tmp_path / "new" / f"image{suffix}"
    images.save(path, picture())
    np.testing.assert_array_equal(images.load(path), picture())


def test_load_refuses(tmp_path):
    for path, text in ((tmp_path / "none.png", "cannot be read .No such file"), (tmp_path, "not a file"),
                       (tmp_path / "a\0b.png", "cannot be read .embedded null")):  # fmt: skip
        with pytest.raises(ImageError, match=text):
            images.load(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a file"):
        images.load(tmp_path / "pipe.png")


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 100)
    images.save(tmp_path / "x.png", picture())
    with pytest.raises(ImageError, match="not a file, or larger than"):
        images.load(tmp_path / "x.png")


def test_save_refuses(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "x.unknown", tmp_path / "file" / "x.png"):
        with pytest.raises(ImageError, match="cannot be written"):
            images.save(path, picture())
