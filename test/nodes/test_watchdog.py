"""The watchdog answers what nobody else answers, once, and says so in /diagnostics."""

import math
import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from fake_inspector import FakeInspector  # noqa: E402
from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.msg import Trigger  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Bool, Header, UInt32  # noqa: E402

from pad_ros.decision.inspection import Inspection  # noqa: E402
from pad_ros.nodes import watchdog as watchdog_module  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.scorer import ScorerNode  # noqa: E402
from pad_ros.nodes.support.outputs import ScorerOutput  # noqa: E402
from pad_ros.nodes.support.qos import latched  # noqa: E402
from pad_ros.nodes.support.stages import Query, rejected  # noqa: E402
from pad_ros.nodes.watchdog import WatchdogNode  # noqa: E402
from pad_ros.verdicts import Reason  # noqa: E402


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
    assert result.reason_text and not result.model_hash
    assert math.isnan(result.score) and math.isnan(result.view_share) and math.isnan(result.light_change)
    assert result.pose.covariance[0] == -1 and result.total_ms == pytest.approx(300)
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


def stuck(monkeypatch):
    """An Inspector that localizes only when the gate is opened."""
    import threading

    gate = threading.Event()
    localize = FakeInspector.localize
    monkeypatch.setattr(FakeInspector, "localize", lambda self, *args: (gate.wait(20), localize(self, *args))[1])
    return gate


def triggered_line(graph, deadline):
    watchdog = add(graph, deadline=deadline, triggered=True)
    cell = graph.add(CellNode, triggered=True, trigger_timeout=20.0)
    results = graph.results()
    graph.wait_matched("result", publishers=2)
    images, triggers = graph.publisher(Image, "image_raw"), graph.publisher(Trigger, "trigger")
    graph.wait(lambda: triggers.get_subscription_count() == 2, "cell and watchdog")
    return watchdog, cell, images, triggers, results


def trigger(part_id, stamp=0):
    message = Trigger(part_id=part_id)
    message.header.stamp.sec = stamp
    return message


@pytest.mark.parametrize("stamp", [0, 7])
def test_a_trigger_that_the_watchdog_answered_is_not_answered_again(graph, monkeypatch, stamp):
    gate = stuck(monkeypatch)
    watchdog, cell, images, triggers, results = triggered_line(graph, 1.0)
    graph.trigger(triggers, trigger("A1", stamp), cell)
    images.publish(graph.image(75, seconds=stamp or None))
    graph.wait(lambda: bool(results), "the watchdog's answer")
    gate.set()
    graph.settle()
    assert [(r.part_id, r.reason, r.trigger_stamp.sec) for r in results] == [("A1", R.TIMEOUT, stamp)]
    graph.trigger(triggers, trigger("A1", stamp and stamp + 1), cell)  # the part is tried once more
    images.publish(graph.image(75, seconds=stamp + 1 if stamp else None))
    graph.wait(lambda: len(results) == 2, "the second answer")
    assert (results[1].part_id, results[1].verdict) == ("A1", R.PASS)
    assert not watchdog.questions


def test_a_line_whose_stage_was_killed_is_held_and_recovers(graph):
    watchdog, cell, images, triggers, results = triggered_line(graph, 2.0)
    graph.nodes.remove(cell)
    graph.executor.remove_node(cell)
    cell.close()
    graph.wait(lambda: watchdog.others() == 0, "the cell to be gone")
    triggers.publish(trigger("A1", 1))
    graph.wait(lambda: bool(results), "the watchdog's answer")
    assert (results[0].verdict, results[0].reason) == (R.HOLD, R.TIMEOUT)
    assert "no node publishes results" in results[0].reason_text
    cell = graph.add(CellNode, triggered=True, trigger_timeout=20.0)
    graph.wait(lambda: triggers.get_subscription_count() == 2, "the new cell")
    graph.wait_matched("result", publishers=2)
    graph.trigger(triggers, trigger("A2", 2), cell)
    images.publish(graph.image(75, seconds=2))
    graph.wait(lambda: len(results) == 2, "the new cell's answer")
    assert (results[1].part_id, results[1].verdict) == ("A2", R.PASS)


