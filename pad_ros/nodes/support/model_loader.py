"""Has the nodes of a cell load the model that a person approved on the station's page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node

from pad_ros.srv import LoadModel

from ...station.registry import Approval
from .station_link import StationLink

LOADING = 120.0  # seconds that they may take


class ModelLoader:
    """services: `load_model` of each node that is to load it; where one refuses, the answer says so."""

    def __init__(self, node: Node, link: StationLink, services: Sequence[str]) -> None:
        self._node, self._link = node, link
        self._clients = {name: node.create_client(LoadModel, name) for name in services}
        self._approval: Approval | None = None
        self._until = 0.0
        self._answers: dict[str, str] = {}

    def check(self) -> None:
        """Ask for what is approved, once all services are there; give up on what got no answer."""
        if self._approval is not None and time.monotonic() > self._until:
            missing = [name for name in self._clients if name not in self._answers]
            self._end(self._approval, f"no answer from {', '.join(missing)}")
        if not self._clients or self._approval is not None:
            return
        if all(client.service_is_ready() for client in self._clients.values()):
            self._approval = self._link.take_approval()
            if self._approval is not None:
                self._ask(self._approval)

    def _ask(self, approval: Approval) -> None:
        self._until, self._answers = time.monotonic() + LOADING, {}
        request = LoadModel.Request(path=approval.folder, expected_hash=approval.model_hash)
        for name, client in self._clients.items():
            client.call_async(request).add_done_callback(lambda future, name=name: self._on(approval, name, future))

    def _on(self, approval: Approval, name: str, future: Any) -> None:
        if self._approval is not approval:
            return
        found = future.result()
        self._answers[name] = "" if found.success else f"{name}: {found.message}"
        if len(self._answers) == len(self._clients):
            refused = "; ".join(filter(None, self._answers.values()))
            self._end(approval, f"refused: {refused}" if refused else f"loaded: {found.message}")

    def _end(self, approval: Approval, text: str) -> None:
        self._approval = None
        self._node.get_logger().info(f"model {approval.model_hash[:12]}: {text}")
        self._link.answer(approval, text)
