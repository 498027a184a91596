"""A running graph inside the test process: nodes spin in a thread, results are collected."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from fake_inspector import CAMERA, FakeInspector, write_bundle  # noqa: E402
from pad_ros.msg import InspectionResult  # noqa: E402
from rclpy.client import Client  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.exceptions import InvalidHandle  # noqa: E402
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from pad_ros.nodes import watchdog  # noqa: E402
from pad_ros.nodes.support import base  # noqa: E402
from pad_ros.nodes.support.convert import rgb_to_image  # noqa: E402
from pad_ros.nodes.support.spin import NodeExecutor  # noqa: E402

PATIENCE = 30.0  # seconds; only an upper bound, nothing is asserted about time
CLIENTS = 4  # made one after the other where a service is not seen


class Graph:
    """Adds nodes, talks to them from a node `tester`, and records every message it listens to."""

    def __init__(self, model: Path) -> None:
        self.model = model
        self.executor = NodeExecutor()
        self.nodes: list[Node] = []
        self.tester = Node("tester")
        self.executor.add_node(self.tester)
        self.received: dict[str, list] = {}
        self._clients: dict[str, Client] = {}
        self._others: list[Context] = []
        self._stamp = 100
        self._closing = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        """As `spin.run` does: what is destroyed while rclpy gathers it, or an odd request, makes `spin` raise."""
        while self.executor.context.ok() and not self._closing:
            try:
                self.executor.spin()
            except (ExternalShutdownException, InvalidHandle):
                continue
            except Exception as error:
                self.tester.get_logger().error(f"{type(error).__name__}: {error}")

    def add(self, node_class: type, namespace: str = "", **overrides: object) -> Node:
        overrides.setdefault("model", str(self.model))
        node = node_class(load=FakeInspector.load, overrides=overrides, namespace=namespace)
        return self.add_node(node)

    def add_node(self, node: Node) -> Node:
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def listen(self, message: type, topic: str) -> list:
        messages = self.received.setdefault(topic, [])
        self.tester.create_subscription(message, topic, messages.append, 20)
        return messages

    def publisher(self, message: type, topic: str):
        publisher = self.tester.create_publisher(message, topic, 20)
        self.wait(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        return publisher

    def wait(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        end = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.01)

    def trigger(self, publisher, message, node: Node) -> None:
        """Publish a trigger; return when the node waits for its image."""
        publisher.publish(message)
        self.wait(lambda: message.part_id in self.waiting(node), "the trigger")

    @staticmethod
    def waiting(node: Node) -> list[str]:
        """part_ids of the triggers that wait for their image: nowhere to be seen from outside."""
        return [trigger.part_id for trigger in node._intake.matching.triggers]

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def settle(self) -> None:
        """Long enough for a second, wrong message to arrive."""
        self.pause(0.3)

    def wait_matched(self, topic: str, publishers: int = 1) -> None:
        self.wait(lambda: self.tester.count_publishers(topic) >= publishers, f"a publisher of {topic}")
        self.settle()

    def image(
        self, red: int, height: int = CAMERA.height, width: int = CAMERA.width, seconds: int | None = None
    ) -> Image:
        """A frame with its own stamp (`seconds`) and pixels; `red` decides the fake verdict."""
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0] = red
        header = Header(frame_id="camera")
        self._stamp += 1
        pixels[0, 0, 1:] = divmod(self._stamp, 256)
        header.stamp.sec, header.stamp.nanosec = self._stamp if seconds is None else seconds, 500
        return rgb_to_image(pixels, header)

    def call(self, service_type: type, name: str, request: object):
        future = self._client(service_type, name).call_async(request)
        self.wait(future.done, f"an answer of {name}")
        return future.result()

    def _client(self, service_type: type, name: str) -> Client:
        """One client for each service: now and then a client, more often a second one, is never told that the
        service is there; then it is given up for another."""
        for _ in range(CLIENTS):
            client = self._clients.get(name) or self.tester.create_client(service_type, name)
            self._clients[name] = client
            if client.wait_for_service(PATIENCE / CLIENTS):
                return client
            self.tester.destroy_client(self._clients.pop(name))
        client = self._other_tester().create_client(service_type, name)
        if client.wait_for_service(PATIENCE):
            return client
        listed = [known for known, _ in self.tester.get_service_names_and_types()]
        pytest.fail(f"{CLIENTS} clients have not seen the service {name}; the graph lists {listed}")

    def _other_tester(self) -> Node:
        """A node of another participant, for a service that no client of the first one was told of."""
        context = Context()
        rclpy.init(context=context)
        node, executor = Node("other_tester", context=context), SingleThreadedExecutor(context=context)
        executor.add_node(node)

        def spin() -> None:
            with contextlib.suppress(ExternalShutdownException):
                executor.spin()

        threading.Thread(target=spin, daemon=True).start()
        self._others.append(context)
        return node

    def results(self, namespace: str = "") -> list[InspectionResult]:
        return self.listen(InspectionResult, f"{namespace}/result" if namespace else "result")

    def close(self) -> None:
        self._closing = True
        self.executor.shutdown(timeout_sec=5)
        for node in self.nodes:
            if hasattr(node, "close"):
                node.close()
            else:
                node.destroy_node()
        self.tester.destroy_node()
        for context in self._others:
            context.try_shutdown()


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that have found each other."""
    monkeypatch.setattr(watchdog, "SETTLING", 0.0)
    monkeypatch.setattr(base, "SETTLING", 0.0)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "model")


@pytest.fixture
def graph(bundle: Path) -> Iterator[Graph]:
    rclpy.init()
    running = Graph(bundle)
    yield running
    running.close()
    rclpy.try_shutdown()
