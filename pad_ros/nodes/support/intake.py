"""Where frames come in: image_raw (or image_raw/compressed) and trigger."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.msg import Trigger

from ...imaging.geometry import Camera
from ...verdicts import Reason
from .camera_infos import CameraInfos
from .parameters import Parameters
from .qos import watched_subscription
from .stages import Query, stamp_ns
from .stamps import Stamps
from .worker import Worker

TRIGGER_CHECK = 0.05  # seconds between looks at a waiting trigger

Work = Callable[[Query], None]  # in the worker's thread
Hold = Callable[[Query, Reason, str], None]


class Intake:
    """Hands `work` each accepted frame, in the worker's thread, and calls `hold` for each trigger that got no image
    and each frame that cannot be judged.

    Free-running: every image is accepted, or (`free_running: newest`) all but those that a newer one overtakes while
    they wait. Triggered: the next image after each trigger.
    """

    def __init__(self, node: Any, parameters: Parameters, work: Work, hold: Hold) -> None:
        self._node, self._work, self._hold = node, work, hold
        declare = parameters.declare
        self._transport = declare(
            "image_transport", "raw", "raw: image_raw, compressed: image_raw/compressed", choices=("raw", "compressed")
        )
        self._reliability = declare(
            "image_reliability",
            "reliable",
            "QoS of the image subscription; best_effort where the driver offers no other",
            choices=("reliable", "best_effort"),
        )
        self._depth = declare("image_depth", 5, "QoS depth of the image subscription", limits=(1, 1000))
        self._frame = declare("camera_frame", "camera_optical_frame", "frame of images that come without a frame_id")
        self._triggered = declare("triggered", False, "accept only the next image after each trigger")
        self._trigger_timeout = declare(
            "trigger_timeout",
            1.0,
            "seconds after which a trigger without image is answered by HOLD",
            limits=(0.01, 3600.0),
        )
        self._newest = (
            declare(
                "free_running",
                "newest",
                "without triggers; newest: of the images that wait only the last is inspected, the others get no "
                "result; every: all are, up to queue_size of them wait, further ones are HOLD",
                choices=("newest", "every"),
            )
            == "newest"
        )
        self._stamps = Stamps(
            declare("max_age", 0.0, "seconds; older images are not judged (BAD_STAMP); 0: no limit", limits=(0.0, 1e6)),
            declare(
                "max_ahead", 0.0, "seconds; images stamped further in the future are not judged; 0: no limit",
                limits=(0.0, 1e6),
            ),
        )  # fmt: skip
        self._infos = CameraInfos(node, parameters)
        self._waiting: tuple[Trigger, int] | None = None

    def open(self) -> None:
        """Subscribe."""
        node = self._node
        qos = QoSProfile(depth=self._depth)
        if self._reliability == "best_effort":
            qos.reliability = ReliabilityPolicy.BEST_EFFORT
        kind, topic = ImageMsg, "image_raw"
        if self._transport == "compressed":
            kind, topic = CompressedImage, "image_raw/compressed"
        self._infos.open(qos.reliability)
        watched_subscription(node, kind, topic, self._on_image, qos, "image")
        if self._triggered:
            node.create_subscription(Trigger, "trigger", self._on_trigger, QoSProfile(depth=10))
            node.create_timer(TRIGGER_CHECK, self._check_trigger, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Answer the trigger that waits."""
        self._give_up("the node was deactivated")

    def camera(self, header: Header) -> Camera | None:
        """As `CameraInfos.camera`, for the image with this header."""
        return self._infos.camera(stamp_ns(header.stamp))

    def _on_image(self, msg: ImageMsg | CompressedImage) -> None:
        now, stamp = time.monotonic_ns(), stamp_ns(msg.header.stamp)
        msg.header.frame_id = msg.header.frame_id or self._frame
        jumps = self._stamps.jumps
        if self._stamps.duplicate(stamp):
            self._node.health.count("duplicates")
            return
        if self._stamps.jumps > jumps:
            self._node.get_logger().warning("the images' time has run backwards (a bag that loops, a clock set back)")
            self._node.health.count("time_jumps")
        problem = self._stamps.problem(stamp, self._node.get_clock().now().nanoseconds)
        if not self._triggered:
            query = Query(msg, msg.header, "", now)
            if problem:
                self._hold(query, Reason.BAD_STAMP, problem)
            else:
                self._accept(query, self._newest)
            return
        if problem:
            self._node.health.count("bad_stamps")
        elif self._waiting is not None and stamp >= stamp_ns(self._waiting[0].header.stamp):
            trigger, _ = self._waiting
            self._waiting = None
            self._accept(Query(msg, msg.header, trigger.part_id, now, stamp_ns(trigger.header.stamp)), newest=False)

    def _accept(self, query: Query, newest: bool) -> None:
        worker: Worker | None = self._node.worker
        if worker is None:
            self._hold(query, Reason.DROPPED, "the node is not active")
        elif newest:
            if worker.replace(lambda: self._work(query)):
                self._node.health.count("superseded")
        elif not worker.offer(lambda: self._work(query)):
            self._hold(query, Reason.DROPPED, f"{self._node.get_name()}: {self._node.queue_size} images were waiting")

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
        query = Query(None, header, trigger.part_id, since, stamp_ns(trigger.header.stamp))
        self._hold(query, Reason.DROPPED, f"no image for the trigger: {why}")
