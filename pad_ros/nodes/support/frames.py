"""Where the robot has the camera: /tf and /tf_static as they come in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header

from ...errors import InputError, MissingDependencyError
from ...imaging.geometry import Pose
from ...io.transforms import TRANSFORM_TYPE, NoTransformError, Transforms
from .messages import message_class
from .stages import stamp_ns

HISTORY = 2000  # transforms of each frame
WAIT = 0.2  # seconds that an image waits for the transform after it
STEP = 0.01
DEPTH = 200


def subscribe(node: Node, on_message: Callable[[Any, bool], None]) -> None:
    """Call `on_message` with each TFMessage, and whether it is static. MissingDependencyError without tf2_msgs."""
    try:
        kind = message_class(TRANSFORM_TYPE)
    except ImportError:
        raise MissingDependencyError(
            f"{node.get_name()}: poses from /tf need tf2_msgs, which is not installed (apt install "
            "ros-$ROS_DISTRO-tf2-msgs)"
        ) from None
    latched = QoSProfile(depth=DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(kind, "/tf", lambda message: on_message(message, False), QoSProfile(depth=DEPTH))
    node.create_subscription(kind, "/tf_static", lambda message: on_message(message, True), latched)


class Frames:
    """Poses of the camera in a frame of the part. ours: the frame that this node publishes itself, which is not asked.

    Safe to use from the worker's thread.
    """

    def __init__(self, node: Node, ours: str = "") -> None:
        self._node, self._ours = node, ours
        self._lock = threading.Lock()
        self._transforms = Transforms(HISTORY)
        self._refused: set[str] = set()

    def open(self) -> None:
        subscribe(self._node, self.on_message)

    def on_message(self, message: Any, static: bool) -> None:
        for stamped in message.transforms:
            if stamped.child_frame_id == self._ours:
                continue
            try:
                with self._lock:
                    self._transforms.add_stamped(stamped, static)
            except InputError as error:
                if stamped.child_frame_id not in self._refused:  # once for each frame
                    self._refused.add(stamped.child_frame_id)
                    self._node.get_logger().warning(f"a transform is left out: {error}")

    def pose(self, part_frame: str, header: Header) -> Pose:
        """camera_from_part at the stamp of an image; waits a moment for the transform after it.

        InputError where /tf does not tell.
        """
        until = time.monotonic() + WAIT
        while True:
            try:
                with self._lock:
                    return self._transforms.lookup(header.frame_id, part_frame, stamp_ns(header.stamp))
            except NoTransformError:
                if time.monotonic() > until:
                    raise
            time.sleep(STEP)
