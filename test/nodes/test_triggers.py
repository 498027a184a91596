"""Each trigger gets its own image or HOLD: late, early, swapped, doubled, without stamps, and a camera that froze."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pad_ros.verdicts import Reason

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.msg import Trigger  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.support.triggers import Candidate, TriggerMatching, WaitingTrigger  # noqa: E402

MS, SECOND = 10**6, 10**9
GOOD, DEFECT = 75, 200
PARTS = 8
PERIOD = 700  # ms from part to part


# ---- the rule, without ROS ----


def matching(**settings):
    chosen = {"before": 0.1, "after": 0.3, "timeout": 0.4, "history": 8, **settings}
    return TriggerMatching(*(chosen[name] for name in ("before", "after", "timeout", "history")))


def image(name, stamp_ms, at_ms):
    return Candidate(name, stamp_ms * MS, at_ms * MS)


def trigger(part, stamp_ms, at_ms):
    return WaitingTrigger(part, stamp_ms * MS, at_ms * MS)


def play(events, rule=None, until_ms=60_000):
    """The image, or the reason, of each trigger; looked at every 20 ms, as the node does."""
    rule, found, now = rule or matching(), [], 0
    for event in sorted(events, key=lambda event: event.since_ns):
        while now < event.since_ns:
            found += rule.settle(now)
            now += 20 * MS
        found += (rule.add_image if isinstance(event, Candidate) else rule.add_trigger)(event)
    while now < until_ms * MS:
        found += rule.settle(now)
        now += 20 * MS
    return [(m.trigger.part_id, m.image.message if m.image else m.reason) for m in found]


def test_the_nearest_of_many_images_is_taken():
    """A camera that runs at 30 Hz: decided by the first image after the trigger."""
    frames = [image(stamp, stamp, stamp + 10) for stamp in range(1000, 2000, 33)]
    assert play([*frames, trigger("A", 1500, 1501)]) == [("A", 1495)]
    assert play([*frames, trigger("A", 1520, 1521)]) == [("A", 1528)]


def test_an_image_outside_of_the_window_is_not_taken():
    for stamp, found in ((899, Reason.DROPPED), (900, "i"), (1300, "i"), (1301, Reason.DROPPED)):
        assert play([trigger("A", 1000, 1000), image("i", stamp, 1310)]) == [("A", found)]


def test_images_and_triggers_in_swapped_order():
    images = [image(i, 1000 * i, t) for i, t in ((2, 2010), (1, 2020), (3, 3001), (4, 4001))]
    triggers = [trigger(i, 1000 * i, t) for i, t in ((1, 1990), (2, 2005), (4, 3980), (3, 4002))]
    found = play([*images, *triggers], matching(timeout=1.5))
    assert sorted(found) == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_a_doubled_trigger_gets_no_second_image():
    for second in (1000, 1200):
        events = [trigger("A", 1000, 1000), trigger("A", 1000, second), image("i", 1010, 1100)]
        assert play(events) == [("A", "i"), ("A", Reason.DROPPED)]


def test_where_stamps_cannot_decide_it_is_hold():
    two_images = [image("before", 950, 1000), image("after", 1050, 1060), trigger("A", 1000, 1100)]
    assert play(two_images) == [("A", Reason.BAD_STAMP)]
    two_triggers = [trigger("A", 1000, 1000), trigger("B", 1100, 1110), image("i", 1050, 1120)]
    assert play(two_triggers) == [("A", Reason.BAD_STAMP), ("B", Reason.BAD_STAMP)]
    one_stamp = [trigger("A", 1000, 1000), trigger("B", 1000, 1001), image("i", 1000, 1120)]
    assert play(one_stamp) == [("A", Reason.BAD_STAMP), ("B", Reason.BAD_STAMP)]


def test_an_image_nearer_to_another_trigger_is_left_to_it():
    events = [trigger("A", 1000, 1000), trigger("B", 1250, 1250), image("b", 1240, 1260)]
    assert play(events) == [("B", "b"), ("A", Reason.DROPPED)]


def test_without_stamps_the_next_image_counts_unless_one_came_just_before():
    assert play([trigger("A", 0, 1000), image("i", 0, 1100)]) == [("A", "i")]
    assert play([image("old", 0, 500), trigger("A", 0, 1000), image("i", 0, 1100)]) == [("A", "i")]
    assert play([image("own?", 0, 800), trigger("A", 0, 1000), image("i", 0, 1100)]) == [("A", Reason.BAD_STAMP)]
    assert play([image("own?", 0, 950), trigger("A", 0, 1000), image("i", 0, 1100)]) == [("A", Reason.BAD_STAMP)]
    assert play([trigger("A", 0, 1000), trigger("B", 0, 1050), image("i", 0, 1100)]) == [
        ("A", Reason.DROPPED), ("B", "i"),
    ]  # fmt: skip
    assert play([trigger("A", 1000, 1000), image("unstamped", 0, 1010)]) == [("A", Reason.DROPPED)]
    assert play([trigger("A", 0, 1000), image("i", 0, 1390)]) == [("A", "i")], "its image came within the time"


def test_an_unstamped_trigger_leaves_an_image_to_the_trigger_that_follows():
    """The image of A was lost, and that of B overtakes B's trigger."""
    lost = [trigger("A", 0, 1000), image("b", 1700, 1710)]
    assert play([*lost, trigger("B", 1700, 1730)], matching(timeout=1.0)) == [("A", Reason.DROPPED), ("B", "b")]
    assert play([*lost, trigger("B", 0, 1730)], matching(timeout=1.0)) == [
        ("A", Reason.DROPPED), ("B", Reason.BAD_STAMP),
    ]  # fmt: skip
    assert play([trigger("A", 1000, 1000), trigger("B", 0, 1300), image("a", 1010, 1310)]) == [
        ("A", "a"), ("B", Reason.DROPPED),
    ]  # fmt: skip


