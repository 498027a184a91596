"""How nodes run: the executor, and what `main` of each node does.

Without the libraries of the method: the watchdog must start fast and stay small.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import (
    ConditionReachedException,
    Executor,
    ExternalShutdownException,
    ShutdownException,
    TimeoutException,
)
from rclpy.node import Node
from rclpy.task import Task

from ...errors import PadError

BLOCKING_THREADS = 2  # load_model and inspect


class BlockingCallbacks(MutuallyExclusiveCallbackGroup):
    """For callbacks that wait or take seconds: `NodeExecutor` runs them in a thread of their own."""


class NodeExecutor(Executor):
    """Runs callbacks in the thread that spins, but those of a `BlockingCallbacks` group in others.

    rclpy's MultiThreadedExecutor hands every message to another thread while it gathers what to wait for next; on
    two cores that costs an 800x800 frame and its result some 4 ms more (benchmarks/ros_overhead.py).
    """

    def __init__(self) -> None:
        super().__init__()
        self._background = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="blocking")

    def spin_once(self, timeout_sec: float | None = None) -> None:
        try:
            task, entity, node = self.wait_for_ready_callbacks(timeout_sec)
        except (ExternalShutdownException, ShutdownException, TimeoutException, ConditionReachedException):
            return
        if isinstance(getattr(entity, "callback_group", None), BlockingCallbacks):
            self._background.submit(_run_blocking, task, node)
            return
        task()
        task.result()  # raises what the callback raised

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        self._background.shutdown(wait=False)
        return bool(super().shutdown(timeout_sec))


def _run_blocking(task: Task, node: Node) -> None:
    task()
    error = task.exception()
    if error is not None:
        node.get_logger().error(f"{type(error).__name__}: {error}")


class FirstInterrupt:
    """Handler of SIGINT and SIGTERM: the first one raises KeyboardInterrupt, later ones do not disturb the node's end.

    `ros2 launch` sends a second SIGINT to a node that has got one from the terminal already.
    """

    def __init__(self) -> None:
        self.ending = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)  # before rclpy.init: rclpy shuts down by itself, then calls this

    def __call__(self, number: int, frame: object) -> None:
        if not self.ending:
            self.ending = True
            raise KeyboardInterrupt


def run(*makers: Callable[[], Node]) -> int:
    """Spin the nodes until SIGINT, SIGTERM, shutdown or a PadError; the exit status of the process."""
    interrupt, status = FirstInterrupt(), 0
    nodes: list[Any] = []
    executor: NodeExecutor | None = None
    try:
        rclpy.init()
        for make in makers:
            nodes.append(make())
        executor = NodeExecutor()
        _spin(executor, nodes)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except PadError as error:  # wrong parameters, or what the node cannot go on without, e.g. a full disk
        print(f"pad_ros: {error}", file=sys.stderr)
        status = error.exit_status
    interrupt.ending = True
    if executor is not None:
        executor.shutdown(timeout_sec=2)
    for node in nodes:
        try:
            if hasattr(node, "close"):
                node.close()
        except PadError as error:  # what was recorded did not all reach the disk
            if not status:
                print(f"pad_ros: {error}", file=sys.stderr)
            status = status or error.exit_status
    with suppress(RuntimeError):  # RCLError: rclpy's own handler of the signal has shut down at this very moment
        rclpy.try_shutdown()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # Python sets others back to the default before it is done
    return status


def _spin(executor: NodeExecutor, nodes: Sequence[Node]) -> None:
    for node in nodes:
        executor.add_node(node)
        about = f": {node.describe()}" if hasattr(node, "describe") else ""
        print(f"{node.get_fully_qualified_name()} ready{about}", flush=True)
    while rclpy.ok():
        try:
            executor.spin()
        except (ExternalShutdownException, PadError):
            raise
        except Exception as error:  # e.g. a message that cannot be deserialized
            nodes[0].get_logger().error(f"{type(error).__name__}: {error}")
            time.sleep(0.01)
