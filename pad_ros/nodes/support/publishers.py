"""Who publishes results: whether a PASS may be believed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rclpy.node import Node

NAMELESS = "_NODE_NAME_UNKNOWN_"  # rmw's word for a publisher whose node is not announced yet
PUBLISHER_MEMORY = 5.0  # seconds for which one that has left still counts: its last results may be on their way


class ResultPublishers:
    """Watches the publishers of `result` in the graph; known are `node` itself and, in its namespace, `names`.

    rclpy does not say which publisher a message came from. While there is one that is not known, or not yet
    announced by name, none of the results can be believed. Names can be forged: only SROS 2 prevents that.
    """

    def __init__(self, node: Node, names: Sequence[str]) -> None:
        self._node = node
        self._known = {(name.strip(), node.get_namespace()) for name in (*names, node.get_name())}
        self._nameless = False
        self._foreign: dict[str, float] = {}  # name -> steady clock when it was last there

    def look(self) -> None:
        """Take note of who is there now."""
        now, self._nameless = time.monotonic(), False
        for info in self._node.get_publishers_info_by_topic("result"):
            if info.node_name == NAMELESS:
                self._nameless = True
            elif (info.node_name, info.node_namespace) not in self._known:
                self._foreign[f"{info.node_namespace.rstrip('/')}/{info.node_name}"] = now
        self._foreign = {name: seen for name, seen in self._foreign.items() if now - seen < PUBLISHER_MEMORY}

    def problem(self) -> str:
        """Who publishes results without being known; "" if nobody does."""
        self.look()
        names = [*sorted(self._foreign), *(["a node without name"] if self._nameless else [])]
        return f"{', '.join(names)} publishes results (parameter result_nodes)" if names else ""
