"""Which images are taken: newest of many, triggers, stamps, camera_info, publishers that do not fit."""

import threading

import pytest
from fake_inspector import CAMERA, FakeInspector
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.msg import LocalizedView, Trigger  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.localizer import LocalizerNode  # noqa: E402
from pad_ros.nodes.support.convert import camera_to_info  # noqa: E402
from pad_ros.nodes.support.stamps import Stamps  # noqa: E402

SECOND = 10**9
GOOD = 75


@pytest.fixture
def gate(monkeypatch):
    """Holds up the localizer until it is set."""
    opened = threading.Event()
    localize = FakeInspector.localize
    monkeypatch.setattr(FakeInspector, "localize", lambda self, *args: (opened.wait(20), localize(self, *args))[1])
    return opened


def line(graph, **parameters):
    """A cell, a publisher of its images, and its results."""
    cell = graph.add(CellNode, **parameters)
    results = graph.results()
    graph.wait_matched("result")
    return cell, graph.publisher(Image, "image_raw"), results


def stamped(graph, stamp_ns: int) -> Image:
    message = graph.image(GOOD)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
    return message


def reasons(cell) -> dict[str, str]:
    return cell.health.status()[2]


# ---- free-running and triggered ----


def test_free_running_the_newest_frame_wins(graph, gate):
    cell, images, results = line(graph)
    messages = [graph.image(GOOD) for _ in range(6)]
    for message in messages:
        images.publish(message)
        graph.settle()
    gate.set()
    graph.wait(lambda: len(results) == 2, "two results")
    graph.settle()
    stamps = [r.header.stamp for r in results]
    assert stamps == [messages[0].header.stamp, messages[-1].header.stamp]  # the one in work, and the newest
    assert all(r.verdict == R.PASS for r in results)
    assert reasons(cell)["superseded"] == 4


def test_triggers_are_never_dropped_and_overload_is_hold(graph, gate):
    cell, images, results = line(graph, triggered=True, queue_size=2, trigger_timeout=20.0)
    triggers = graph.publisher(Trigger, "trigger")
    parts = [f"A{i}" for i in range(6)]
    for i, part in enumerate(parts):
        trigger = Trigger(part_id=part)
        trigger.header.stamp.sec = i + 1
        graph.trigger(triggers, trigger, cell)
        images.publish(graph.image(GOOD, seconds=i + 1))
        graph.wait(lambda: not graph.waiting(cell), "the image to be taken")
    gate.set()
    graph.wait(lambda: len(results) == 6, "six results")
    graph.settle()
    by_part = {r.part_id: r for r in results}
    assert sorted(by_part) == parts and len(results) == 6
    assert [by_part[p].verdict for p in parts] == [R.PASS] * 3 + [R.HOLD] * 3  # one in work, two waiting
    assert {by_part[p].reason for p in parts[3:]} == {R.DROPPED}
    assert [by_part[p].trigger_stamp.sec for p in parts] == [1, 2, 3, 4, 5, 6]


def test_under_overload_what_would_be_late_is_not_computed(graph, monkeypatch):
    """Else each image would wait until it is late, and none would be judged in time."""
    import time

    inspected = []
    localize = FakeInspector.localize

    def slow(self, *arguments):
        inspected.append(time.monotonic())
        time.sleep(0.3)
        return localize(self, *arguments)

    monkeypatch.setattr(FakeInspector, "localize", slow)
    _, images, results = line(graph, free_running="every", queue_size=20, image_depth=20, deadline=0.7)
    for i in range(2):
        images.publish(graph.image(GOOD))
        graph.wait(lambda i=i: len(results) == i + 1, "a result")
    for _ in range(8):
        images.publish(graph.image(GOOD))
    graph.wait(lambda: len(results) == 10, "eight results")
    late = [r for r in results if r.verdict == R.HOLD]
    assert {r.reason for r in late} == {R.TIMEOUT}
    assert len(inspected) < 10 and len(late) >= 10 - len(inspected)


def test_an_image_from_before_the_trigger_is_not_taken(graph):
    _, images, results = line(graph, triggered=True, trigger_timeout=0.5)
    triggers = graph.publisher(Trigger, "trigger")
    trigger = Trigger(part_id="A1")
    trigger.header.stamp.sec = 50
    triggers.publish(trigger)
    graph.settle()
    images.publish(stamped(graph, 49 * SECOND))
    graph.wait(lambda: bool(results), "a result")
    assert (results[0].reason, results[0].trigger_stamp.sec) == (R.DROPPED, 50)


