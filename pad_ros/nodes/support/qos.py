"""Quality of service: what we ask for, and a word where a publisher offers less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_policy_name_from_kind
from rclpy.subscription import Subscription


class Watched(Protocol):
    """Where warnings about a topic and losses are counted (`Health`)."""

    def warn(self, topic: str, text: str) -> None: ...

    def count(self, what: str) -> None: ...


def reliable(depth: int) -> QoSProfile:
    """Keep-last and reliable: best effort loses large images between processes."""
    return QoSProfile(depth=depth)


def latched(depth: int = 1) -> QoSProfile:
    """Reliable, and the last messages reach those who subscribe later."""
    return QoSProfile(depth=depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)


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

    def lost(event: Any) -> None:
        node.health.count("messages_lost")

    try:
        events = SubscriptionEventCallbacks(incompatible_qos=incompatible, message_lost=lost)
        return _subscribe(node, kind, topic, callback, qos, events)
    except UnsupportedEventTypeError:  # a middleware that does not tell of losses
        events = SubscriptionEventCallbacks(incompatible_qos=incompatible)
        return _subscribe(node, kind, topic, callback, qos, events)


def _subscribe(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    events: SubscriptionEventCallbacks,
) -> Subscription:
    return node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
