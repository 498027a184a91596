"""The ROS graph: each published image gives exactly one result, whatever it holds, as cell and as three nodes."""

import array
import dataclasses
import shutil
import threading

import cv2
import numpy as np
import pytest
from fake_inspector import CAMERA, POSE, THRESHOLD, FakeInspector, write_bundle

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from geometry_msgs.msg import PoseWithCovarianceStamped  # noqa: E402
from pad_ros.msg import InspectionResult, LocalizedView, ReferenceView, Trigger  # noqa: E402
from pad_ros.srv import Inspect, LoadModel  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from pad_ros.decision.inspection import DefectKind, DefectRegion  # noqa: E402
from pad_ros.errors import InputError  # noqa: E402
from pad_ros.imaging import images  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.localizer import LocalizerNode  # noqa: E402
from pad_ros.nodes.renderer import RendererNode  # noqa: E402
from pad_ros.nodes.scorer import ScorerNode  # noqa: E402
from pad_ros.nodes.support.convert import camera_to_info, image_to_floats, image_to_rgb  # noqa: E402
from pad_ros.nodes.support.messages import pose_from_msg  # noqa: E402
from pad_ros.reporting.pictures import heatmap_image  # noqa: E402
from pad_ros.verdicts import Reason  # noqa: E402

GOOD, DEFECT, CRASH, EMPTY = 75, 200, 255, 0
R = InspectionResult


@pytest.fixture(params=["cell", "three nodes"])
def line(graph, request):
    """A graph with the whole line in it, in either form."""
    for node in [CellNode] if request.param == "cell" else [LocalizerNode, RendererNode, ScorerNode]:
        graph.add(node)
    if request.param != "cell":
        for topic in ("localized_view", "reference_view"):
            graph.wait(lambda topic=topic: graph.tester.count_subscribers(topic) > 0, topic)
    return graph


def inspect(graph, message, publisher=None, results=None):
    """Publish one image; its one and only result."""
    results = graph.results() if results is None else results
    graph.wait_matched("result")
    before = len(results)
    (publisher or graph.publisher(type(message), "image_raw")).publish(message)
    graph.wait(lambda: len(results) > before, "a result")
    graph.settle()
    assert len(results) == before + 1
    result = results[-1]
    assert result.header == message.header
    return result


def test_good_part_passes(line):
    result = inspect(line, line.image(GOOD))
    assert (result.verdict, result.reason) == (R.PASS, R.NONE)
    assert (result.model_name, result.model_hash) == ("fake", "fake-hash")
    assert (result.score, result.threshold) == (0.5, 1.0)
    assert np.allclose(pose_from_msg(result.pose.pose).matrix, POSE.matrix)
    assert 0 < result.localize_ms + result.render_ms + result.score_ms <= result.total_ms


def test_defect_is_rejected_with_its_region(line):
    result = inspect(line, line.image(DEFECT))
    assert (result.verdict, result.reason) == (R.REJECT, R.ANOMALY)
    (defect,) = result.defects
    assert (defect.box.x_offset, defect.box.y_offset, defect.box.width, defect.box.height) == (22, 12, 6, 4)
    assert (defect.kind, defect.area) == (defect.ADDED, 24)
    assert (defect.centroid.x, defect.centroid.y, defect.centroid.z) == pytest.approx((0.1, 0.2, 0.3))


def test_whatever_goes_wrong_is_hold_and_the_line_lives(line):
    images, results = line.publisher(Image, "image_raw"), line.results()
    truncated = line.image(GOOD)
    truncated.data = truncated.data[:100]
    encoding = line.image(GOOD)
    encoding.encoding = "nv12"
    cases = [
        (line.image(EMPTY), R.NOT_LOCALIZED),
        (truncated, R.BAD_IMAGE),
        (encoding, R.BAD_IMAGE),
        (Image(header=line.image(0).header), R.BAD_IMAGE),
        (line.image(GOOD, height=100), R.CAMERA_MISMATCH),
        (line.image(CRASH), R.INTERNAL_ERROR),
    ]
    for message, reason in cases:
        result = inspect(line, message, images, results)
        assert (result.verdict, result.reason) == (R.HOLD, reason)
        assert result.reason_text
        assert np.isnan(result.score)
    assert inspect(line, line.image(GOOD), images, results).verdict == R.PASS


