"""sensor_msgs/Image to RGB without ROS; test/nodes/test_convert.py has the cases with real messages."""

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pad_ros.errors import ImageError, InputError, PadError
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, distort_map, undistort_image
from pad_ros.io.encodings import ENCODINGS, camera_from_info, image_to_rgb

WIDTH, HEIGHT = 48, 40


def message(pixels: np.ndarray, encoding: str, **changes: Any) -> SimpleNamespace:
    values = {"height": pixels.shape[0], "width": pixels.shape[1], "encoding": encoding, "is_bigendian": 0,
              "step": pixels[0].nbytes, "data": np.ascontiguousarray(pixels).view(np.uint8).ravel()}  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def info(**changes: Any) -> SimpleNamespace:
    values = {"height": HEIGHT, "width": WIDTH, "distortion_model": "plumb_bob", "d": np.zeros(5),
              "k": np.array([60.0, 0, 23.5, 0, 61, 19.5, 0, 0, 1]), "binning_x": 0, "binning_y": 0,
              "roi": region()}  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def region(x_offset: int = 0, y_offset: int = 0, width: int = 0, height: int = 0) -> SimpleNamespace:
    return SimpleNamespace(x_offset=x_offset, y_offset=y_offset, width=width, height=height)


COLOURED = [encoding for encoding, (_, channels, _) in ENCODINGS.items() if channels != 2]
PAIRED = [encoding for encoding in ENCODINGS if encoding not in COLOURED]


@pytest.mark.parametrize("encoding", PAIRED)
def test_yuv422(encoding):
    """A grey wedge on the left, red on the right: luma per pixel, chroma per pair (BT.601, 16 to 235)."""
    luma = np.full((HEIGHT, WIDTH), 126, np.uint8)
    chroma = np.full((HEIGHT, WIDTH), 128, np.uint8)
    luma[:, 24:], chroma[:, 24::2], chroma[:, 25::2] = 81, 90, 240  # red
    order = (chroma, luma) if encoding in ("yuv422", "uyvy") else (luma, chroma)
    rgb = image_to_rgb(message(np.stack(order, axis=-1), encoding))
    assert np.abs(rgb[:, :24].astype(int) - 128).max() <= 1
    assert np.abs(rgb[:, 24:].astype(int) - (255, 0, 0)).max() <= 2
    with pytest.raises(ImageError, match="in pairs"):
        image_to_rgb(message(np.zeros((HEIGHT, WIDTH - 1, 2), np.uint8), encoding))


@pytest.mark.parametrize("encoding", COLOURED)
def test_a_uniform_image_keeps_its_colour(encoding):
    sample, channels, _ = ENCODINGS[encoding]
    grey = np.full((HEIGHT, WIDTH, channels), 99 if sample == "u1" else 99 * 256 + 7, sample)
    rgb = image_to_rgb(message(grey, encoding))
    assert rgb.dtype == np.uint8
    assert rgb.flags.c_contiguous
    np.testing.assert_array_equal(rgb, np.full((HEIGHT, WIDTH, 3), 99, np.uint8))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nothing_refers_to_the_message(encoding):
    sample, channels, _ = ENCODINGS[encoding]
    msg = message(np.zeros((HEIGHT, WIDTH, channels), sample), encoding)
    rgb = image_to_rgb(msg)
    before = rgb.copy()
    msg.data[:] = 255
    np.testing.assert_array_equal(rgb, before)