def test_a_standstill_is_no_time_in_which_a_trigger_could_have_been_taken():
    """The image of A was lost, that of B is taken; then the node has no turn for .3 s, and B's trigger has arrived."""
    rule = matching(timeout=1.0)
    assert rule.add_trigger(trigger("A", 0, 1000)) == [] == rule.add_image(image("b", 1010, 1010))
    assert rule.settle(1310 * MS) == []  # timers have the first turn
    found = rule.add_trigger(trigger("B", 1005, 1310))
    assert [(m.trigger.part_id, m.image and m.image.message) for m in found] == [("A", None), ("B", "b")]


def test_a_flood_of_triggers_stays_bounded():
    rule = matching(timeout=60.0)
    found = [m for i in range(2000) for m in rule.add_trigger(trigger(str(i), i + 1, 0))]
    assert len(rule.triggers) + len(found) == 2000 and len(rule.triggers) < 300


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(-60, 60), st.booleans(), st.booleans()), min_size=1, max_size=12)
)
def test_no_part_ever_gets_the_image_of_another(parts):
    """Images and triggers up to 60 ms early or late, some of them lost, parts .7 s apart."""
    events = []
    for i, (delay, late, has_image, has_trigger) in enumerate(parts):
        start = 10_000 + PERIOD * i
        if has_image:
            events.append(image(i, start, start + delay))
        if has_trigger:
            events.append(trigger(i, start + late, start + 60 + late))
    found = play(events)
    assert sorted(part for part, _ in found) == [i for i, (_, _, _, asked) in enumerate(parts) if asked]
    for part, what in found:
        assert what == (part if parts[part][2] else Reason.DROPPED)


# ---- in a running graph ----


@pytest.fixture
def cell(graph):
    node = graph.add(CellNode, triggered=True)
    results = graph.results()
    graph.wait_matched("result")
    return node, graph.publisher(Image, "image_raw"), graph.publisher(Trigger, "trigger"), results


def stamped(message, stamp_ns):
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, SECOND)
    return message


