"""Whether other nodes publish the `result` of this one: two cells of one name answer each other's questions."""

from __future__ import annotations

import time
from typing import Any

from rclpy.clock import Clock, ClockType

LOOK = 1.0  # seconds between looks at the graph
STANDING = 25.0  # seconds; a killed node is listed for another 20 (Fast DDS's lease) beside the one in its place
WATCHDOG = "watchdog"  # answers for a cell that does not


class Rivals:
    """Warns in log and diagnostics, once each, of nodes that go on publishing `topic` beside `node` and a watchdog."""

    def __init__(self, node: Any, topic: str) -> None:
        self._node, self._topic = node, topic
        self._own = (node.get_name(), node.get_namespace())
        self._since: dict[tuple[str, str], float] = {}  # steady clock
        self._warned: set[tuple[str, str]] = set()
        node.create_timer(LOOK, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def look(self) -> None:
        found = [(info.node_name, info.node_namespace) for info in self._node.get_publishers_info_by_topic(self._topic)]
        if self._own in found:
            found.remove(self._own)  # this node itself; what is left of the name is another one
        now = time.monotonic()
        self._since = {name: self._since.get(name, now) for name in found if name[0] != WATCHDOG}
        standing = sorted(name for name, since in self._since.items() if now - since >= STANDING)
        texts = {name: self._text(name) for name in standing}
        for name in set(standing) - self._warned:
            self._node.get_logger().warning(texts[name])
        self._warned = set(standing)
        self._node.health.warn("rivals", "; ".join(texts.values()))

    def _text(self, name: tuple[str, str]) -> str:
        full = f"{name[1].rstrip('/')}/{name[0]}"
        if name == self._own:
            return (
                f"another node {full} publishes {self._topic} and answers the same services: end one of the two, or "
                "give each a namespace or ROS_DOMAIN_ID of its own"
            )
        return f"{full} publishes {self._topic} beside {self._own[0]}: each question may get two answers"
