"""What may change while a cell runs: the rate of false rejects, and whether its images are kept."""

from dataclasses import replace

import numpy as np
import pytest
from fake_inspector import CAMERA, FakeInspector
from pad_ros.msg import InspectionResult as R
from pad_ros.msg import Trigger
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from pad_ros.errors import InputError
from pad_ros.io.good_images import read_good_images
from pad_ros.nodes.cell import CellNode
from pad_ros.verdicts import Reason, Verdict

GOOD, DEFECT = 75, 200


class RatedInspector(FakeInspector):
    """Its threshold is 1 at the model's own rate; at another one it is 100 times the rate."""

    threshold = 1.0

    @staticmethod
    def load(path, device, scene=None):
        return RatedInspector("fake", scene)

    def at_rate(self, rate):
        if rate < 0.001:
            raise InputError(f"false_reject_rate {rate:g}: 20 scores of good parts support 0.001 to 0.5")
        other = RatedInspector("fake", self.scene)
        other.threshold = 100 * rate
        return other

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
