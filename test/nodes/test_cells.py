"""Several cells in one process: one set of models, one inspection at a time, each its own results."""

import threading
import time

import pytest
from fake_inspector import FakeInspector

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import InspectionResult as R  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from pad_ros.errors import InputError  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.cells import cell_makers, main  # noqa: E402


def test_two_cells_share_a_model_and_take_turns(graph, monkeypatch):
    busy, most, localize = [], [], FakeInspector.localize

    def slow(self, *args):
        busy.append(threading.get_ident())
        most.append(len(busy))
        time.sleep(0.05)
        busy.pop()
        return localize(self, *args)

    monkeypatch.setattr(FakeInspector, "localize", slow)
    left = graph.add(CellNode, namespace="left", free_running="every")
    given = {"model": str(graph.model), "free_running": "every"}
    right = CellNode(load=FakeInspector.load, overrides=given, namespace="right", models=left.models)
    graph.add_node(right)
    assert left.inspector is right.inspector
    sides = {}
    for side in ("left", "right"):
        sides[side] = graph.publisher(Image, f"/{side}/image_raw"), graph.listen(R, f"/{side}/result")
        graph.wait_matched(f"/{side}/result")
    for i in range(3):
        for red, (images, _) in zip((75, 160), sides.values()):
            images.publish(graph.image(red + i))
    graph.wait(lambda: all(len(results) == 3 for _, results in sides.values()), "three results of each")
    assert {r.verdict for r in sides["left"][1]} == {R.PASS} and {r.verdict for r in sides["right"][1]} == {R.REJECT}
    assert max(most) == 1 and len(most) == 6


@pytest.mark.parametrize("differs", [{"min_view_share": 0.5}, {"roi": "8,8,32,32"}, {"device": "cpu"}])
def test_cells_that_look_differently_do_not_share_an_inspector(graph, differs):
    """With that of the other a part half out of sight could pass."""
    left = graph.add(CellNode, namespace="left")
    given = {"model": str(graph.model), **differs}
    right = CellNode(load=FakeInspector.load, overrides=given, namespace="right", models=left.models)
    graph.add_node(right)
    assert right.problem == "" and right.inspector is not left.inspector


def test_namespaces_are_checked(capsys, monkeypatch):
    assert len(cell_makers(["left", "/right"])) == 2
    for names, text in (([], "give the namespace"), (["a", "/a"], "two cells"), (["two words"], "no namespace")):
        with pytest.raises(InputError, match=text):
            cell_makers(names)
    monkeypatch.setattr("sys.argv", ["cells", "--ros-args", "-p", "device:=cpu"])
    assert main() == 2
    assert capsys.readouterr().err.startswith("pad_ros: cells: give")
