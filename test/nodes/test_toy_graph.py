"""The ROS graph with a really trained model: as one process and as three, each image gives exactly one result."""

import numpy as np
import pytest
from toy import CAMERA, SIZE

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.srv import Inspect  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from pad_ros.demo import graph as demo_graph  # noqa: E402
from pad_ros.imaging import images  # noqa: E402
from pad_ros.imaging.geometry import rotation_angle, translation_error  # noqa: E402
from pad_ros.inspector import Inspector  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.support.convert import camera_to_info, image_to_floats, rgb_to_image  # noqa: E402
from pad_ros.nodes.support.messages import pose_from_msg  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(toy):
    """The library's own answer, the defect's too."""
    inspector = Inspector.load(toy.bundle)
    return {path: inspector.inspect(images.load(path), CAMERA) for path in (toy.good, toy.defect)}


def agrees(result, expected):
    """The message says what the library says."""
    assert (result.verdict, result.reason) == (int(expected.verdict), int(expected.reason)), result.reason_text
    assert (result.model_name, len(result.model_hash)) == ("toy", 64)
    assert result.score == pytest.approx(expected.score, rel=1e-3)  # also through three processes
    assert result.threshold == pytest.approx(expected.threshold, rel=1e-5)
    pose = pose_from_msg(result.pose.pose)
    assert rotation_angle(pose, expected.localization.pose) < np.radians(0.05)
    assert translation_error(pose, expected.localization.pose) < 1e-3
    assert len(result.defects) == len(expected.defects)
    assert 0 < result.localize_ms + result.render_ms + result.score_ms <= result.total_ms


def test_three_processes_answer_as_the_library_does(toy, expected):
    files = [toy.good, toy.defect, toy.foreign, toy.black, toy.truncated]
    answers: list[demo_graph.GraphResult] = []
    demo_graph.run_graph(toy.bundle, files, CAMERA, answers.append, device="cpu")
    assert sorted(answer.image for answer in answers) == sorted(files)
    by_file = {answer.image: answer for answer in answers}
    for path, inspection in expected.items():
        agrees(by_file[path].result, inspection)
        assert by_file[path].reference.shape == by_file[path].overlay.shape == (SIZE, SIZE, 3)
        assert by_file[path].heatmap.max() == pytest.approx(inspection.score, rel=0.02)
    for path in (toy.foreign, toy.black, toy.truncated):
        result = by_file[path].result
        assert result.verdict == R.HOLD and result.reason_text and np.isnan(result.score)
    assert by_file[toy.black].result.reason == R.NO_CONTENT
    assert by_file[toy.truncated].result.reason == R.BAD_IMAGE


def test_a_cell_answers_as_the_library_does_and_lives_on(toy, expected, graph):
    graph.add_node(CellNode(overrides={"model": str(toy.bundle), "device": "cpu"}))
    results, heatmaps = graph.results(), graph.listen(Image, "heatmap")
    graph.wait_matched("result")
    frames, infos = graph.publisher(Image, "image_raw"), graph.publisher(CameraInfo, "camera_info")

    def inspect(pixels, damage=None):
        graph.image(0)  # counts the stamp up
        header = Header(frame_id="camera")
        header.stamp.sec = graph._stamp
        message = rgb_to_image(pixels, header)
        if damage:
            message.data = message.data[:damage]
        before = len(results)
        infos.publish(camera_to_info(CAMERA, header))
        frames.publish(message)
        graph.wait(lambda: len(results) > before, "a result")
        graph.settle()
        assert len(results) == before + 1 and results[-1].header == header
        return results[-1]

    for path, inspection in expected.items():
        agrees(inspect(images.load(path)), inspection)
        graph.wait(lambda: bool(heatmaps), "a heatmap")
        assert image_to_floats(heatmaps.pop()).max() == pytest.approx(inspection.score, rel=0.02)
    for pixels, damage in (
        (images.load(toy.foreign), None),
        (images.load(toy.black), None),
        (images.load(toy.good), 99),
    ):
        result = inspect(pixels, damage)
        assert result.verdict == R.HOLD and result.reason_text and not result.defects
    agrees(inspect(images.load(toy.good)), expected[toy.good])

    request = Inspect.Request(image=rgb_to_image(images.load(toy.defect), Header(frame_id="camera")))
    answer = graph.call(Inspect, "inspect", request)
    assert answer.result.verdict == R.REJECT
