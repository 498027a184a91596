"""Quality of service: what we ask for, and a word where a publisher offers less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg


def reliable(depth: int) -> QoSProfile:
    """Keep-last and reliable: best effort loses large images between processes."""
    return QoSProfile(depth=depth)


def latched(depth: int = 1) -> QoSProfile:
    """Reliable, and the last messages reach those who subscribe later."""
    return QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def result_qos() -> QoSProfile:
    """Of everyone who publishes `result`: a transient-local subscriber hears nothing of a volatile publisher.

    Deep: a watchdog that was killed may hear triggers seconds before it hears the cell again.
    """
    return latched(100)


def trigger_qos() -> QoSProfile:
    """Of who takes triggers. Deep: on a busy machine many may have arrived before a node gets its turn."""
    return reliable(100)


def image_topic(parameters: Any, depth: int) -> tuple[type, str, QoSProfile]:
    """Type, name and quality of the image topic, by `image_transport` and `image_reliability`."""
    qos = QoSProfile(depth=depth, reliability=ReliabilityPolicy[parameters["image_reliability"].upper()])
    if parameters["image_transport"] == "compressed":
        return CompressedImage, "image_raw/compressed", qos
    return ImageMsg, "image_raw", qos


def watched_subscription(
    node: Any, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile, parameter: str
) -> Subscription:
    """A subscription that says, in the log and in node.health, when a publisher offers too little for `qos`.

    parameter: beginning of the names of the parameters that set `qos`: "image" or "camera_info".
    """

    def incompatible(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        what = {"RELIABILITY": "image_reliability:=best_effort", "DURABILITY": f"{parameter}_durability:=volatile"}
        advice = what.get(policy, "a compatible QoS")
        text = f"{topic}: a publisher offers an incompatible {policy}; nothing of it will be received: set {advice}"
        node.get_logger().warning(text)
        node.health.warn(topic, text)

    events = SubscriptionEventCallbacks(incompatible_qos=incompatible)
    events.message_lost = lambda _: node.health.count("messages_lost")
    try:
        return node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
    except UnsupportedEventTypeError:  # a middleware that does not report losses
        events.message_lost = None
        return node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