def test_an_answer_to_a_later_image_answers_the_superseded(graph, monkeypatch):
    gate = stuck(monkeypatch)
    watchdog = add(graph, deadline=5.0)
    graph.add(CellNode)
    results = graph.results()
    graph.wait_matched("result", publishers=2)
    images = graph.publisher(Image, "image_raw")
    graph.wait(lambda: images.get_subscription_count() == 2, "cell and watchdog")
    for _ in range(4):
        images.publish(graph.image(75))
        graph.settle()
    assert len(watchdog.questions) == 4
    gate.set()
    graph.wait(lambda: len(results) == 2, "results")
    graph.wait(lambda: not watchdog.questions, "all questions to be answered")


def answer(part_id: str) -> R:
    result = R(part_id=part_id, verdict=R.PASS, model_hash="abc")
    result.trigger_stamp.sec = 7
    return result


def ask(graph, part_id: str) -> None:
    trigger = Trigger(part_id=part_id)
    trigger.header.stamp.sec = 7
    graph.publisher(Trigger, "trigger").publish(trigger)


def test_an_answer_from_before_publisher_and_watchdog_knew_each_other_counts(graph):
    """A restarted cell is soon known to the light barrier, and maybe later to the watchdog."""
    watchdog = add(graph, deadline=2.0, triggered=True, result_nodes="tester")
    results = graph.results()
    ask(graph, "A1")
    graph.wait(lambda: bool(watchdog.questions), "the question")
    graph.tester.create_publisher(R, "result", latched(10)).publish(answer("A1"))
    graph.wait(lambda: not watchdog.questions, "the answer")
    assert not any(r.reason == R.TIMEOUT for r in results)


def test_what_was_answered_before_the_watchdog_began_answers_nothing(graph):
    """A bag that loops asks again with the same stamps."""
    graph.tester.create_publisher(R, "result", latched(10)).publish(answer("A1"))
    add(graph, deadline=0.5, triggered=True)
    results = graph.results()
    graph.wait_matched("result", publishers=2)
    ask(graph, "A1")
    graph.wait(lambda: any(r.reason == R.TIMEOUT for r in results), "HOLD")


def test_a_watchdog_that_has_just_begun_is_patient(graph, monkeypatch):
    """It may hear triggers seconds before it hears the cell, and must not answer what the cell has answered."""
    monkeypatch.setattr(watchdog_module, "SETTLING", 600.0)
    watchdog = add(graph, deadline=0.05, triggered=True, result_nodes="tester")
    results = graph.results()
    ask(graph, "A1")
    graph.wait(lambda: bool(watchdog.questions), "the question")
    graph.settle()
    graph.tester.create_publisher(R, "result", latched(10)).publish(answer("A1"))
    graph.wait(lambda: not watchdog.questions, "the answer")
    assert [r.reason for r in results] == [R.NONE]


def test_repeated_images_are_no_questions(graph):
    watchdog = add(graph, deadline=5.0)
    images = graph.publisher(Image, "image_raw")
    message = graph.image(75)
    for _ in range(3):
        images.publish(message)
    graph.settle()
    assert len(watchdog.questions) == 1


@pytest.mark.parametrize("red, passed", [(75, True), (200, False), (0, False)])
def test_line_signals(graph, red, passed):
    """In order: busy, then pass or fail, and valid last."""
    _, _, images, triggers, _ = triggered_line(graph, 5.0)
    heard: list[tuple[str, bool]] = []
    for name in ("busy", "valid", "pass", "fail"):
        graph.tester.create_subscription(
            Bool, f"line/{name}", lambda msg, name=name: heard.append((name, msg.data)), latched()
        )
    graph.wait(lambda: len(heard) == 4, "the levels at rest")
    assert not any(level for _, level in heard)
    heard.clear()
    triggers.publish(trigger("A1", 1))
    graph.wait(lambda: ("busy", True) in heard, "busy")
    images.publish(graph.image(red, seconds=1))
    graph.wait(lambda: ("valid", True) in heard, "valid")
    graph.settle()
    assert sorted(heard) == sorted(
        [("busy", True), ("busy", False), ("pass" if passed else "fail", True), ("valid", True)]
    )
    heard.clear()
    triggers.publish(trigger("A2", 2))
    graph.wait(lambda: ("busy", True) in heard, "busy")
    graph.wait(lambda: len(heard) == 3, "the others to fall")
    assert ("valid", False) in heard and ("pass" if passed else "fail", False) in heard


