"""What `main` of each node does. Without the libraries of the method: the watchdog must start fast and stay small."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node

from ..errors import PadError

THREADS = 3  # of the executor: frames, services, timers; the heavy work has a thread of its own


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
