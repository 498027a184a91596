"""The image and camera_info converter: encodings, damaged messages, conventions."""

import array
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs", reason="ROS messages are not installed (run make setup)")

from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from pad_ros.errors import ImageError, InputError  # noqa: E402
from pad_ros.imaging.geometry import Camera  # noqa: E402
from pad_ros.nodes.support import convert  # noqa: E402

HEADER = Header(frame_id="camera")


def picture(height: int = 40, width: int = 50) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 5, 255 - 2 * x], axis=-1).astype(np.uint8)


def message(pixels: np.ndarray, encoding: str, big: bool = False, padding: int = 0) -> Image:
    if big:
        pixels = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = [row.tobytes() + b"\xee" * padding for row in pixels]
    data = array.array("B", b"".join(rows))
    return Image(
        height=len(rows), width=pixels.shape[1], encoding=encoding, is_bigendian=int(big), step=len(rows[0]), data=data
    )


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize(
    "encoding, order",
    [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("8UC3", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0])],
)
def test_colour_encodings(encoding, order, padding):
    rgb = picture()
    np.testing.assert_array_equal(convert.image_to_rgb(message(rgb[..., order], encoding, padding=padding)), rgb)


def test_grey_and_16_bit():
    grey = picture()[..., 0]
    expected = np.stack([grey] * 3, axis=-1)
    for encoding in ("mono8", "8UC1"):
        np.testing.assert_array_equal(convert.image_to_rgb(message(grey, encoding)), expected)
    deep = grey.astype(np.uint16) * 256 + 99
    for big in (False, True):
        np.testing.assert_array_equal(convert.image_to_rgb(message(deep, "mono16", big=big)), expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer(pattern):
    colour = np.array([200, 100, 30], np.uint8)
    mosaic = np.empty((40, 50), np.uint8)
    for i, letter in enumerate(pattern):
        mosaic[i // 2 :: 2, i % 2 :: 2] = colour["rgb".index(letter)]
    rgb = convert.image_to_rgb(message(mosaic, f"bayer_{pattern}8"))
    np.testing.assert_array_equal(rgb[5:-5, 5:-5], np.broadcast_to(colour, (30, 40, 3)))


def damaged() -> dict[str, Image]:
    good = message(picture(), "rgb8")

    def changed(**values) -> Image:
        fields = {name: getattr(good, name) for name in ("height", "width", "encoding", "step", "data")}
        return Image(**{**fields, **values})

    return {
        "empty": Image(),
        "not supported": changed(encoding="nv12"),
        "truncated": changed(data=good.data[:-1]),
        "step": changed(step=10),
        "truncated,": changed(height=10_000),
        "Mpx": changed(height=1, width=1),
    }


@pytest.mark.parametrize("name", damaged())
def test_damaged_messages_are_refused(name):
    with pytest.raises(ImageError, match="not supported" if name == "empty" else name.rstrip(",")):
        convert.image_to_rgb(damaged()[name])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=64),
    st.sampled_from(["rgb8", "mono16", "bayer_rggb8", "32FC1", "nonsense", ""]), st.integers(0, 255),
)  # fmt: skip
def test_no_message_does_more_than_raise_image_error(height, width, step, data, encoding, big):
    msg = Image(height=height, width=width, step=step, encoding=encoding, is_bigendian=big, data=array.array("B", data))
    for reader in (convert.image_to_rgb, convert.image_to_floats):
        try:
            reader(msg)
        except ImageError as error:
            assert str(error)


def test_a_converted_image_does_not_share_memory_with_the_message():
    msg = message(picture(), "rgb8")
    rgb = convert.image_to_rgb(msg)
    msg.data[0] = 99
    assert rgb[0, 0, 0] == 0


def test_compressed():
    data = cv2.imencode(".png", picture()[..., ::-1])[1].tobytes()
    rgb = convert.compressed_to_rgb(CompressedImage(format="png", data=array.array("B", data)))
    np.testing.assert_array_equal(rgb, picture())
    with pytest.raises(ImageError):
        convert.compressed_to_rgb(CompressedImage(format="png", data=array.array("B", data[:50])))
    with pytest.raises(ImageError, match="compressed image message: .* pixels is outside"):
        convert.compressed_to_rgb(CompressedImage(format="png", data=array.array("B", data)), rgb[..., 0].size - 1)


@pytest.mark.parametrize("channels", [None, 1, 3, 5])
def test_floats_round_trip(channels):
    shape = (6, 7) if channels is None else (6, 7, channels)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    msg = convert.floats_to_image(values, HEADER)
    assert msg.encoding == f"32FC{channels or 1}"
    np.testing.assert_array_equal(convert.image_to_floats(msg).reshape(shape), values)


def test_rgb_round_trip():
    msg = convert.rgb_to_image(picture(), HEADER)
    assert (msg.encoding, msg.step, msg.header.frame_id) == ("rgb8", 150, "camera")
    np.testing.assert_array_equal(convert.image_to_rgb(msg), picture())


