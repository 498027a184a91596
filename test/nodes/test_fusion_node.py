"""The fusion node: one part-level result for the views of a part, with markers and cloud in the part frame."""

import numpy as np
import pytest
from fake_inspector import FakeInspector

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from types import SimpleNamespace  # noqa: E402

from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.msg import PartResult, Trigger  # noqa: E402
from sensor_msgs.msg import Image, PointCloud2  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from pad_ros.nodes import fusion  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.fusion import FusionNode  # noqa: E402
from pad_ros.nodes.support.cloud import cloud_message, read_cloud  # noqa: E402

GOOD, DEFECT, EMPTY = 75, 200, 0


@pytest.fixture
def cell_and_fusion(graph, monkeypatch):
    """A triggered cell and the fusion node on the surface that the fake rendering shows."""

    def surface(*_):
        rendering = FakeInspector("x").render(SimpleNamespace(camera=fake.CAMERA), SimpleNamespace(pose=fake.POSE))
        rows, columns = np.nonzero(rendering.alpha)
        pixels = np.stack([columns, rows], axis=1) + 0.5
        return rendering.pose.inverse().transform(fake.CAMERA.rays(pixels) * 3)

    import fake_inspector as fake

    monkeypatch.setattr(fusion, "part_surface", surface)

    def add(**parameters):
        cell = graph.add(CellNode, triggered=True, trigger_timeout=20.0)
        node = graph.add(FusionNode, **parameters)
        for each in (cell, node):
            each.inspector.model.calibration = SimpleNamespace(threshold=1.0, false_reject_rate=0.01, scores=[])
        parts = graph.listen(PartResult, "part_result")
        graph.results()
        graph.wait_matched("result")
        graph.wait(lambda: graph.tester.count_subscribers("anomaly_cloud") > 0, "the fusion node")
        return node, parts, Views(graph, cell)

    return add


class Views:
    def __init__(self, graph, cell) -> None:
        self.graph, self.cell = graph, cell
        self.images, self.triggers = graph.publisher(Image, "image_raw"), graph.publisher(Trigger, "trigger")

    def __call__(self, part_id, *reds):
        """Inspect views of a part."""
        results = self.graph.received["result"]
        for red in reds:
            before = len(results)
            self.graph.trigger(self.triggers, Trigger(part_id=part_id), self.cell)
            self.images.publish(self.graph.image(red))
            self.graph.wait(lambda before=before: len(results) > before, "a result")


def test_a_part_is_judged_when_all_views_are_in(graph, cell_and_fusion):
    _, parts, inspect = cell_and_fusion(views=2)
    clouds, arrays = graph.listen(PointCloud2, "part_cloud"), graph.listen(MarkerArray, "part_defects")
    graph.wait_matched("part_cloud")
    inspect("A1", GOOD)
    graph.settle()
    assert not parts
    inspect("A1", GOOD)
    graph.wait(lambda: len(parts) == 1, "the part's result")
    (part,) = parts
    assert (part.part_id, part.verdict, part.reason, part.views) == ("A1", R.PASS, R.NONE, 2)
    assert (part.model_name, part.header.frame_id, part.score) == ("fake", "part", 0.5)
    assert part.coverage == pytest.approx(1.0)
    inspect("A2", DEFECT, GOOD)
    graph.wait(lambda: len(parts) == 2 and len(arrays) == 2 and len(clouds) == 2, "the second part")
    assert (parts[1].part_id, parts[1].verdict, parts[1].views_rejected) == ("A2", R.REJECT, 1)
    (defect,) = parts[1].defects
    assert (defect.views, defect.views_above) == (2, 1)
    assert arrays[0].markers[0].action == Marker.DELETEALL and len(arrays[0].markers) == 1
    sphere = arrays[1].markers[1]
    assert (sphere.type, sphere.header.frame_id) == (Marker.SPHERE, "part")
    points, anomaly = read_cloud(clouds[1])
    assert anomaly.max() == pytest.approx(DEFECT / 150)
    place = np.array([sphere.pose.position.x, sphere.pose.position.y, sphere.pose.position.z])
    hottest = points[anomaly > 1].mean(axis=0)
    assert np.linalg.norm(place - hottest) < 0.05


def test_agreement_of_two_views(graph, cell_and_fusion):
    _, parts, inspect = cell_and_fusion(views=2, agreeing=2)
    inspect("A1", DEFECT, GOOD)
    inspect("A2", DEFECT, DEFECT)
    graph.wait(lambda: len(parts) == 2, "two parts")
    assert [p.verdict for p in parts] == [R.PASS, R.REJECT]
    assert "not confirmed" in parts[0].reason_text


