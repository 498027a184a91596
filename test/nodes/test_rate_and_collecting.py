"""What may change while a cell runs: the rate of false rejects, and whether its images are kept."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_inspector import CAMERA, FakeInspector
from pad_ros.msg import InspectionResult as R
from pad_ros.msg import PartResult, Trigger
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image, PointCloud2

from pad_ros.errors import InputError
from pad_ros.io.good_images import read_good_images
from pad_ros.nodes import fusion
from pad_ros.nodes.cell import CellNode
from pad_ros.nodes.fusion import FusionNode
from pad_ros.nodes.support.cloud import cloud_message
from pad_ros.verdicts import Reason, Verdict

GOOD, DEFECT = 75, 200


class RatedInspector(FakeInspector):
    """Its threshold is 1 at the model's own rate, .01; at another one it is 100 times the rate."""

    def __init__(self, name, scene=None, rate=0.01):
        super().__init__(name, scene)
        self.threshold = 100 * rate
        self.model.calibration = SimpleNamespace(threshold=self.threshold, false_reject_rate=rate, scores=[])

    @staticmethod
    def load(path, device, scene=None):
        return RatedInspector("fake", scene)

    def at_rate(self, rate):
        if rate < 0.001:
            raise InputError(f"false_reject_rate {rate:g}: 20 scores of good parts support 0.001 to 0.5")
        return RatedInspector("fake", self.scene, rate)

    def score(self, query, localization, rendering):
        found = super().score(query, localization, rendering)
        verdict = (R.REJECT, R.ANOMALY) if found.score > self.threshold else (R.PASS, R.NONE)
        return replace(
            found, verdict=Verdict(verdict[0]), reason=Reason(verdict[1]), threshold=self.threshold, defects=()
        )


@pytest.fixture
def line(graph):
    def start(**overrides):
        node = CellNode(
            load=RatedInspector.load, overrides={"model": str(graph.model), **overrides}, namespace=""
        )  # fmt: skip
        graph.add_node(node)
        results = graph.results()
        graph.wait_matched("result")
        return node, graph.publisher(Image, "image_raw"), results

    return start


def answer(graph, images, results, red):
    before = len(results)
    images.publish(graph.image(red))
    graph.wait(lambda: len(results) > before, "a result")
    return results[-1]


def test_the_rate_changes_the_threshold_while_the_cell_runs(graph, line):
    node, images, results = line()
    assert (found := answer(graph, images, results, DEFECT)).verdict == R.REJECT and found.threshold == 1.0
    assert node.set_parameters([Parameter("false_reject_rate", value=0.02)])[0].successful
    assert (found := answer(graph, images, results, DEFECT)).verdict == R.PASS and found.threshold == 2.0
    refused = node.set_parameters([Parameter("false_reject_rate", value=0.0001)])[0]
    assert not refused.successful and "support 0.001 to 0.5" in refused.reason
    assert answer(graph, images, results, DEFECT).threshold == 2.0
    assert node.set_parameters([Parameter("false_reject_rate", value=0.0)])[0].successful
    assert answer(graph, images, results, DEFECT).threshold == 1.0


def test_a_rate_that_the_model_does_not_support_refuses_the_model(graph, line):
    node, images, results = line(false_reject_rate=0.0001)
    assert "support 0.001 to 0.5" in node.problem
    assert answer(graph, images, results, GOOD).reason == R.NO_MODEL


@pytest.fixture
def fuse(graph, monkeypatch):
    """The fusion node, and what gives it a view with anomaly 1.5 that passed: its part's result."""
    points = np.random.default_rng(0).normal(size=(50, 3))
    monkeypatch.setattr(fusion, "part_surface", lambda *_: points)
    node = FusionNode(load=RatedInspector.load, overrides={"model": str(graph.model), "views": 1})
    graph.add_node(node)
    parts = graph.listen(PartResult, "part_result")
    graph.wait_matched("part_result")
    results, clouds = graph.publisher(R, "result"), graph.publisher(PointCloud2, "anomaly_cloud")

    def send(number, threshold=2.0):
        message = R(part_id=f"A{number}", verdict=R.PASS, score=1.5, threshold=threshold, model_hash="fake-hash")
        message.trigger_stamp.sec = message.header.stamp.sec = number
        anomaly, colours = np.full(len(points), 1.5, np.float32), np.zeros((len(points), 3), np.uint8)
        clouds.publish(cloud_message(points, anomaly, colours, message.header.stamp, "part"))
        results.publish(message)
        graph.wait(lambda: len(parts) == number, "the part's result")
        return parts[-1]

    return node, send