def test_a_missed_deadline_is_fail(graph):
    add(graph, deadline=0.3, triggered=True)
    levels: dict[str, bool] = {}
    for name in ("valid", "pass", "fail"):
        graph.tester.create_subscription(
            Bool, f"line/{name}", lambda msg, name=name: levels.update({name: msg.data}), latched()
        )
    graph.publisher(Trigger, "trigger").publish(trigger("A1", 1))
    graph.wait(lambda: levels.get("valid", False), "valid")
    assert levels["fail"] and not levels["pass"]


def test_the_heartbeat_counts(graph):
    add(graph)
    beats = graph.listen(UInt32, "line/alive")
    graph.wait(lambda: len(beats) > 3, "beats")
    assert [b.data for b in beats] == list(range(beats[0].data, beats[0].data + len(beats)))


def test_a_transient_local_subscriber_hears_every_timeout(graph):
    """The guide says to subscribe so; such a subscriber hears nothing of a volatile publisher."""
    add(graph, deadline=0.1, triggered=True)
    heard: list[R] = []
    graph.tester.create_subscription(R, "result", heard.append, latched(10))
    triggers = graph.publisher(Trigger, "trigger")
    for i in range(9):
        triggers.publish(trigger(f"A{i}", i + 1))
        graph.wait(lambda i=i: len(heard) > i, "HOLD")
    late: list[R] = []
    graph.tester.create_subscription(R, "result", late.append, latched(10))
    graph.wait(lambda: len(late) == 9, "what was said before")
    assert {r.reason for r in heard + late} == {R.TIMEOUT}


def test_everyone_publishes_results_with_one_qos(graph):
    add(graph)
    graph.add(CellNode)
    graph.add(ScorerNode)
    graph.wait(lambda: graph.tester.count_publishers("result") == 3, "three publishers")
    found = graph.tester.get_publishers_info_by_topic("result")
    assert {(i.qos_profile.durability, i.qos_profile.reliability) for i in found} == {
        (DurabilityPolicy.TRANSIENT_LOCAL, ReliabilityPolicy.RELIABLE)
    }


# ---- results that the gate must not believe ----


def levels_of(graph) -> dict[str, bool]:
    levels: dict[str, bool] = {}
    for name in ("valid", "pass", "fail"):
        graph.tester.create_subscription(
            Bool, f"line/{name}", lambda msg, name=name: levels.update({name: msg.data}), latched()
        )
    return levels


@pytest.mark.parametrize("namespace", ["", "elsewhere"])
def test_while_a_stranger_publishes_results_nothing_passes(graph, namespace):
    watchdog, cell, images, triggers, results = triggered_line(graph, 5.0)
    levels = levels_of(graph)
    impostor = graph.add_node(Node("impostor" if not namespace else "cell", namespace=namespace))
    publisher = impostor.create_publisher(R, "/result", latched(10))
    graph.wait_matched("result", publishers=3)
    forged = answer("A1")
    triggers.publish(trigger("A1", 7))
    graph.wait(lambda: bool(watchdog.questions), "the question")
    publisher.publish(forged)
    graph.wait(lambda: len(levels) == 3 and levels["valid"], "the answer")
    assert levels["fail"] and not levels["pass"]
    graph.trigger(triggers, trigger("A2", 8), cell)  # nobody can tell the cell's own results from forged ones
    images.publish(graph.image(75, seconds=8))
    graph.wait(lambda: not watchdog.questions, "the cell's answer")
    graph.settle()
    assert levels["fail"] and not levels["pass"]
    level, text, values = watchdog.health.status()
    assert level == DiagnosticStatus.ERROR and f"{namespace}/{impostor.get_name()} publishes results" in text
    assert values["untrusted"] >= 2