def test_a_held_view_holds_the_part(graph, cell_and_fusion):
    _, parts, inspect = cell_and_fusion(views=2)
    inspect("A1", GOOD, EMPTY)
    graph.wait(lambda: len(parts) == 1, "the part's result")
    assert (parts[0].verdict, parts[0].reason, parts[0].views_held) == (R.HOLD, R.NOT_LOCALIZED, 1)


def test_missing_views_are_hold_after_the_timeout(graph, cell_and_fusion):
    _, parts, inspect = cell_and_fusion(views=3, part_timeout=0.4)
    inspect("A1", GOOD)
    graph.wait(lambda: len(parts) == 1, "the part's result")
    assert (parts[0].verdict, parts[0].reason) == (R.HOLD, R.DROPPED)


def test_the_next_part_ends_the_one_before(graph, cell_and_fusion):
    _, parts, inspect = cell_and_fusion(part_timeout=60.0)
    inspect("A1", GOOD, GOOD, GOOD)
    inspect("A2", GOOD)
    graph.wait(lambda: len(parts) == 1, "the part's result")
    assert (parts[0].part_id, parts[0].views, parts[0].verdict) == ("A1", 3, R.PASS)


def test_another_model_never_passes(graph, cell_and_fusion):
    node, parts, inspect = cell_and_fusion(views=1)
    node.inspector.model.hash = "another"
    inspect("A1", GOOD)
    graph.wait(lambda: len(parts) == 1, "the part's result")
    assert (parts[0].verdict, parts[0].reason) == (R.HOLD, R.NO_MODEL)


def test_deactivation_judges_what_has_come(graph, cell_and_fusion):
    node, parts, inspect = cell_and_fusion(views=3, part_timeout=60.0)
    inspect("A1", DEFECT)
    graph.settle()
    node.trigger_deactivate()
    graph.wait(lambda: len(parts) == 1, "the part's result")
    assert parts[0].verdict == R.REJECT


def test_without_a_model_each_part_is_hold(graph, tmp_path):
    graph.add(FusionNode, model=str(tmp_path / "nothing"), views=1)
    parts = graph.listen(PartResult, "part_result")
    graph.wait_matched("part_result")
    results = graph.publisher(R, "result")
    results.publish(R(part_id="A1", verdict=R.PASS))
    graph.wait(lambda: bool(parts), "the part's result")
    assert (parts[0].verdict, parts[0].reason) == (R.HOLD, R.NO_MODEL)


# ---- results as anybody may send them: one stamp for several views, late, repeated, not finite ----


@pytest.fixture
def by_hand(graph, cell_and_fusion):
    """The fusion node, its part results, and publishers in place of the cell's."""

    def add(**parameters):
        node, parts, _ = cell_and_fusion(**parameters)
        results, clouds = graph.publisher(R, "result"), graph.publisher(PointCloud2, "anomaly_cloud")

        def send(part_id, verdict=R.PASS, trigger=0, stamp=0, score=0.5, cloud=True):
            message = R(part_id=part_id, verdict=verdict, score=score, model_hash="fake-hash", threshold=1.0)
            message.reason = {R.PASS: R.NONE, R.REJECT: R.ANOMALY}.get(verdict, R.TIMEOUT)
            message.reason_text = "by hand"
            message.trigger_stamp.sec, message.header.stamp.sec = trigger, stamp
            results.publish(message)
            if cloud and verdict != R.HOLD:
                anomaly = np.full(len(node._surface), 2.0 if verdict == R.REJECT else 0.5, np.float32)
                colours = np.zeros((len(anomaly), 3), np.uint8)
                clouds.publish(cloud_message(node._surface.points, anomaly, colours, message.header.stamp, "part"))
            graph.settle()

        return node, parts, send

    return add


@pytest.mark.parametrize("stamp", [0, 5])
@pytest.mark.parametrize("first, second", [(R.REJECT, R.PASS), (R.PASS, R.REJECT)])
def test_two_views_with_one_stamp_or_none_are_two(graph, by_hand, stamp, first, second):
    _, parts, send = by_hand(views=2)
    send("A1", first, trigger=1, stamp=stamp)
    send("A1", second, trigger=2, stamp=stamp)
    graph.wait(lambda: bool(parts), "the part's result")
    assert (parts[0].verdict, parts[0].views, parts[0].views_rejected) == (R.REJECT, 2, 1)