def test_camera_round_trip_and_pixel_centres():
    camera = Camera(640, 480, 500.0, 510.0, 320.0, 240.0, (0.1, -0.05, 0.001, 0.002))
    info = convert.camera_to_info(camera, HEADER)
    assert info.k[2] == 319.5  # ROS puts pixel centres at integers
    assert convert.camera_from_info(info) == camera


@pytest.mark.parametrize("distortion", [(0.1, -0.05, 0.001, 0.002, 0.03, 0.0, 0.0, 0.0), (0.1,) * 8])
def test_further_coefficients_round_trip(distortion):
    camera = Camera(640, 480, 500.0, 510.0, 320.0, 240.0, distortion)
    info = convert.camera_to_info(camera, HEADER)
    assert (info.distortion_model, len(info.d)) == ("rational_polynomial", 8)
    assert convert.camera_from_info(info) == camera


def test_uncalibrated_cameras():
    assert convert.camera_from_info(CameraInfo()) is None
    assert convert.camera_from_info(CameraInfo(width=640, height=480)) is None


def test_region_of_interest_and_binning():
    info = convert.camera_to_info(Camera(640, 480, 500.0, 500.0, 320.0, 240.0), HEADER)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 200, 100
    info.binning_x = info.binning_y = 2
    assert convert.camera_from_info(info) == Camera(100, 50, 250.0, 250.0, 110.0, 100.0)


@pytest.mark.parametrize("model, d", [("equidistant", [0.1, 0.0, 0.0, 0.0]), ("rational_polynomial", [0.1] * 12)])
def test_unsupported_distortion_is_refused(model, d):
    info = convert.camera_to_info(Camera(640, 480, 500.0, 500.0, 320.0, 240.0), HEADER)
    info.distortion_model, info.d = model, d
    with pytest.raises(InputError, match="not supported"):
        convert.camera_from_info(info)


def test_impossible_intrinsics_are_refused():
    info = convert.camera_to_info(Camera(640, 480, 500.0, 500.0, 320.0, 240.0), HEADER)
    info.k[4] = float("nan")
    with pytest.raises(InputError, match="impossible"):
        convert.camera_from_info(info)


class Bridge:
    """Stands in for cv_bridge.CvBridge: what it is asked for, answered by another colour."""

    def imgmsg_to_cv2(self, msg, encoding):
        return np.full((msg.height, msg.width, 3), 7, np.uint8)

    def cv2_to_imgmsg(self, pixels, encoding, header):
        return Image(header=header, encoding=f"bridged {encoding}")


@pytest.mark.parametrize(
    "encoding, bridged", [("rgb8", True), ("bayer_rggb8", True), ("mono16", False), ("8UC3", False)]
)
def test_cv_bridge_converts_what_it_does_as_we_do(monkeypatch, encoding, bridged):
    monkeypatch.setattr(convert, "_bridge", Bridge())
    sample, channels, _ = convert.encodings.ENCODINGS[encoding]
    pixels = np.full((40, 50, channels), 9, sample)
    assert (convert.image_to_rgb(message(pixels, encoding)) == 7).all() == bridged


def test_cv_bridge_gets_no_damaged_message(monkeypatch):
    monkeypatch.setattr(convert, "_bridge", Bridge())
    for msg in damaged().values():
        with pytest.raises(ImageError):
            convert.image_to_rgb(msg)


def test_cv_bridge_makes_messages_of_up_to_four_channels(monkeypatch):
    monkeypatch.setattr(convert, "_bridge", Bridge())
    assert convert.rgb_to_image(picture(), HEADER).encoding == "bridged rgb8"
    assert convert.floats_to_image(np.zeros((6, 7), np.float32), HEADER).encoding == "bridged 32FC1"
    assert convert.floats_to_image(np.zeros((6, 7, 5), np.float32), HEADER).encoding == "32FC5"


def test_cv_bridge_gives_the_pixels_of_our_own_converter():
    """Where it is installed, with the versions that it needs: a ROS machine with constraints-jazzy.txt."""
    bridge = convert.find_bridge()
    if bridge is None:
        pytest.skip("cv_bridge is not installed, or not for this NumPy and OpenCV")
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    for encoding in sorted(convert.BRIDGED_ENCODINGS):
        sample, channels, _ = convert.encodings.ENCODINGS[encoding]
        msg = message(noise[..., :channels], encoding, padding=6)
        assert bridge is not None and sample == "u1"
        np.testing.assert_array_equal(convert.image_to_rgb(msg), convert.encodings.image_to_rgb(msg), encoding)
    for values in (noise[..., 0].astype(np.float32), noise[..., :3].astype(np.float32)):
        np.testing.assert_array_equal(convert.image_to_floats(convert.floats_to_image(values, HEADER)), values)


@pytest.mark.parametrize("numpy, opencv", [("2.4.6", "4.11.0"), ("1.26.4", "5.0.0")])
def test_cv_bridge_is_left_alone_beside_versions_that_it_was_not_built_for(monkeypatch, numpy, opencv):
    monkeypatch.setattr(np, "__version__", numpy)
    monkeypatch.setattr(cv2, "__version__", opencv)
    monkeypatch.setitem(sys.modules, "cv_bridge", SimpleNamespace(CvBridge=Bridge))
    assert convert.find_bridge() is None
