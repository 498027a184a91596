"""Which camera_info belongs to which image."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo

from ...errors import CameraError
from ...imaging.geometry import Camera
from .convert import camera_from_info
from .limits import usable_info
from .parameters import Parameters
from .qos import watched_subscription
from .stages import stamp_ns

REMEMBERED = 64  # messages


class CameraInfos:
    """Keeps the last camera_info messages and finds the one for an image's stamp (parameter `camera_info_sync`)."""

    def __init__(self, node: Any, parameters: Parameters) -> None:
        self._node = node
        self._sync, self._slop = parameters["camera_info_sync"], parameters["camera_info_slop"]
        self._wait, self._durability = parameters["camera_info_wait"], parameters["camera_info_durability"]
        self._infos: OrderedDict[int, CameraInfo] = OrderedDict()  # stamp in ns -> message, in order of arrival
        self._latest: CameraInfo | None = None
        self._settled = False  # the last two say the same, or there is only one
        self._per_image = False  # an image has found one of its own stamp
        self._patient = True
        self._arrived = threading.Condition()
        self._fell_back = False  # to the model's intrinsics
        self._topic = ""

    def open(self, reliability: ReliabilityPolicy) -> None:
        qos = QoSProfile(depth=10, reliability=reliability, durability=DurabilityPolicy[self._durability.upper()])
        subscription = watched_subscription(self._node, CameraInfo, "camera_info", self._on_info, qos, "camera_info")
        self._topic = subscription.topic_name

    def camera(self, stamp_ns: int) -> Camera | None:
        """The raw camera for an image; None: nobody publishes camera_info. Waits; not to be called by the executor.

        Raises CameraError for an unusable camera_info, or one that is announced but does not come.
        """
        info = self._find(stamp_ns)
        if info is None:
            return None
        camera = camera_from_info(info)
        if camera is None:
            raise CameraError(
                "camera_info is uncalibrated (K is zero); calibrate the camera, or remap camera_info away to use the "
                "intrinsics of the model"
            )
        return camera

    def _find(self, stamp_ns: int) -> CameraInfo | None:
        if self._node.count_publishers(self._topic) == 0 and self._latest is None:
            if not self._fell_back:
                self._fell_back = True
                text = f"nobody publishes {self._topic}: the intrinsics of the model are used"
                self._node.get_logger().warning(text)
                self._node.health.warn("camera_info", text)
            return None
        if self._fell_back:
            self._fell_back = False
            self._node.health.warn("camera_info", "")
        end = time.monotonic() + (self._wait if self._patient else 0.0)
        with self._arrived:
            while (info := self._matching(stamp_ns)) is None:
                left = end - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    self._patient = False  # the images behind are not kept waiting as well
                    raise CameraError(self._missing())
            self._patient = True
            return info

    def _matching(self, stamp_ns: int) -> CameraInfo | None:
        exact = self._infos.get(stamp_ns) if stamp_ns else None
        if exact is not None:
            self._per_image = True
            return exact
        if self._sync == "latest" or (self._sync == "auto" and not self._per_image and self._settled):
            return self._latest
        if self._sync == "approximate" and self._infos:
            nearest = min(self._infos, key=lambda stamp: abs(stamp - stamp_ns))
            return self._infos[nearest] if abs(nearest - stamp_ns) <= 1e9 * self._slop else None
        return None

    def _missing(self) -> str:
        if self._latest is None:
            return "camera_info has a publisher, but no message came"
        if self._sync == "approximate":
            return f"no camera_info within {self._slop:g} s of the image's stamp (parameter camera_info_slop)"
        if self._per_image or self._sync == "exact":
            return "no camera_info with the stamp of the image came (parameter camera_info_sync)"
        return "camera_info changes, but none has the stamp of the image (parameter camera_info_sync)"

    def _on_info(self, msg: CameraInfo) -> None:
        if not usable_info(msg):
            self._node.health.count("bad_camera_infos")
            return
        stamp = stamp_ns(msg.header.stamp)
        with self._arrived:
            self._settled = self._latest is None or _same(self._latest, msg)
            self._latest = msg
            self._infos.pop(stamp, None)
            self._infos[stamp] = msg
            if len(self._infos) > REMEMBERED:
                self._infos.popitem(last=False)
            self._arrived.notify_all()


def _same(a: CameraInfo, b: CameraInfo) -> bool:
    """Whether two messages describe the same camera."""
    names = [name for name in a.get_fields_and_field_types() if name != "header"]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)