@pytest.mark.parametrize("stage", ["localize", "render", "score"])
def test_what_does_not_fit_into_a_message_is_hold(line, monkeypatch, stage):
    """A stage that returns nonsense: the frame still ends in its one result."""
    right = getattr(FakeInspector, stage)

    def nonsense(self, *arguments):
        result = right(self, *arguments)
        if stage == "localize":
            return dataclasses.replace(result, inliers=-1, reason=Reason.NOT_LOCALIZED, pose=None)
        if stage == "render":
            return dataclasses.replace(result, depth=None)
        return dataclasses.replace(result, defects=(DefectRegion((-5, 0, 1, 1), 1, 1.0, None, DefectKind.ADDED),))

    images, results = line.publisher(Image, "image_raw"), line.results()
    for topic, kind in (("localized_view", LocalizedView), ("reference_view", ReferenceView)):
        line.listen(kind, topic)
        line.wait_matched(topic)
    with monkeypatch.context() as patch:
        patch.setattr(FakeInspector, stage, nonsense)
        verdict = inspect(line, line.image(GOOD), images, results).verdict
        assert verdict == R.HOLD or (stage == "render" and verdict == R.PASS)  # in one process depth is not looked at
    assert inspect(line, line.image(GOOD), images, results).verdict == R.PASS


def test_camera_info_is_used_and_checked(line):
    infos, images, results = (
        line.publisher(CameraInfo, "camera_info"),
        line.publisher(Image, "image_raw"),
        line.results(),
    )
    views = line.listen(LocalizedView, "localized_view")
    line.wait_matched("localized_view")
    camera = CAMERA.resized(128, 96)
    infos.publish(camera_to_info(camera, line.image(0).header))
    line.settle()
    assert inspect(line, line.image(GOOD, 96, 128), images, results).verdict == R.PASS
    line.wait(lambda: bool(views), "a localized view")
    assert views[-1].camera_info.k[0] == camera.fx
    assert inspect(line, line.image(GOOD), images, results).reason == R.CAMERA_MISMATCH
    uncalibrated = CameraInfo(width=128, height=96)
    infos.publish(uncalibrated)
    line.settle()
    assert inspect(line, line.image(GOOD, 96, 128), images, results).reason == R.CAMERA_MISMATCH


def test_a_camera_info_that_is_announced_but_never_comes_is_hold(line):
    line.publisher(CameraInfo, "camera_info")
    images, results = line.publisher(Image, "image_raw"), line.results()
    for _ in range(2):
        assert inspect(line, line.image(GOOD), images, results).reason == R.CAMERA_MISMATCH


def test_every_topic_carries_the_stamp_of_the_query(line):
    topics = {
        "localized_view": LocalizedView,
        "pose": PoseWithCovarianceStamped,
        "reference_view": ReferenceView,
        "reference": Image,
        "reference/depth": Image,
        "heatmap": Image,
        "heatmap/colour": Image,
        "heatmap_overlay": Image,
        "anomaly_cloud": PointCloud2,
        "defect_markers": MarkerArray,
    }
    for topic, kind in topics.items():
        line.listen(kind, topic)
        line.wait_matched(topic)
    message = line.image(DEFECT)
    inspect(line, message)
    line.wait(lambda: all(line.received[topic] for topic in topics), "all topics")
    for topic in topics:
        (received,) = line.received[topic]
        header = {"reference_view": "view", "defect_markers": "markers"}.get(topic)
        header = getattr(received, header) if header else received
        header = (header[0] if isinstance(header, list) else header).header
        assert header.stamp == message.header.stamp, topic
        assert header.frame_id == ("part" if topic in ("anomaly_cloud", "defect_markers") else "camera"), topic
    heatmap = image_to_floats(line.received["heatmap"][0])
    assert heatmap.shape == (48, 64)
    assert heatmap[13, 24] == pytest.approx(DEFECT / 150)
    colour = line.received["heatmap/colour"][0]
    assert colour.encoding == "rgb8"
    np.testing.assert_array_equal(image_to_rgb(colour), heatmap_image(heatmap, THRESHOLD))
    assert line.received["heatmap_overlay"][0].encoding == "rgb8"
    assert image_to_rgb(line.received["reference"][0]).shape == (48, 64, 3)
    assert line.received["anomaly_cloud"][0].width == 20 * 20


