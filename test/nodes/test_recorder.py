"""The recorder node: results and pictures of a running cell end in the history, and approved models in the cell."""

import subprocess
import sys

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")
pytest.importorskip("sqlalchemy", reason="the packages of the extra `station` are not installed")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from fake_inspector import write_bundle  # noqa: E402
from pad_ros.msg import InspectionResult  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from sqlalchemy import insert, select  # noqa: E402

from pad_ros.errors import InputError  # noqa: E402
from pad_ros.imaging import images  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.recorder import RecorderNode  # noqa: E402
from pad_ros.nodes.support.convert import image_to_rgb  # noqa: E402
from pad_ros.nodes.support.outputs import RendererOutput, ScorerOutput  # noqa: E402
from pad_ros.station import registry  # noqa: E402
from pad_ros.station import writer as writing  # noqa: E402
from pad_ros.station.database import open_history  # noqa: E402
from pad_ros.station.picture_store import decode_heatmap  # noqa: E402
from pad_ros.station.place import Place  # noqa: E402
from pad_ros.station.schema import KEPT, PENDING, approvals, cells, models, pictures, results  # noqa: E402

GOOD, DEFECT, EMPTY = 75, 200, 0


@pytest.fixture
def record(graph, tmp_path, monkeypatch):
    """Adds a recorder to a cell; gives it, a publisher of images, and the station's place."""
    monkeypatch.setattr(writing, "REPORT", 0.2)
    place = Place(tmp_path / "station")

    def add(**parameters):
        graph.add(CellNode, namespace="left", free_running="every", frozen_check=False)
        node = RecorderNode(overrides={"station": str(place.folder), **parameters}, namespace="left")
        graph.add_node(node)
        publisher = graph.publisher(Image, "left/image_raw")
        topics = ("left/result", "left/image_raw", "left/reference", "left/heatmap")
        graph.wait(lambda: all(node.count_publishers(f"/{topic}") for topic in topics), "the topics")
        graph.settle()
        return node, publisher, place

    return add


def rows(place, table):
    with open_history(place).connect() as connection:
        return connection.execute(select(table).order_by(*table.primary_key.columns)).all()


def test_results_and_pictures_of_a_cell_are_kept(graph, record):
    node, publisher, place = record(keep_random=0.0, keep_lowest_p=0.0)
    frames = [graph.image(red) for red in (GOOD, DEFECT, EMPTY)]
    for i, frame in enumerate(frames):
        publisher.publish(frame)
        graph.wait(lambda i=i: node.writer.status().committed == i + 1, "the result to be kept")
    graph.wait(lambda: not [row for row in rows(place, results) if row.picture_state == PENDING], "the pictures")
    found = {row.verdict: row for row in rows(place, results)}
    assert sorted(found) == [0, 1, 2]
    assert {row.cell for row in found.values()} == {"left"}
    reject = found[InspectionResult.REJECT]
    assert reject.model_name == "fake" and reject.score > reject.threshold and reject.total_ms > 0
    kept = {(row.result_id, row.kind): row for row in rows(place, pictures)}
    assert {kind for key, kind in kept if key == reject.id} == {"query", "reference", "heatmap", "overlay"}
    assert {kind for key, kind in kept if key == found[InspectionResult.HOLD].id} == {"query"}
    assert not [key for key, _ in kept if key == found[InspectionResult.PASS].id]
    query = images.load(place.pictures / kept[reject.id, "query"].path)
    assert (query == image_to_rgb(frames[1])).all()
    heatmap = kept[reject.id, "heatmap"]
    assert decode_heatmap((place.pictures / heatmap.path).read_bytes(), heatmap.unit).max() == pytest.approx(
        reject.score, rel=0.01
    )


def test_the_verdict_goes_out_before_any_picture(graph, record, monkeypatch):
    """Who looks at pictures must not make the verdict late."""
    order = []
    for kind in (RendererOutput, ScorerOutput):
        original = kind.publish

        def publish(self, *given, original=original, kind=kind):
            order.append(kind)
            original(self, *given)

        monkeypatch.setattr(kind, "publish", publish)
    node, publisher, _ = record(pictures=False)
    publisher.publish(graph.image(GOOD))
    graph.wait(lambda: node.writer.status().committed == 1, "the result")
    graph.wait(lambda: order == [ScorerOutput, RendererOutput], "verdict and pictures")