def test_a_stranger_who_has_left_is_forgotten(graph, monkeypatch):
    monkeypatch.setattr("pad_ros.nodes.support.publishers.PUBLISHER_MEMORY", 0.1)
    watchdog, cell, images, triggers, results = triggered_line(graph, 5.0)
    levels = levels_of(graph)
    publisher = graph.tester.create_publisher(R, "result", latched(10))
    graph.wait(lambda: "tester" in watchdog.publishers_of_results.problem(), "the stranger")
    graph.tester.destroy_publisher(publisher)
    graph.wait(lambda: not watchdog.publishers_of_results.problem(), "its end")
    graph.trigger(triggers, trigger("A1", 7), cell)
    images.publish(graph.image(75, seconds=7))
    graph.wait(lambda: len(levels) == 3 and levels["valid"], "the answer")
    assert levels["pass"]


@pytest.mark.parametrize("wanted, passed", [("", True), ("fake-hash", True), ("another-hash", False)])
def test_only_the_pinned_model_passes(graph, wanted, passed):
    watchdog, cell, images, triggers, results = triggered_line(graph, 5.0)
    watchdog.set_parameters([Parameter("model_hash", value=wanted)])
    levels = levels_of(graph)
    graph.trigger(triggers, trigger("A1", 7), cell)
    images.publish(graph.image(75, seconds=7))
    graph.wait(lambda: levels.get("valid", False), "the answer")
    graph.wait(lambda: "pass" in levels, "the level of pass")
    assert levels["pass"] is passed


def test_a_silent_camera_is_an_error(graph):
    watchdog = add(graph, silence=0.2)
    graph.wait(lambda: "no image for" in watchdog.health.status()[1], "an error")
    assert watchdog.health.status()[0] == DiagnosticStatus.ERROR


def test_a_verdict_so_late_that_answers_would_cross_is_left_to_the_watchdog(graph, monkeypatch):
    gate = stuck(monkeypatch)
    watchdog = add(graph, deadline=2.0)
    cell = graph.add(CellNode, deadline=0.05)
    results = graph.results()
    graph.wait_matched("result", publishers=2)
    images = graph.publisher(Image, "image_raw")
    graph.wait(lambda: images.get_subscription_count() == 2, "cell and watchdog")
    images.publish(graph.image(75))
    graph.wait(lambda: bool(watchdog.questions), "the question")
    graph.settle()
    graph.settle()  # beyond the deadline and its grace, before the watchdog's
    gate.set()
    graph.wait(lambda: cell.health.status()[2].get("frames") == 1, "the late verdict")
    assert not results
    graph.wait(lambda: bool(results), "the watchdog's answer")
    graph.settle()
    assert [(r.verdict, r.reason, r.model_hash) for r in results] == [(R.HOLD, R.TIMEOUT, "")]


def test_an_answer_of_the_watchdog_that_has_not_had_its_turn_is_heard(graph):
    """On a busy machine the executor may be a second behind the thread that gives the verdict."""
    node = Node("scorer")  # nobody spins it
    output = ScorerOutput(node, "part", 5, 0.0)
    results = graph.results()
    graph.wait_matched("result")
    answered, other = R(part_id="A1", reason=R.TIMEOUT), R(part_id="A2", verdict=R.REJECT)
    answered.trigger_stamp.sec = 7
    publisher = graph.tester.create_publisher(R, "result", latched(10))
    graph.wait(lambda: publisher.get_subscription_count() == 2, "scorer and tester")
    for message in (answered, other):
        publisher.publish(message)
    graph.wait(lambda: len(results) == 2, "both")
    graph.settle()
    for part in ("A1", "A3"):
        frame = rejected(Query(None, Header(), part, trigger_ns=7 * 10**9), Reason.DROPPED, "late")
        output.publish(frame, Inspection.hold(Reason.DROPPED, "late"), None)
    graph.wait(lambda: len(results) == 3, "the scorer's answer")
    graph.settle()
    assert [r.part_id for r in results] == ["A1", "A2", "A3"]
    node.destroy_node()


def test_the_watchdog_starts_without_the_libraries_of_the_method():
    code = "import sys, pad_ros.nodes.watchdog; print({'torch', 'numba', 'pad_ros.inspector'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"