def test_tf_leads_from_the_camera_to_the_part(line):
    """The same pose as `pose`; also without ROS's messages in test_result_message.py."""
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is part of ROS installs, not of the PyPI wheels")
    transforms, poses = line.listen(tf2_msgs.TFMessage, "/tf"), line.listen(PoseWithCovarianceStamped, "pose")
    line.wait_matched("/tf")
    line.wait_matched("pose")
    message = line.image(GOOD)
    inspect(line, message)
    line.wait(lambda: transforms and poses, "pose and transform")
    (stamped,) = transforms[0].transforms
    assert (stamped.header.stamp, stamped.header.frame_id) == (message.header.stamp, "camera")
    assert stamped.child_frame_id == "part"
    pose, move = poses[0].pose.pose, stamped.transform
    assert move.rotation == pose.orientation
    moved, position = move.translation, pose.position
    assert (moved.x, moved.y, moved.z) == (position.x, position.y, position.z)


def test_defects_are_detections(line):
    vision_msgs = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed, nor in the PyPI wheels")
    found = line.listen(vision_msgs.Detection2DArray, "defects")
    line.wait_matched("defects")
    message = line.image(DEFECT)
    inspect(line, message)
    line.wait(lambda: found, "detections")
    (detection,) = found[0].detections
    assert found[0].header == detection.header == message.header
    assert detection.results[0].hypothesis.class_id == "ADDED"
    assert detection.results[0].hypothesis.score == pytest.approx(DEFECT / 150 / (DEFECT / 150 + THRESHOLD))
    assert detection.id == f"{message.header.stamp.sec}.{message.header.stamp.nanosec:09d}/1"
    size, centre = (detection.bbox.size_x, detection.bbox.size_y), detection.bbox.center.position
    assert (*size, centre.x, centre.y) == (6, 4, 25, 14)


def test_namespace_makes_a_second_cell(graph):
    graph.add(CellNode, namespace="left")
    graph.add(CellNode, namespace="right")
    left, right = graph.results("left"), graph.results("right")
    graph.wait_matched("left/result")
    graph.wait_matched("right/result")
    graph.publisher(Image, "left/image_raw").publish(graph.image(GOOD))
    graph.wait(lambda: bool(left), "a result")
    graph.settle()
    assert (len(left), len(right)) == (1, 0)


def test_compressed_images(graph):
    graph.add(CellNode, image_transport="compressed")
    results = graph.results()
    graph.wait_matched("result")
    images = graph.publisher(CompressedImage, "image_raw/compressed")
    pixels = image_to_rgb(graph.image(DEFECT))
    data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()
    for content, verdict in ((data, R.REJECT), (data[:40], R.HOLD), (b"", R.HOLD)):
        message = CompressedImage(header=graph.image(0).header, format="png", data=array.array("B", content))
        assert inspect(graph, message, images, results).verdict == verdict


def test_triggers_take_one_image_each(graph):
    # An unstamped trigger is HOLD within match_before + match_after of an image: less here than `settle` waits.
    cell = graph.add(CellNode, triggered=True, trigger_timeout=3.0, match_before=0.0, match_after=0.1)
    images, triggers, results = (
        graph.publisher(Image, "image_raw"),
        graph.publisher(Trigger, "trigger"),
        graph.results(),
    )
    graph.wait_matched("result")
    images.publish(graph.image(GOOD))
    graph.wait(lambda: bool(cell._intake.matching._images), "the image")
    graph.settle()
    assert not results  # nobody asked
    graph.trigger(triggers, Trigger(part_id="A1"), cell)
    for _ in range(3):
        images.publish(graph.image(GOOD))
    graph.wait(lambda: len(results) == 1, "the answer to A1")
    graph.wait(lambda: len(cell._intake.matching._images) >= 2, "the images that nobody asked for")
    graph.settle()
    triggers.publish(Trigger(part_id="A2"))
    graph.settle()
    triggers.publish(Trigger(part_id="A3"))
    graph.wait(lambda: len(results) == 3, "the answers to A2 and A3")
    graph.settle()
    assert [(r.part_id, r.verdict, r.reason) for r in results] == [
        ("A1", R.PASS, R.NONE),
        ("A2", R.HOLD, R.DROPPED),
        ("A3", R.HOLD, R.DROPPED),
    ]