@pytest.mark.parametrize("stamped_late", [False, True], ids=["stamped in time", "stamped late"])
def test_triggers_60_ms_late_with_parts_700_ms_apart(graph, cell, stamped_late):
    """Every second part is defective; once each trigger took the image of the part behind."""
    node, images, triggers, results = cell
    reds = [GOOD, DEFECT] * (PARTS // 2)
    for i, red in enumerate(reds):
        now = node.get_clock().now().nanoseconds
        images.publish(stamped(graph.image(red), now))
        graph.pause(0.06)
        late = 60 * MS if stamped_late else 0
        triggers.publish(stamped(Trigger(part_id=f"A{i}"), now + late))
        graph.pause(PERIOD / 1000 - 0.06)
    graph.wait(lambda: len(results) == PARTS, "results")
    found = {r.part_id: r.verdict for r in results}
    assert found == {f"A{i}": R.REJECT if red == DEFECT else R.PASS for i, red in enumerate(reds)}


def test_swapped_and_doubled_in_the_graph(graph, cell):
    _, images, triggers, results = cell
    sent = {"A1": (1000, GOOD), "A2": (1001, DEFECT)}
    for part in ("A2", "A1", "A2"):
        triggers.publish(stamped(Trigger(part_id=part), sent[part][0] * SECOND))
    graph.settle()
    for part in ("A2", "A1"):
        images.publish(stamped(graph.image(sent[part][1]), sent[part][0] * SECOND))
    graph.wait(lambda: len(results) == 3, "three results")
    found = sorted((r.part_id, r.verdict, r.reason) for r in results)
    assert found == [("A1", R.PASS, R.NONE), ("A2", R.HOLD, R.DROPPED), ("A2", R.REJECT, R.ANOMALY)]


def test_an_unstamped_trigger_behind_its_image_is_hold(graph, cell):
    node, images, triggers, results = cell
    images.publish(graph.image(DEFECT))
    graph.wait(lambda: len(node._intake.matching._images) == 1, "the image")
    triggers.publish(Trigger(part_id="A1"))
    graph.wait(lambda: bool(results), "a result")
    assert (results[0].part_id, results[0].verdict, results[0].reason) == ("A1", R.HOLD, R.BAD_STAMP)
    assert "no stamp" in results[0].reason_text


def test_triggers_are_subscribed_to_before_images(cell):
    node, *_ = cell
    topics = [subscription.topic_name for subscription in node.subscriptions]
    assert topics.index("/trigger") < topics.index("/image_raw")


# ---- a frozen camera ----


def again(graph, message):
    """The same pixels with a fresh stamp."""
    return Image(**{name: getattr(message, name) for name in ("height", "width", "encoding", "step", "data")},
                 header=graph.image(0).header)  # fmt: skip


@pytest.mark.parametrize("check", [True, False])
def test_the_same_pixels_again_are_hold(graph, check):
    graph.add(CellNode, frozen_check=check)
    results, images = graph.results(), graph.publisher(Image, "image_raw")
    graph.wait_matched("result")
    first = graph.image(GOOD)
    for i, message in enumerate((first, again(graph, first), again(graph, first), graph.image(GOOD))):
        images.publish(message)
        graph.wait(lambda i=i: len(results) > i, "a result")
    frozen = (R.HOLD, Reason.FROZEN) if check else (R.PASS, R.NONE)
    assert [(r.verdict, r.reason) for r in results] == [(R.PASS, R.NONE), frozen, frozen, (R.PASS, R.NONE)]
    assert not check or "repeats itself" in results[1].reason_text


def test_a_frozen_camera_answers_no_trigger(graph, cell):
    _, images, triggers, results = cell
    first = graph.image(GOOD)
    for i, message in enumerate((first, again(graph, first))):
        images.publish(message)
        triggers.publish(stamped(Trigger(part_id=f"A{i}"), message.header.stamp.sec * SECOND))
        graph.wait(lambda i=i: len(results) > i, "a result")
    assert [(r.part_id, r.verdict, r.reason) for r in results] == [
        ("A0", R.PASS, R.NONE), ("A1", R.HOLD, Reason.FROZEN),
    ]  # fmt: skip