def test_views_of_one_stamp_that_wait_for_their_clouds_are_not_overwritten(graph, by_hand):
    _, parts, send = by_hand(views=2, cloud_wait=30.0, agreeing=2)
    send("A1", R.REJECT, trigger=1, stamp=5, cloud=False)
    send("A1", R.PASS, trigger=2, stamp=5)
    graph.wait(lambda: bool(parts), "the part's result")
    assert parts[0].verdict == R.REJECT and "by hand" in parts[0].reason_text


def test_two_parts_with_one_stamp_keep_their_verdicts(graph, by_hand):
    _, parts, send = by_hand(views=1, cloud_wait=30.0)
    send("A1", R.REJECT, trigger=1, stamp=5, cloud=False)
    send("A2", R.PASS, trigger=1, stamp=5)
    graph.wait(lambda: len(parts) == 2, "both parts")
    assert {p.part_id: p.verdict for p in parts} == {"A1": R.REJECT, "A2": R.HOLD}  # nobody knows whose the cloud was


def test_a_score_that_is_no_number_is_hold(graph, by_hand):
    _, parts, send = by_hand(views=1)
    send("A1", R.PASS, trigger=1, stamp=1, score=float("nan"))
    graph.wait(lambda: bool(parts), "the part's result")
    assert (parts[0].verdict, parts[0].reason) == (R.HOLD, R.INTERNAL_ERROR)


def test_views_without_anything_judged_are_hold(graph, by_hand):
    _, parts, send = by_hand(views=2, cloud_wait=0.1)
    for trigger in (1, 2):
        send("A1", R.PASS, trigger=trigger, stamp=trigger, cloud=False)
    graph.wait(lambda: bool(parts), "the part's result")
    assert (parts[0].verdict, parts[0].reason) == (R.HOLD, R.OUTSIDE_COVERAGE)


def test_a_decided_part_stays_decided_and_a_late_view_is_reported(graph, by_hand):
    node, parts, send = by_hand(views=1)
    send("A1", R.PASS, trigger=1, stamp=1)
    graph.wait(lambda: len(parts) == 1, "the part's result")
    send("A1", R.REJECT, trigger=2, stamp=2)
    graph.settle()
    assert [p.verdict for p in parts] == [R.PASS]
    level, text, values = node.health.status()
    assert values["late_views"] == 1 and "came after its decision: REJECT" in text and level != b"\x00"


def test_a_part_that_is_shown_again_is_judged_again(graph, by_hand):
    node, parts, send = by_hand(views=1)
    send("A1", R.PASS, trigger=1, stamp=1)
    graph.wait(lambda: len(parts) == 1, "the part's result")
    later = node.get_clock().now().nanoseconds // 10**9 + 5
    send("A1", R.REJECT, trigger=later, stamp=later)
    graph.wait(lambda: len(parts) == 2, "the second result")
    assert parts[1].verdict == R.REJECT


def test_a_result_that_comes_twice_counts_once(graph, by_hand):
    node, parts, send = by_hand(views=2)
    for _ in range(3):
        send("A1", R.PASS, trigger=1, stamp=1)
    assert not parts and node.health.status()[2]["repeated_results"] == 2
    send("A1", R.HOLD, trigger=1)  # a second answer to the same trigger holds, but is no second view
    assert not parts
    send("A1", R.PASS, trigger=2, stamp=2)
    graph.wait(lambda: bool(parts), "the part's result")
    assert (parts[0].verdict, parts[0].views, parts[0].views_held) == (R.HOLD, 2, 1)


def test_clouds_round_trip_and_foreign_ones_are_refused():
    points = np.random.default_rng(0).normal(size=(5, 3))
    values = np.arange(5, dtype=np.float32)
    colours = np.zeros((5, 3), np.uint8)
    cloud = cloud_message(points, values, colours, Header().stamp, "part")
    after, anomaly = read_cloud(cloud)
    np.testing.assert_allclose(after, points, atol=1e-6)
    np.testing.assert_array_equal(anomaly, values)
    cloud.data = cloud.data[:-1]
    with pytest.raises(ValueError, match="truncated"):
        read_cloud(cloud)
    with pytest.raises(ValueError, match="lacks x, y, z or anomaly"):
        read_cloud(PointCloud2())
