"""The watchdog answers what nobody else answers, once, and says so in /diagnostics."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from fake_inspector import FakeInspector  # noqa: E402
from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.msg import Trigger  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.watchdog import WatchdogNode  # noqa: E402


def add(graph, **overrides):
    return graph.add_node(WatchdogNode(overrides=overrides))


def test_an_image_without_verdict_is_held(graph):
    add(graph, deadline=0.3)
    results, diagnostics = graph.results(), graph.listen(DiagnosticArray, "/diagnostics")
    graph.wait_matched("result")
    message = graph.image(75)
    graph.publisher(Image, "image_raw").publish(message)
    graph.wait(lambda: bool(results), "a result")
    graph.settle()
    (result,) = results
    assert (result.verdict, result.reason) == (R.HOLD, R.TIMEOUT)
    assert result.reason_text
    assert result.header.stamp == message.header.stamp

    def reported() -> bool:
        return any(
            s.level == DiagnosticStatus.ERROR and "1 verdicts missed" in s.message
            for m in diagnostics
            for s in m.status
        )

    graph.wait(reported, "an error in /diagnostics")


def test_a_trigger_without_verdict_is_held(graph):
    add(graph, deadline=0.3, triggered=True)
    results = graph.results()
    graph.wait_matched("result")
    graph.publisher(Trigger, "trigger").publish(Trigger(part_id="A1"))
    graph.wait(lambda: bool(results), "a result")
    assert (results[0].part_id, results[0].reason) == ("A1", R.TIMEOUT)


def test_with_a_verdict_in_time_it_stays_silent(graph):
    add(graph, deadline=3.0)
    graph.add(CellNode)
    results = graph.results()
    graph.wait_matched("result", publishers=2)
    images = graph.publisher(Image, "image_raw")
    graph.wait(lambda: images.get_subscription_count() == 2, "cell and watchdog")
    images.publish(graph.image(75))
    graph.wait(lambda: bool(results), "a result")
    for _ in range(12):  # longer than the deadline
        graph.settle()
    assert [r.verdict for r in results] == [R.PASS]


def test_a_frame_that_the_watchdog_answered_is_not_answered_again(graph, monkeypatch):
    import threading

    gate = threading.Event()
    localize = FakeInspector.localize
    monkeypatch.setattr(FakeInspector, "localize", lambda self, *args: (gate.wait(20), localize(self, *args))[1])
    add(graph, deadline=0.3)
    graph.add(CellNode, deadline=0.3)
    results = graph.results()
    graph.wait_matched("result", publishers=2)
    images = graph.publisher(Image, "image_raw")
    graph.wait(lambda: images.get_subscription_count() == 2, "cell and watchdog")
    images.publish(graph.image(75))
    graph.wait(lambda: bool(results), "the watchdog's result")
    graph.settle()
    gate.set()
    graph.settle()
    graph.settle()
    assert [(r.verdict, r.reason) for r in results] == [(R.HOLD, R.TIMEOUT)]
