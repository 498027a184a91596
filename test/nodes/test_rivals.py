"""Two nodes that publish one `result`: said once, and not of a watchdog or of one that was killed and started anew."""

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import InspectionResult  # noqa: E402
from rclpy.node import Node  # noqa: E402

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.support import rivals  # noqa: E402
from pad_ros.nodes.watchdog import WatchdogNode  # noqa: E402

TWICE = "another node /cell publishes /result and answers the same services"


@pytest.fixture
def standing(monkeypatch):
    """How long another publisher may be there unnoticed, and what the looks at the graph then say of a node."""
    monkeypatch.setattr(rivals, "LOOK", 0.05)
    monkeypatch.setattr(rivals, "STANDING", 0.2)


def message(node):
    return node.health.status()[1]


def test_a_second_cell_of_the_same_name_is_said_by_both_and_only_while_it_is_there(graph, standing, capfd):
    first, second = graph.add(CellNode), graph.add(CellNode)
    for node in (first, second):
        graph.wait(lambda node=node: TWICE in message(node), "the warning")
    graph.settle()
    assert capfd.readouterr().err.count(TWICE) == 2  # once each
    second.trigger_deactivate()
    second.trigger_cleanup()
    graph.wait(lambda: message(first) == "active", "the end of the warning")


def test_another_publisher_is_named_and_the_watchdog_is_none(graph, standing):
    cell = graph.add(CellNode)
    graph.add_node(WatchdogNode(overrides={}))
    graph.wait_matched("result", publishers=2)
    graph.settle()
    assert message(cell) == "active"
    other = graph.add_node(Node("scorer"))
    other.create_publisher(InspectionResult, "result", 10)
    graph.wait(lambda: "/scorer publishes /result beside cell" in message(cell), "the warning")


def test_cells_in_namespaces_of_their_own_are_no_rivals(graph, standing):
    cells = [graph.add(CellNode, namespace=name) for name in ("left", "right")]
    for name in ("left", "right"):
        graph.wait_matched(f"{name}/result")
    graph.settle()
    assert [message(cell) for cell in cells] == ["active", "active"]


def test_one_that_is_still_listed_after_it_was_killed_is_not_warned_of(graph, monkeypatch):
    monkeypatch.setattr(rivals, "LOOK", 0.05)
    cell = graph.add(CellNode)
    before = graph.add_node(Node("cell"))
    before.create_publisher(InspectionResult, "result", 10)
    graph.wait_matched("result", publishers=2)
    assert rivals.STANDING > 20.0 and message(cell) == "active"