def test_the_rate_changes_the_threshold_of_fusion_while_it_runs(fuse):
    node, send = fuse
    assert ((found := send(1)).verdict, found.threshold) == (R.REJECT, 1.0)
    assert "judged by the threshold 2, its part is by 1: set false_reject_rate" in node.health.status()[1]
    assert node.set_parameters([Parameter("false_reject_rate", value=0.02)])[0].successful
    assert ((found := send(2)).verdict, found.threshold) == (R.PASS, 2.0)
    _, text, values = node.health.status()
    assert text == "active" and (values["threshold"], values["false_reject_rate"]) == (2.0, 0.02)
    refused = node.set_parameters([Parameter("false_reject_rate", value=0.0001)])[0]
    assert not refused.successful and "support 0.001 to 0.5" in refused.reason
    assert send(3).threshold == 2.0
    assert node.set_parameters([Parameter("false_reject_rate", value=0.0)])[0].successful
    assert send(4, threshold=1.0).verdict == R.REJECT and node.health.status()[1] == "active"


def test_a_part_that_is_open_keeps_its_threshold(graph, monkeypatch):
    monkeypatch.setattr(fusion, "part_surface", lambda *_: np.eye(3))
    node = FusionNode(load=RatedInspector.load, overrides={"model": str(graph.model), "views": 2})
    graph.add_node(node)
    parts = graph.listen(PartResult, "part_result")
    results = graph.publisher(R, "result")
    graph.wait_matched("part_result")
    for number in (1, 2):
        message = R(part_id="A1", verdict=R.HOLD, model_hash="fake-hash")
        message.trigger_stamp.sec = number
        results.publish(message)
        graph.wait(lambda: "A1" in node._parts or bool(parts), "the view")
        node.set_parameters([Parameter("false_reject_rate", value=0.02)])
    graph.wait(lambda: bool(parts), "the part's result")
    assert (parts[0].verdict, parts[0].threshold) == (R.HOLD, 1.0)


def test_images_are_collected_by_part_and_read_again(graph, line, tmp_path):
    node, images, results = line(triggered=True, trigger_timeout=3.0)
    triggers = graph.publisher(Trigger, "trigger")
    folder = tmp_path / "collected"

    def inspect(part_id):
        before = len(results)
        graph.trigger(triggers, Trigger(part_id=part_id), node)
        message = graph.image(GOOD)
        images.publish(message)
        graph.wait(lambda: len(results) > before, "a result")
        return message

    inspect("A0")
    node.set_parameters([Parameter("collect", value=str(folder))])
    sent = [inspect(part_id) for part_id in ("A1", "A1", "../A 2", "")]
    node.set_parameters([Parameter("collect", value="")])
    inspect("A3")
    found = list(read_good_images(folder))
    units = [image.unit for image in found]
    assert sorted(units)[:3] == ["A1", "A1", "_A_2"] and sorted(units)[3].startswith("unnamed_")
    assert all(image.camera == CAMERA for image in found)
    stamps = {int(image.name.split("/")[-1].removesuffix(".png")) // 10**9 for image in found}
    assert stamps == {message.header.stamp.sec for message in sent}
    assert all(isinstance(image.image, np.ndarray) and image.image[5, 5, 0] == GOOD for image in found)
    assert not list(tmp_path.glob("A*"))


def test_a_folder_that_cannot_be_written_stops_nothing(graph, line, tmp_path):
    (tmp_path / "file").write_text("")
    _, images, results = line(collect=str(tmp_path / "file" / "below"))
    for _ in range(3):
        assert answer(graph, images, results, GOOD).verdict == R.PASS