def test_three_nodes_carry_the_trigger_through(graph):
    localizer = graph.add(LocalizerNode, triggered=True, trigger_timeout=3.0)
    graph.add(RendererNode)
    graph.add(ScorerNode)
    for topic in ("localized_view", "reference_view"):
        graph.wait(lambda topic=topic: graph.tester.count_subscribers(topic) > 0, topic)
    results = graph.results()
    graph.wait_matched("result")
    images, triggers = graph.publisher(Image, "image_raw"), graph.publisher(Trigger, "trigger")
    for number, red in enumerate((GOOD, EMPTY, None), start=1):
        trigger = Trigger(part_id=f"A{number}")
        trigger.header.stamp.sec = number
        graph.trigger(triggers, trigger, localizer)
        if red is not None:
            images.publish(graph.image(red, seconds=number))
        graph.wait(lambda number=number: len(results) == number, "a result")
    assert [(r.part_id, r.trigger_stamp.sec, r.reason) for r in results] == [
        ("A1", 1, R.NONE),
        ("A2", 2, R.NOT_LOCALIZED),
        ("A3", 3, R.DROPPED),
    ]


def test_a_full_queue_drops_no_frame_silently(graph, monkeypatch):

    import fake_inspector

    gate = threading.Event()
    monkeypatch.setattr(fake_inspector.FakeInspector, "warm_up", lambda self: None)
    localize = fake_inspector.FakeInspector.localize
    monkeypatch.setattr(
        fake_inspector.FakeInspector, "localize", lambda self, *args: (gate.wait(20), localize(self, *args))[1]
    )
    graph.add(CellNode, queue_size=2, image_depth=20, free_running="every")
    images, results = graph.publisher(Image, "image_raw"), graph.results()
    graph.wait_matched("result")
    messages = [graph.image(GOOD) for _ in range(8)]
    for message in messages:
        images.publish(message)
        graph.settle()
    gate.set()
    graph.wait(lambda: len(results) == 8, "eight results")
    assert sorted(r.header.stamp.sec for r in results) == [m.header.stamp.sec for m in messages]
    assert [r.reason for r in results].count(R.DROPPED) == 5  # one in work, two waiting
    assert [r.verdict for r in results].count(R.PASS) == 3


def test_a_late_verdict_is_hold(graph):
    graph.add(CellNode, deadline=1e-6)
    result = inspect(graph, graph.image(GOOD))
    assert (result.verdict, result.reason) == (R.HOLD, R.TIMEOUT)


def test_inspect_service(graph):
    graph.add(CellNode)
    answer = graph.call(Inspect, "inspect", Inspect.Request(image=graph.image(DEFECT), part_id="B7"))
    assert (answer.result.verdict, answer.result.part_id) == (R.REJECT, "B7")
    info = camera_to_info(CAMERA.resized(128, 96), graph.image(0).header)
    answer = graph.call(Inspect, "inspect", Inspect.Request(image=graph.image(GOOD, 96, 128), camera_info=info))
    assert answer.result.verdict == R.PASS
    assert graph.call(Inspect, "inspect", Inspect.Request()).result.reason == R.BAD_IMAGE


