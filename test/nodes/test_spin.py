"""The executor: callbacks in order in the spinning thread, and what may take long beside it."""

import signal
import threading

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from lifecycle_msgs.srv import GetState  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402

from pad_ros.nodes.support.qos import reliable  # noqa: E402
from pad_ros.nodes.support.spin import BlockingCallbacks, NodeExecutor, run  # noqa: E402


@pytest.fixture
def node():
    rclpy.init()
    node = Node("slow_and_fast")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def test_frames_are_taken_while_a_call_waits_aside(node):
    free, threads = threading.Event(), {}

    def slow(request, response):
        threads["slow"] = threading.current_thread()
        assert free.wait(20)
        return response

    def fast(msg):
        threads["fast"] = threading.current_thread()
        free.set()

    node.create_service(GetState, "slow", slow, callback_group=BlockingCallbacks())
    node.create_subscription(Bool, "fast", fast, reliable(5))
    client, publisher = node.create_client(GetState, "slow"), node.create_publisher(Bool, "fast", reliable(5))
    executor = NodeExecutor()
    executor.add_node(node)
    assert client.wait_for_service(20)
    answer = client.call_async(GetState.Request())
    for _ in range(2000):
        executor.spin_once(timeout_sec=0.01)
        if "slow" in threads and "fast" not in threads:
            publisher.publish(Bool())
        if answer.done():
            break
    executor.shutdown(timeout_sec=5)
    assert answer.done() and threads["fast"] is threading.current_thread() is not threads["slow"]


def test_a_shutdown_at_the_same_moment_disturbs_no_end(monkeypatch):
    """rclpy shuts down in a thread of its own when a signal comes, and may do so between its check and ours."""

    def interrupted() -> Node:
        raise KeyboardInterrupt

    def at_the_same_moment() -> None:
        rclpy.shutdown()
        rclpy.shutdown()

    monkeypatch.setattr(rclpy, "try_shutdown", at_the_same_moment)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert run(interrupted) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_what_a_callback_raises_comes_out_of_spin_and_aside_it_is_logged(node, monkeypatch):
    def fail(*_):
        raise RuntimeError("no")

    logged = threading.Event()
    monkeypatch.setattr(
        type(node.get_logger()), "error", lambda self, text: "RuntimeError: no" in text and logged.set()
    )
    node.create_service(GetState, "aside", fail, callback_group=BlockingCallbacks())
    client = node.create_client(GetState, "aside")
    executor = NodeExecutor()
    executor.add_node(node)
    assert client.wait_for_service(20)
    client.call_async(GetState.Request())
    for _ in range(2000):
        executor.spin_once(timeout_sec=0.01)
        if logged.is_set():
            break
    assert logged.is_set()
    node.create_timer(0.001, fail)
    with pytest.raises(RuntimeError, match="no"):
        for _ in range(2000):
            executor.spin_once(timeout_sec=0.01)
    executor.shutdown(timeout_sec=5)
