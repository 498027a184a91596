"""Where frames come in: image_raw (or image_raw/compressed), camera_info and trigger."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.msg import Trigger

from ..errors import InputError
from ..geometry import Camera
from ..reasons import Reason
from .convert import camera_from_info
from .parameters import Parameters

CAMERA_INFO_WAIT = 1.0  # seconds that the first frame waits for a camera_info that is announced
TRIGGER_CHECK = 0.05  # seconds between looks at a waiting trigger

Accept = Callable[[ImageMsg | CompressedImage, str, int], None]  # image, part_id, steady ns
Missing = Callable[[Header, str, int, Reason, str], None]


class Intake:
    """Calls `accept` for each accepted frame and `missing` for each trigger that got no image.

    Without triggers every image is accepted; with them only the next image after each trigger.
    """

    def __init__(self, node: Node, parameters: Parameters, accept: Accept, missing: Missing) -> None:
        self._node, self._accept, self._missing = node, accept, missing
        transport = parameters.declare(
            "image_transport", "raw", "raw: image_raw, compressed: image_raw/compressed", choices=("raw", "compressed")
        )
        reliability = parameters.declare(
            "image_reliability",
            "reliable",
            "QoS of the image subscription; best_effort where the driver offers no other",
            choices=("reliable", "best_effort"),
        )
        depth = parameters.declare("image_depth", 5, "QoS depth of the image subscription", limits=(1, 1000))
        self._frame = parameters.declare(
            "camera_frame", "camera_optical_frame", "frame of images that come without a frame_id"
        )
        self._triggered = parameters.declare("triggered", False, "accept only the next image after each trigger")
        self._trigger_timeout = parameters.declare(
            "trigger_timeout",
            1.0,
            "seconds after which a trigger without image is answered by HOLD",
            limits=(0.01, 3600.0),
        )
        self._info: CameraInfo | None = None
        self._info_arrived = threading.Event()
        self._info_patience = CAMERA_INFO_WAIT
        self._waiting: tuple[Trigger, int] | None = None

        qos = QoSProfile(depth=depth)
        if reliability == "best_effort":
            qos.reliability = ReliabilityPolicy.BEST_EFFORT
        if transport == "compressed":
            node.create_subscription(CompressedImage, "image_raw/compressed", self._on_image, qos)
        else:
            node.create_subscription(ImageMsg, "image_raw", self._on_image, qos)
        info_qos = QoSProfile(depth=1, reliability=qos.reliability)
        self._info_subscription = node.create_subscription(CameraInfo, "camera_info", self._on_info, info_qos)
        if self._triggered:
            node.create_subscription(Trigger, "trigger", self._on_trigger, QoSProfile(depth=10))
            node.create_timer(TRIGGER_CHECK, self._check_trigger, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def camera(self) -> Camera | None:
        """The raw camera from the latest camera_info; None: nobody publishes one. Not to be called by the executor.

        Raises InputError for an unusable camera_info, or one that is announced but does not come.
        """
        announced = self._node.count_publishers(self._info_subscription.topic_name) > 0
        if announced and not self._info_arrived.wait(self._info_patience):
            self._info_patience = 0.0  # later frames are not kept waiting as well
            raise InputError("camera_info has a publisher, but no message came")
        if self._info is None:
            return None
        camera = camera_from_info(self._info)
        if camera is None:
            raise InputError(
                "camera_info is uncalibrated (K is zero); calibrate the camera, or remap camera_info away to use the "
                "intrinsics of the model"
            )
        return camera

    def _on_info(self, msg: CameraInfo) -> None:
        self._info = msg
        self._info_arrived.set()

    def _on_image(self, msg: ImageMsg | CompressedImage) -> None:
        now = time.monotonic_ns()
        msg.header.frame_id = msg.header.frame_id or self._frame
        if not self._triggered:
            self._accept(msg, "", now)
            return
        if self._waiting is None:
            return
        trigger, _ = self._waiting
        if _stamp_ns(msg.header) < _stamp_ns(trigger.header):
            return
        self._waiting = None
        self._accept(msg, trigger.part_id, now)

    def _on_trigger(self, msg: Trigger) -> None:
        # Each part gets its own image or none: a late image must not be taken for the next part.
        self._give_up("the next trigger came first")
        self._waiting = (msg, time.monotonic_ns())

    def _check_trigger(self) -> None:
        if self._waiting is not None and time.monotonic_ns() - self._waiting[1] > 1e9 * self._trigger_timeout:
            self._give_up(f"none within {self._trigger_timeout:g} s")

    def _give_up(self, why: str) -> None:
        if self._waiting is None:
            return
        (trigger, since), self._waiting = self._waiting, None
        header = Header(stamp=trigger.header.stamp, frame_id=self._frame)
        self._missing(header, trigger.part_id, since, Reason.DROPPED, f"no image for the trigger: {why}")


def _stamp_ns(header: Header) -> int:
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)
