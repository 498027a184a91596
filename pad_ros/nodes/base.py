"""What the stage nodes share: a reference model that can be changed, a worker thread, and `main`."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

from pad_ros.srv import LoadModel

from ..errors import PadError
from ..inspector import Inspector
from .parameters import Parameters
from .worker import Worker

Load = Callable[[Path, str], Inspector]

THREADS = 3  # of the executor: frames, services, timers; the heavy work has a thread of its own


class StageNode(Node):
    """A node with a reference model (`load_model` changes it) and a bounded queue of frames.

    A model that cannot be loaded at start leaves the node alive: each frame is then HOLD with NO_MODEL.
    PadError for a missing or wrong parameter. `load` and `overrides` are there for tests.
    """

    load_model_service = "~/load_model"  # three stages in one namespace: each has its own

    def __init__(
        self, name: str, *, load: Load = Inspector.load, overrides: dict[str, object] | None = None, namespace: str = ""
    ) -> None:
        given = [Parameter(key, value=value) for key, value in (overrides or {}).items()]
        super().__init__(name, parameter_overrides=given, namespace=namespace)
        self.parameters = Parameters(self)
        self._load = load
        declare = self.parameters.declare
        path = declare("model", "", "folder written by `pad train`")
        self._device = declare("device", "auto", "where to render", choices=("auto", "cpu", "cuda"))
        self.queue_size = declare(
            "queue_size", 4, "frames that may wait; further ones are HOLD (DROPPED)", limits=(1, 1000)
        )
        self.depth = declare("depth", 5, "QoS depth of what is published and handed on", limits=(1, 1000))
        if not path:
            self.destroy_node()
            raise PadError(
                f"{name}: no model given; start it with --ros-args -p model:=FOLDER (as `pad train` wrote it)"
            )
        self.inspector: Inspector | None = None
        self.worker = Worker(self.queue_size, lambda error: self.get_logger().error(f"{type(error).__name__}: {error}"))
        self.services_group = MutuallyExclusiveCallbackGroup()
        self.create_service(LoadModel, self.load_model_service, self._on_load_model, callback_group=self.services_group)
        problem = self.load(path)
        if problem:
            self.get_logger().error(f"{problem}; every frame is HOLD until load_model succeeds")

    def load(self, path: str) -> str:
        """Change the model; returns why that failed ("": it did not). The old one stays until the new one is ready."""
        try:
            inspector = self._load(Path(path), self._device)
            inspector.warm_up()
        except Exception as error:  # a bundle is foreign data: nothing in it may end the node
            return str(error) if isinstance(error, PadError) else f"{type(error).__name__}: {error}"
        self.inspector = inspector
        return ""

    def describe(self) -> str:
        """One line for people: which model on which device."""
        if self.inspector is None:
            return "no model"
        return f"model {self.inspector.model.name} ({self.inspector.model.hash[:12]}) on {self.inspector.device}"

    def close(self) -> None:
        self.worker.close()
        self.destroy_node()

    def _on_load_model(self, request: LoadModel.Request, response: LoadModel.Response) -> LoadModel.Response:
        problem = self.load(request.path)
        response.success = not problem
        response.message = problem or self.describe()
        self.get_logger().info(f"load_model {request.path}: {response.message}")
        if self.inspector is not None:
            response.model_name = self.inspector.model.name
            response.model_hash = self.inspector.model.hash
        return response


def run(make: Callable[[], Node]) -> int:
    """Spin the node until SIGINT, SIGTERM or shutdown; the exit status of the process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # rclpy shuts down on it, but then calls this
    rclpy.init()
    try:
        node = make()
    except PadError as error:
        print(f"pad_ros: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return error.exit_status
    executor = MultiThreadedExecutor(num_threads=THREADS)
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.add_node(node)
        about = f": {node.describe()}" if hasattr(node, "describe") else ""
        print(f"{node.get_fully_qualified_name()} ready{about}", flush=True)
        while rclpy.ok():
            try:
                executor.spin()
            except (KeyboardInterrupt, ExternalShutdownException):
                break
            except Exception as error:  # e.g. a message that cannot be deserialized
                node.get_logger().error(f"{type(error).__name__}: {error}")
                time.sleep(0.01)
    executor.shutdown(timeout_sec=2)
    if hasattr(node, "close"):
        node.close()
    rclpy.try_shutdown()
    return 0
