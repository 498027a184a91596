"""Messages that are too large: answered in plain words, and not kept."""

from array import array

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.msg import Trigger  # noqa: E402
from pad_ros.srv import LoadModel  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.support.limits import (  # noqa: E402
    MAX_PATH,
    MAX_TEXT,
    TooLarge,
    bounded_image,
    usable_info,
)
from pad_ros.nodes.watchdog import WatchdogNode  # noqa: E402

LONG = "x" * 100_000
PIXELS = 1000  # of the model's camera, at most


def raw(width, height, size, encoding="mono8"):
    return Image(width=width, height=height, encoding=encoding, data=array("B", bytes(size)))


@pytest.mark.parametrize(
    "message",
    [
        raw(1, PIXELS + 1, 10),
        raw(2**32 - 1, 2**32 - 1, 10),
        raw(30, 30, 3_000_000),
        raw(30, 30, 900, LONG),
        CompressedImage(data=array("B", bytes(3_000_000))),
    ],
    ids=["pixels", "promised", "bytes", "encoding", "compressed"],
)
def test_what_is_too_large_is_not_kept(message):
    kept = bounded_image(message, PIXELS)
    assert isinstance(kept, TooLarge) and not kept.data and len(kept.text) < 200


def test_what_a_camera_sends_is_kept():
    for message in (raw(40, 25, 8000), CompressedImage(data=array("B", bytes(4 * PIXELS)))):
        assert bounded_image(message, PIXELS) is message


def test_a_camera_info_that_no_camera_sends_is_not_kept():
    assert usable_info(CameraInfo(d=[0.1] * 14, distortion_model="rational_polynomial"))
    assert not usable_info(CameraInfo(d=[0.1] * 1000))
    assert not usable_info(CameraInfo(distortion_model=LONG))


def test_a_part_id_that_is_too_long_is_cut_and_answered_once(graph):
    """By cell and watchdog alike: else the watchdog would wait for another part."""
    watchdog = graph.add_node(WatchdogNode(overrides={"triggered": True, "deadline": 20.0}))
    cell = graph.add(CellNode, triggered=True, trigger_timeout=10.0)
    results = graph.results()
    graph.wait_matched("result", publishers=2)
    images, triggers = graph.publisher(Image, "image_raw"), graph.publisher(Trigger, "trigger")
    graph.wait(lambda: triggers.get_subscription_count() == 2, "cell and watchdog")
    message, image = Trigger(part_id=LONG), graph.image(75)
    message.header.stamp = image.header.stamp
    triggers.publish(message)
    graph.wait(lambda: bool(graph.waiting(cell)) and bool(watchdog.questions), "the trigger")
    images.publish(image)
    graph.wait(lambda: bool(results), "a result")
    graph.wait(lambda: not watchdog.questions, "the watchdog to hear it")
    assert [(r.part_id, r.verdict) for r in results] == [(LONG[:MAX_TEXT], R.PASS)]


def test_too_much_is_held_in_plain_words(graph):
    graph.add(CellNode)
    results, images = graph.results(), graph.publisher(Image, "image_raw")
    graph.wait_matched("result")
    for i, (message, words) in enumerate(((raw(9000, 8000, 10), "9000x8000"), (raw(30, 30, 900, LONG), "encoding"))):
        message.header = graph.image(0).header
        images.publish(message)
        graph.wait(lambda i=i: len(results) > i, "a result")
        assert (results[i].verdict, results[i].reason) == (R.HOLD, R.BAD_IMAGE)
        assert words in results[i].reason_text and len(results[i].reason_text) < MAX_TEXT


def test_load_model_with_a_path_that_is_too_long(graph):
    cell = graph.add(CellNode)
    answer = graph.call(LoadModel, "load_model", LoadModel.Request(path="/x" * MAX_PATH))
    assert not answer.success and answer.message == f"a path of {2 * MAX_PATH} characters"
    assert answer.model_name == "fake" and cell.inspector is not None