def test_the_image_of_one_part_is_not_taken_for_the_next(graph):
    """A camera that repeats its last image."""
    cell, images, results = line(graph, triggered=True, trigger_timeout=3.0)
    triggers = graph.publisher(Trigger, "trigger")
    message = graph.image(GOOD)
    for part in ("A1", "A2"):
        graph.trigger(triggers, Trigger(part_id=part), cell)
        images.publish(message)
        graph.wait(lambda part=part: any(r.part_id == part for r in results), part)
    assert [(r.part_id, r.verdict, r.reason) for r in results] == [
        ("A1", R.PASS, R.NONE),
        ("A2", R.HOLD, R.DROPPED),
    ]


# ---- stamps ----


def test_a_repeated_stamp_is_not_accepted_again(graph):
    cell, images, results = line(graph)
    message = graph.image(GOOD)
    for _ in range(3):
        images.publish(message)
        graph.settle()
    assert len(results) == 1 and reasons(cell)["duplicates"] == 2


def test_a_bag_that_begins_again_is_inspected_again(graph):
    cell, images, results = line(graph)
    messages = [graph.image(GOOD) for _ in range(3)]
    for i, message in enumerate(messages * 2):
        images.publish(message)
        graph.wait(lambda i=i: len(results) > i, "a result")
    assert [r.header.stamp for r in results] == [m.header.stamp for m in messages * 2]
    assert reasons(cell)["time_jumps"] == 1


@pytest.mark.parametrize("offset, text", [(-60.0, "60.0"), (60.0, "in the future"), (None, "no stamp")])
def test_stamps_that_cannot_be_right_are_hold(graph, offset, text):
    cell, images, results = line(graph, max_age=5.0, max_ahead=5.0)
    now = cell.get_clock().now().nanoseconds
    images.publish(stamped(graph, 0 if offset is None else now + int(offset * SECOND)))
    graph.wait(lambda: bool(results), "a result")
    assert (results[0].verdict, results[0].reason) == (R.HOLD, R.BAD_STAMP)
    assert text in results[0].reason_text
    images.publish(stamped(graph, cell.get_clock().now().nanoseconds))
    graph.wait(lambda: len(results) == 2, "a result")
    assert results[1].verdict == R.PASS


def test_a_stale_image_does_not_answer_a_trigger(graph):
    cell, images, results = line(graph, triggered=True, trigger_timeout=0.5, max_age=5.0)
    graph.publisher(Trigger, "trigger").publish(Trigger(part_id="A1"))
    graph.settle()
    images.publish(stamped(graph, cell.get_clock().now().nanoseconds - 60 * SECOND))
    graph.wait(lambda: bool(results), "a result")
    assert results[0].reason == R.DROPPED and reasons(cell)["bad_stamps"] == 1


@given(st.lists(st.integers(0, 5)))
def test_only_the_last_image_once_more_is_a_duplicate(sequence):
    stamps, last = Stamps(), 0
    for stamp in sequence:
        assert stamps.duplicate(stamp) == (stamp != 0 and stamp == last)
        last = stamp or last


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.floats(0, 1e6), st.floats(0, 1e6))
def test_ages(stamp, now, max_age, max_ahead):
    problem = Stamps(max_age, max_ahead).problem(stamp, now)
    if not (max_age or max_ahead):
        assert problem == ""
    elif problem == "":
        age = (now - stamp) / SECOND
        assert stamp > 0 and (not max_age or age <= max_age) and (not max_ahead or -age <= max_ahead)


# ---- camera_info ----

WIDE = CAMERA.resized(128, 96)


def info(graph, camera, header=None, focal=None) -> CameraInfo:
    msg = camera_to_info(camera, header or graph.image(0).header)
    if focal:
        msg.k[0] = focal
    return msg


def cameras(graph, **parameters):
    """A localizer; publishers of camera_info and images; the views that it publishes."""
    graph.add(LocalizerNode, camera_info_wait=0.3, **parameters)
    views = graph.listen(LocalizedView, "localized_view")
    graph.wait_matched("localized_view")
    return graph.publisher(CameraInfo, "camera_info"), graph.publisher(Image, "image_raw"), views


def view_of(graph, images, views, message) -> LocalizedView:
    images.publish(message)
    graph.wait(lambda: any(v.header == message.header for v in views), "a view")
    return next(v for v in views if v.header == message.header)


def test_one_camera_info_serves_all_images(graph):
    infos, images, views = cameras(graph)
    infos.publish(info(graph, CAMERA, focal=70.0))
    graph.settle()
    for _ in range(2):
        assert view_of(graph, images, views, graph.image(GOOD)).camera_info.k[0] == 70.0