def test_a_recorder_that_comes_late_or_again_misses_and_doubles_nothing(graph, record):
    node, publisher, place = record(pictures=False)
    publisher.publish(graph.image(GOOD))
    graph.wait(lambda: node.writer.status().committed == 1, "the result")
    again = RecorderNode(overrides={"station": str(place.folder), "pictures": False}, namespace="left")
    graph.add_node(again)
    graph.wait(lambda: again.writer.status().committed == 1, "the result that the cell kept")
    publisher.publish(graph.image(GOOD))
    graph.wait(lambda: again.writer.status().committed == 2, "the second result")
    graph.wait(lambda: node.writer.status().committed == 2, "the second result")
    assert len(rows(place, results)) == 2


def test_a_result_whose_pictures_do_not_come_is_kept_without_them(graph, record):
    node, publisher, place = record(image_transport="compressed", picture_wait=0.3)
    publisher.publish(graph.image(DEFECT))
    graph.wait(lambda: node.writer.status().committed == 1, "the result")
    assert rows(place, results)[0].picture_state == PENDING, "the result waits for no picture"
    graph.wait(lambda: rows(place, results)[0].picture_state == KEPT, "the pictures")
    assert {row.kind for row in rows(place, pictures)} == {"reference", "heatmap"}


def test_the_cell_loads_a_model_that_was_approved_and_its_answer_is_kept(graph, record, tmp_path):
    _, _, place = record()
    other = write_bundle(tmp_path / "other", "other")
    engine = open_history(place)
    with engine.begin() as connection:
        for name, digest in (("other", "other-hash"), ("wrong", "wrong-hash")):
            connection.execute(
                insert(models).values(hash=digest, name=name, folder=str(other), added_ns=0, added_by="eva",
                                      summary='{"scores": [1.0, 2.0], "lines": []}')
            )  # fmt: skip
    registry.approve(engine, place, "left", "other-hash", "eva")
    graph.wait(lambda: rows(place, approvals)[0].answer, "the cell's answer")
    assert rows(place, approvals)[0].answer.startswith("loaded")
    registry.approve(engine, place, "left", "wrong-hash", "eva")
    graph.wait(lambda: rows(place, approvals)[1].answer, "the cell's answer")
    assert rows(place, approvals)[1].answer.startswith("refused")


def test_the_state_of_the_cell_and_p_value_and_sharpness_are_kept(graph, record):
    node, publisher, place = record(pictures=False)
    publisher.publish(graph.image(GOOD))
    graph.wait(lambda: node.writer.status().committed == 1, "the result")
    (row,) = rows(place, results)
    assert (row.p_value, row.sharpness) == (0.5, 1.0)
    graph.wait(lambda: "left/cell" in str(rows(place, cells)), "the cell's state")


def test_a_lost_database_is_an_error_in_the_diagnostics(graph, record):
    node, publisher, place = record(pictures=False)
    publisher.publish(graph.image(GOOD))
    graph.wait(lambda: node.writer.status().committed == 1, "the result")
    said = graph.listen(DiagnosticArray, "/diagnostics")
    place.folder.rename(place.folder.with_name("unmounted"))
    publisher.publish(graph.image(GOOD))
    graph.wait(
        lambda: any(s.level == b"\x02" and "cannot be written" in s.message for m in said for s in m.status), "an error"
    )
    place.folder.with_name("unmounted").rename(place.folder)
    graph.wait(lambda: node.writer.status().committed == 2, "the second result")
    assert len(rows(place, results)) == 2


def test_without_a_station_it_does_not_start(graph):
    with pytest.raises(InputError, match="parameter station"):
        RecorderNode()
    command = [sys.executable, "-m", "pad_ros.nodes.recorder", "--ros-args", "-p", "station:=/proc/nothing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "no station can be kept there" in done.stderr
