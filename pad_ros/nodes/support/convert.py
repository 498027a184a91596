"""Arrays and Cameras as ROS messages, and back where `io.encodings` (which needs no ROS) does not.

On a ROS machine cv_bridge converts images, after our own checks: it takes a message whose step is too short. Without
it, and for what it refuses or rounds differently (16 bits), `io.encodings` does: `pad bag` must judge what the cell
judged.
"""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from ...errors import ImageError
from ...imaging import images
from ...imaging.geometry import Camera
from ...imaging.images import Image
from ...io import encodings
from ...io.encodings import camera_from_info, message_pixels  # noqa: F401  (the first offered from here too)

# Of ROS (sensor_msgs/image_encodings.hpp): 8 bits, and known to cv_bridge as colours.
BRIDGED_ENCODINGS = {
    "rgb8",
    "bgr8",
    "rgba8",
    "bgra8",
    "mono8",
    *(f"bayer_{p}8" for p in ("rggb", "bggr", "gbrg", "grbg")),
}


def find_bridge() -> Any:
    """A CvBridge; None without cv_bridge, or beside a NumPy or OpenCV other than those that it can be built with."""
    if int(np.__version__.split(".")[0]) > 1 or int(cv2.__version__.split(".")[0]) > 4:
        return None
    try:
        from cv_bridge import CvBridge
        from cv_bridge.boost import cv_bridge_boost  # noqa: F401  (loaded late by CvBridge: does it go with this Python?)
    except ImportError:
        return None
    return CvBridge()


_bridge = find_bridge()


def image_to_rgb(msg: ImageMsg) -> Image:
    """As `encodings.image_to_rgb`, by cv_bridge where it gives the same."""
    if _bridge is None or msg.encoding not in BRIDGED_ENCODINGS:
        return encodings.image_to_rgb(msg)
    sample, channels, _ = encodings.ENCODINGS[msg.encoding]
    message_pixels(msg, sample, channels)
    return images.validate(np.asarray(_bridge.imgmsg_to_cv2(msg, "rgb8"), np.uint8), "image message")


def compressed_to_rgb(msg: CompressedImage, max_pixels: int = images.MAX_PIXELS) -> Image:
    """The pixels of a sensor_msgs/CompressedImage (JPEG, PNG, ...); ImageError if it is not a whole image."""
    return images.decode(bytes(msg.data), "compressed image message", max_pixels)[0]


def rgb_to_image(image: NDArray[np.uint8], header: Header) -> ImageMsg:
    """An rgb8 message of an image [H, W, 3]."""
    return _message(image, "rgb8", header)


def mask_to_image(mask: NDArray[np.bool_], header: Header) -> ImageMsg:
    """A mono8 message of a mask [H, W]: 255 where it is True."""
    return _message(np.asarray(mask, np.uint8) * np.uint8(255), "mono8", header)


def photograph_to_image(colours: NDArray[np.uint8], seen: NDArray[np.bool_], header: Header) -> ImageMsg:
    """An rgba8 message of colours [H, W, 3] that are known where `seen` [H, W]."""
    return _message(np.dstack([colours, 255 * seen.astype(np.uint8)]), "rgba8", header)


def image_to_photograph(msg: ImageMsg) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The reverse of `photograph_to_image`; ImageError if the message is damaged."""
    if msg.encoding != "rgba8":
        raise ImageError(f"expected encoding rgba8, got '{msg.encoding}'")
    pixels = np.array(message_pixels(msg, "u1", 4))
    return np.ascontiguousarray(pixels[..., :3]), pixels[..., 3] > 0


def floats_to_image(values: NDArray[np.float32], header: Header) -> ImageMsg:
    """A 32FC1 message of [H, W], or 32FC(n) of [H, W, n]."""
    channels = 1 if values.ndim == 2 else values.shape[2]
    return _message(np.asarray(values, np.float32), f"32FC{channels}", header)


def image_to_floats(msg: ImageMsg) -> NDArray[np.float32]:
    """float32 [H, W] of a 32FC1 message, [H, W, n] of another 32FC(n) one; ImageError if it is damaged."""
    if not msg.encoding.startswith("32FC") or not msg.encoding[4:].isdigit():
        raise ImageError(f"expected encoding 32FC(n), got '{msg.encoding}'")
    channels = int(msg.encoding[4:])
    pixels = message_pixels(msg, "f4", channels)
    return np.array(pixels[..., 0] if channels == 1 else pixels, np.float32)


def camera_to_info(camera: Camera, header: Header) -> CameraInfo:
    """The reverse of `camera_from_info`."""
    eight = len(camera.distortion) == 8
    model, d = ("rational_polynomial", camera.distortion) if eight else ("plumb_bob", [*camera.distortion, 0.0])
    info = CameraInfo(header=header, width=camera.width, height=camera.height, distortion_model=model, d=d)
    k = camera.K
    k[:2, 2] -= 0.5
    info.k = k.ravel()
    info.r = np.eye(3).ravel()
    info.p = np.hstack([k, np.zeros((3, 1))]).ravel()
    return info


def _message(pixels: NDArray[Any], encoding: str, header: Header) -> ImageMsg:
    if _bridge is not None and (pixels.ndim == 2 or pixels.shape[2] <= 4):  # channels that OpenCV has types for
        return _bridge.cv2_to_imgmsg(pixels, encoding, header)
    msg = ImageMsg(header=header, height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    msg.step = pixels.nbytes // pixels.shape[0]
    msg.data = packed(pixels)
    return msg


def packed(values: NDArray[Any]) -> array[int]:
    """The bytes of an array as a message's data; rclpy copies anything else element by element."""
    data = array("B")
    data.frombytes(np.ascontiguousarray(values).view(np.uint8).data)
    return data