def test_rows_may_be_padded():
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    padded = np.concatenate([pixels.reshape(HEIGHT, -1), np.zeros((HEIGHT, 16), np.uint8)], axis=1)
    np.testing.assert_array_equal(
        image_to_rgb(message(pixels, "rgb8", step=padded.shape[1], data=padded.ravel())), pixels
    )


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"encoding": ""}, "encoding '' is not supported; use one of rgb8"),
        ({"encoding": "32FC1"}, "'32FC1' is not supported"),
        ({"width": 0}, "without pixels"),
        ({"height": 0}, "without pixels"),
        ({"step": 0}, "step 0 is less than one row"),
        ({"step": 3 * WIDTH - 1}, "is less than one row"),
        ({"height": HEIGHT + 1}, "truncated"),
        ({"data": np.zeros(0, np.uint8)}, "truncated"),
        ({"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1}, "is less than one row"),
        ({"height": 2**32 - 1, "step": 2**32 - 1}, "truncated"),
        ({"width": 8, "height": 8}, "8x8 pixels is outside 32 px"),
    ],
)
def test_damaged_messages(changes, text):
    with pytest.raises(ImageError, match=text):
        image_to_rgb(message(np.zeros((HEIGHT, WIDTH, 3), np.uint8), **{"encoding": "rgb8", **changes}))


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (64, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize("encoding", COLOURED)
def test_tiny_images_are_refused(encoding, size):
    sample, channels, _ = ENCODINGS[encoding]
    with pytest.raises(ImageError, match="is outside 32 px"):
        image_to_rgb(message(np.zeros((*size, channels), sample), encoding))


def test_too_many_pixels(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(ImageError, match="is more than"):
        image_to_rgb(message(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "rgb8"))


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(0, 50), width=st.integers(0, 50), step=st.integers(0, 200),
    encoding=st.sampled_from([*ENCODINGS, "nv12", ""]), is_bigendian=st.integers(0, 255), size=st.integers(0, 20_000),
)  # fmt: skip
def test_any_message_is_an_image_or_refused(height, width, step, encoding, is_bigendian, size):
    msg = SimpleNamespace(height=height, width=width, step=step, encoding=encoding, is_bigendian=is_bigendian,
                          data=np.zeros(size, np.uint8))  # fmt: skip
    try:
        rgb = image_to_rgb(msg)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert rgb.shape == (height, width, 3)


def test_camera_info():
    assert camera_from_info(info()) == Camera(WIDTH, HEIGHT, 60.0, 61.0, 24.0, 20.0)
    distorted = camera_from_info(info(d=[0.1, 0.2, 0.3, 0.4, 0.0]))
    assert distorted.distortion == (0.1, 0.2, 0.3, 0.4)
    assert camera_from_info(info(d=[])).distortion == (0.0, 0.0, 0.0, 0.0)


def test_region_of_interest_and_binning_act_on_the_image():
    """The camera of a window, binned 2x2, projects to where the pixels of that window went."""
    camera = camera_from_info(info(roi=region(8, 4, 32, 32), binning_x=2, binning_y=2))
    point = np.array([[0.1, -0.05, 1.0]])
    full = Camera(WIDTH, HEIGHT, 60.0, 61.0, 24.0, 20.0).project(point)
    assert (camera.width, camera.height) == (16, 16)
    np.testing.assert_allclose(camera.project(point), (full - (8, 4)) / 2)


def test_our_projection_is_that_of_ros():
    """OpenCV with the K and D of camera_info puts pixel centres at integers, half a pixel from ours."""
    msg = info(d=[-0.2, 0.05, 0.001, -0.002, 0.0])
    points = np.array([[0.1, -0.05, 1.0], [-0.2, 0.2, 1.3]])
    theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), msg.k.reshape(3, 3), np.array(msg.d))
    np.testing.assert_allclose(camera_from_info(msg).project(points), theirs[:, 0] + 0.5, atol=1e-9)


@pytest.mark.parametrize(
    "model, d",
    [
        ("plumb_bob", [-0.2, 0.05, 0.001, -0.002, 0.03]),
        ("rational_polynomial", [0.4, -0.3, 0.001, -0.002, 0.1, 0.6, -0.2, 0.05]),
    ],
)
def test_all_radial_coefficients_count(model, d):
    msg = info(d=d, distortion_model=model)
    points = np.random.default_rng(0).uniform((-0.3, -0.3, 1.0), (0.3, 0.3, 2.0), (20, 3))
    theirs, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), msg.k.reshape(3, 3), np.array(msg.d))
    camera = camera_from_info(msg)
    np.testing.assert_allclose(camera.project(points), theirs[:, 0] + 0.5, atol=1e-9)
    np.testing.assert_allclose(camera.rays(camera.project(points)), points / points[:, 2:], atol=1e-6)
    smooth = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), (0, 0), 4)
    again = distort_map(undistort_image(smooth, camera)[..., 0].astype(np.float32), camera)
    assert np.abs(again - smooth[..., 0])[6:-6, 6:-6].max() < 3


def test_uncalibrated_camera_info():
    assert camera_from_info(info(k=np.zeros(9))) is None
    assert camera_from_info(info(width=0)) is None


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"distortion_model": "equidistant", "d": [0.1, 0, 0, 0]}, "distortion 'equidistant'"),
        ({"distortion_model": "thin_prism", "d": [0.1] * 12}, "distortion 'thin_prism'"),
        ({"distortion_model": "rational_polynomial", "d": [0.1] * 12}, "is not supported"),
        ({"d": [np.nan, 0, 0, 0, 0]}, "impossible camera"),
        ({"k": np.array([-60.0, 0, 23.5, 0, 61, 19.5, 0, 0, 1])}, "impossible camera"),
        ({"k": np.array([np.nan, 0, 23.5, 0, 61, 19.5, 0, 0, 1])}, "impossible camera"),
        ({"k": np.array([60.0, 0, np.inf, 0, 61, 19.5, 0, 0, 1])}, "impossible camera"),
        ({"binning_x": 100}, "impossible camera"),
    ],
)
def test_unusable_camera_info(changes, text):
    with pytest.raises(InputError, match=text):
        camera_from_info(info(**changes))


@settings(max_examples=100, deadline=None)
@given(
    k=st.lists(st.floats(), min_size=9, max_size=9), d=st.lists(st.floats(), max_size=8), binning=st.integers(0, 255)
)
def test_any_camera_info_is_a_camera_or_refused(k, d, binning):
    try:
        camera = camera_from_info(info(k=np.array(k), d=np.array(d), binning_x=binning))
    except PadError as error:
        assert "\n" not in str(error)
    else:
        assert camera is None or np.isfinite(camera.K).all()