def test_the_camera_info_of_the_same_stamp_counts(graph):
    """The camera zooms: each image comes with its own intrinsics, some of them late."""
    infos, images, views = cameras(graph)
    messages = [graph.image(GOOD) for _ in range(4)]
    for i, message in enumerate(messages[:2]):
        infos.publish(info(graph, CAMERA, message.header, focal=70.0 + i))
    graph.settle()
    for i in (1, 0):
        assert view_of(graph, images, views, messages[i]).camera_info.k[0] == 70.0 + i
    images.publish(messages[2])
    infos.publish(info(graph, CAMERA, messages[2].header, focal=72.0))
    graph.wait(lambda: len(views) == 3, "a view")
    assert views[2].camera_info.k[0] == 72.0
    held = view_of(graph, images, views, messages[3])  # its own never comes
    assert (held.localized, held.reason) == (False, R.CAMERA_MISMATCH)
    assert "stamp of the image" in held.reason_text


def test_camera_infos_that_change_without_matching_stamps_are_hold(graph):
    infos, images, views = cameras(graph)
    for focal in (70.0, 71.0):
        infos.publish(info(graph, CAMERA, focal=focal))
    graph.settle()
    held = view_of(graph, images, views, graph.image(GOOD))
    assert held.reason == R.CAMERA_MISMATCH and "changes" in held.reason_text
    infos.publish(info(graph, CAMERA, focal=71.0))  # settled: a new calibration, not a zoom
    graph.settle()
    assert view_of(graph, images, views, graph.image(GOOD)).camera_info.k[0] == 71.0


def test_falling_back_to_the_models_camera_is_said_once(graph, monkeypatch):
    cell, images, results = line(graph)
    warnings = []
    monkeypatch.setattr(type(cell.get_logger()), "warning", lambda self, text, **_: warnings.append(text))
    for count in (1, 2):
        images.publish(graph.image(GOOD))
        graph.wait(lambda count=count: len(results) == count, "a result")
    assert [text for text in warnings if "intrinsics of the model" in text] == [
        "nobody publishes /camera_info: the intrinsics of the model are used"
    ]
    assert "intrinsics of the model" in cell.health.status()[1]
    infos = graph.publisher(CameraInfo, "camera_info")
    infos.publish(info(graph, CAMERA))
    graph.settle()
    images.publish(graph.image(GOOD))
    graph.wait(lambda: len(results) == 3, "a result")
    assert "intrinsics of the model" not in cell.health.status()[1]


@pytest.mark.parametrize("sync, apart_ms, found", [
    ("exact", 5, False), ("approximate", 5, True), ("approximate", 50, False), ("latest", 5000, True),
])  # fmt: skip
def test_sync_modes(graph, sync, apart_ms, found):
    infos, images, views = cameras(graph, camera_info_sync=sync, camera_info_slop=0.02)
    infos.publish(info(graph, CAMERA, stamped(graph, 1000 * SECOND).header))
    graph.settle()
    view = view_of(graph, images, views, stamped(graph, 1000 * SECOND + apart_ms * 10**6))
    assert view.localized == found


def test_a_latched_camera_info_from_before_is_received(graph):
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    graph.tester.create_publisher(CameraInfo, "camera_info", qos).publish(info(graph, CAMERA, focal=75.0))
    graph.add(LocalizerNode, camera_info_durability="transient_local")
    views = graph.listen(LocalizedView, "localized_view")
    graph.wait_matched("localized_view")
    images = graph.publisher(Image, "image_raw")
    assert view_of(graph, images, views, graph.image(GOOD)).camera_info.k[0] == 75.0


# ---- quality of service ----


def test_a_publisher_that_offers_too_little_is_named(graph):
    cell = graph.add(CellNode)
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    graph.tester.create_publisher(Image, "image_raw", qos)
    graph.wait(lambda: "image_raw" in cell.health.status()[1], "a warning")
    assert "set image_reliability:=best_effort" in cell.health.status()[1]


def test_best_effort_publishers_are_heard_when_asked_for(graph):
    graph.add(CellNode, image_reliability="best_effort")
    results = graph.results()
    graph.wait_matched("result")
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    images = graph.tester.create_publisher(Image, "image_raw", qos)
    graph.wait(lambda: images.get_subscription_count() == 1, "the cell")
    images.publish(graph.image(GOOD))
    graph.wait(lambda: bool(results), "a result")
    assert results[0].verdict == R.PASS
