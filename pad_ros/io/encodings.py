"""What ROS messages hold, without ROS: raw pixels to RGB, camera_info, covariances. Nodes and bags share it.

One small converter of our own: cv_bridge (which nodes use where they can) is missing outside ROS installs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import CameraError, ImageError
from ..imaging import images
from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image

if TYPE_CHECKING:  # rclpy's own messages have the same fields
    from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__CameraInfo as CameraInfo
    from rosbags.typesys.stores.ros2_jazzy import sensor_msgs__msg__Image as ImageMessage

# OpenCV names Bayer patterns by the second row and column: its BG is ROS's rggb.
_BAYER = {"rggb": cv2.COLOR_BayerBG2RGB, "bggr": cv2.COLOR_BayerRG2RGB, "gbrg": cv2.COLOR_BayerGR2RGB,
          "grbg": cv2.COLOR_BayerGB2RGB}  # fmt: skip
_UYVY, _YUY2 = ("u1", 2, cv2.COLOR_YUV2RGB_UYVY), ("u1", 2, cv2.COLOR_YUV2RGB_YUY2)
# encoding -> (type of one sample, channels, OpenCV conversion to RGB or None)
ENCODINGS: dict[str, tuple[str, int, int | None]] = {
    "rgb8": ("u1", 3, None),
    "bgr8": ("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": ("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": ("u1", 4, cv2.COLOR_BGRA2RGB),
    "8UC3": ("u1", 3, cv2.COLOR_BGR2RGB),  # as cv_bridge has it: OpenCV's order
    **dict.fromkeys(("mono8", "8UC1"), ("u1", 1, cv2.COLOR_GRAY2RGB)),
    **dict.fromkeys(("mono16", "16UC1"), ("u2", 1, cv2.COLOR_GRAY2RGB)),
    **{f"bayer_{pattern}8": ("u1", 1, code) for pattern, code in _BAYER.items()},
    **{f"bayer_{pattern}16": ("u2", 1, code) for pattern, code in _BAYER.items()},
    **{"yuv422": _UYVY, "uyvy": _UYVY, "yuv422_yuy2": _YUY2, "yuyv": _YUY2},  # uyvy, yuyv: the names since Jazzy
}
DISTORTIONS = ("plumb_bob", "rational_polynomial")
UNKNOWN_COVARIANCE = -1.0  # in covariance[0], as sensor_msgs/Imu has it

Array = NDArray[np.float64]


def image_to_rgb(msg: ImageMessage) -> Image:
    """The pixels of a sensor_msgs/Image as RGB [H, W, 3]; alpha is dropped, 16 bits are scaled to 8.

    Raises ImageError for an unknown encoding, an impossible size or step, or missing data.
    """
    if msg.encoding not in ENCODINGS:
        raise ImageError(f"encoding '{msg.encoding[:40]}' is not supported; use one of {', '.join(ENCODINGS)}")
    sample, channels, conversion = ENCODINGS[msg.encoding]
    pixels = message_pixels(msg, sample, channels)
    if channels == 2 and msg.width % 2:
        raise ImageError(f"image message: {msg.encoding} stores pixels in pairs, but the width is {msg.width}")
    if sample == "u2":
        pixels = (pixels >> 8).astype(np.uint8)
    if conversion is not None:
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels), conversion)
    # Nothing may refer to the message's memory any more.
    return images.validate(np.array(pixels, np.uint8) if conversion is None else pixels, "image message")


def camera_from_info(info: CameraInfo) -> Camera | None:
    """The raw camera of a camera_info, region of interest and binning applied; None if it is uncalibrated.

    ROS calibrations put pixel centres at integers, ours lie at +0.5. Raises CameraError for a distortion
    model other than plumb_bob and rational_polynomial, or impossible values.
    """
    k = np.asarray(info.k, np.float64)
    if info.width == 0 or info.height == 0 or k[0] == 0:
        return None
    coefficients = np.asarray(info.d, np.float64)
    if coefficients.any() and (info.distortion_model not in DISTORTIONS or coefficients[8:].any()):
        raise CameraError(
            f"camera_info: distortion '{info.distortion_model[:40]}' {coefficients[:16].tolist()} is not supported; "
            f"calibrate with {' or '.join(DISTORTIONS)}, or rectify the images first"
        )
    padded = (*coefficients[:8].tolist(), *(0.0,) * 8)
    camera = Camera(
        int(info.width), int(info.height), k[0], k[4], k[2] + 0.5, k[5] + 0.5, padded[: 8 if any(padded[4:8]) else 4]
    )
    if info.roi.width and info.roi.height:
        camera = camera.cropped(info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height)
    if info.binning_x > 1 or info.binning_y > 1:
        camera = camera.resized(camera.width // max(info.binning_x, 1), camera.height // max(info.binning_y, 1))
    return camera


def message_pixels(msg: ImageMessage, sample: str, channels: int) -> NDArray[Any]:
    """A view [H, W, channels] of the message's data, native byte order."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    dtype = np.dtype(sample).newbyteorder(">" if msg.is_bigendian else "<")
    row = width * channels * dtype.itemsize
    if height == 0 or width == 0:
        raise ImageError("image message without pixels")
    if step < row:
        raise ImageError(
            f"image message: step {step} is less than one row of {width} {msg.encoding} pixels ({row} bytes)"
        )
    if len(msg.data) < step * (height - 1) + row:
        raise ImageError(
            f"image message: truncated, {len(msg.data)} bytes of data, {width}x{height} needs {step * height}"
        )
    if height * width > images.MAX_PIXELS:
        raise ImageError(f"image message: {width}x{height} is more than {images.MAX_PIXELS // 10**6} Mpx")
    shape, strides = (height, width, channels), (step, channels * dtype.itemsize, dtype.itemsize)
    view: NDArray[Any] = np.ndarray(shape, dtype, buffer=msg.data, strides=strides)
    return view.astype(dtype.newbyteorder("="), copy=False)


def covariance_to_ros(covariance: Array, pose: Pose) -> Array:
    """[6, 6] in ROS order (x, y, z, rotation about the camera's X, Y, Z) of a twist covariance [6, 6].

    Our twist (w, v) multiplies from the left, so to first order the position moves by w x t + v.
    """
    jacobian = np.block([[-_cross(pose.translation), np.eye(3)], [np.eye(3), np.zeros((3, 3))]])
    return np.asarray(jacobian @ covariance @ jacobian.T)


def covariance_from_ros(covariance: Array, pose: Pose) -> Array:
    """The reverse of `covariance_to_ros`."""
    jacobian = np.block([[np.zeros((3, 3)), np.eye(3)], [np.eye(3), _cross(pose.translation)]])
    return np.asarray(jacobian @ covariance @ jacobian.T)


def _cross(v: Array) -> Array:
    return np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