def test_a_call_that_waits_when_the_node_is_shut_down_is_answered(graph, monkeypatch):
    import fake_inspector

    gate = threading.Event()
    localize = fake_inspector.FakeInspector.localize
    monkeypatch.setattr(
        fake_inspector.FakeInspector, "localize", lambda self, *args: (gate.wait(20), localize(self, *args))[1]
    )
    cell, request = graph.add(CellNode), Inspect.Request(image=graph.image(GOOD))
    answers = []
    calls = [
        threading.Thread(target=lambda: answers.append(cell._on_inspect(request, Inspect.Response()))) for _ in range(2)
    ]
    worker = cell.worker
    for call in calls:
        call.start()
    graph.wait(lambda: len(worker._jobs) == 1, "one call in work, one waiting")
    closing = threading.Thread(target=worker.close)
    closing.start()
    graph.wait(lambda: not worker._jobs, "the waiting one dropped")
    gate.set()
    for thread in (*calls, closing):
        thread.join(20)
    assert sorted(answer.result.reason for answer in answers) == sorted((R.NONE, R.DROPPED))


def test_a_damaged_model_is_refused_and_the_old_one_stays(graph, tmp_path):
    cell = graph.add(CellNode)
    answer = graph.call(LoadModel, "load_model", LoadModel.Request(path=str(tmp_path / "nothing")))
    assert not answer.success
    assert "not a reference model" in answer.message
    assert answer.model_name == "fake"
    assert inspect(graph, graph.image(GOOD)).verdict == R.PASS
    other = write_bundle(tmp_path / "other", "other")
    assert graph.call(LoadModel, "load_model", LoadModel.Request(path=str(other))).success
    assert cell.inspector.model.name == "other"


def test_without_a_model_every_frame_is_hold_until_one_is_loaded(graph, bundle, tmp_path):
    shutil.move(bundle, tmp_path / "elsewhere")
    graph.add(CellNode)
    result = inspect(graph, graph.image(GOOD))
    assert (result.verdict, result.reason, result.model_name) == (R.HOLD, R.NO_MODEL, "")
    assert graph.call(LoadModel, "load_model", LoadModel.Request(path=str(tmp_path / "elsewhere"))).success
    assert inspect(graph, graph.image(GOOD), results=graph.received["result"]).verdict == R.PASS


def test_stages_with_different_models_never_judge(graph, tmp_path):
    graph.add(LocalizerNode)
    graph.add(RendererNode, model=str(write_bundle(tmp_path / "other", "other")))
    graph.add(ScorerNode)
    for topic in ("localized_view", "reference_view"):
        graph.wait(lambda topic=topic: graph.tester.count_subscribers(topic) > 0, topic)
    result = inspect(graph, graph.image(GOOD))
    assert (result.verdict, result.reason) == (R.HOLD, R.NO_MODEL)
    assert "other-hash" in result.reason_text


def test_views_that_contradict_themselves_are_hold(graph):
    graph.add(ScorerNode)
    results = graph.results()
    graph.wait_matched("result")
    views = graph.publisher(ReferenceView, "reference_view")
    message = ReferenceView()
    message.view.header = graph.image(0).header
    message.view.localized = True  # but there is no rendering, and the image is empty
    views.publish(message)
    graph.wait(lambda: bool(results), "a result")
    assert (results[0].verdict, results[0].reason) == (R.HOLD, R.INTERNAL_ERROR)


def test_scene_parameters_reach_the_inspector(graph, tmp_path):
    view = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
    images.save(tmp_path / "belt" / "0.png", view)
    cell = graph.add(CellNode, background=str(tmp_path / "belt"), roi="4,2,40,44")
    assert cell.inspector.scene.roi == (4, 2, 40, 44)
    np.testing.assert_array_equal(cell.inspector.scene.empty[0], view)
    assert not graph.add(RendererNode).has_parameter("background")


def test_a_background_that_cannot_be_read_holds_every_image(graph, tmp_path):
    graph.add(CellNode, background=str(tmp_path / "nothing.png"))
    assert inspect(graph, graph.image(GOOD)).reason == R.NO_MODEL


def test_a_wrong_region_is_refused_at_the_start(graph):
    with pytest.raises(InputError, match="expected X0,Y0,X1,Y1"):
        graph.add(CellNode, roi="40,2,4,44")
