"""/tf and `defects`: filled as their definitions demand, whether rclpy or rosbags makes the messages."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from pad_ros.decision.inspection import AnomalyMap, DefectKind, DefectRegion, Inspection
from pad_ros.decision.result_message import detections, transforms
from pad_ros.imaging.geometry import Pose
from pad_ros.verdicts import Reason, Verdict

VISION_MSGS = {  # 4.1, as in ROS 2 Jazzy; not among rosbags' definitions
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": "ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose",
    "Detection2D": "std_msgs/Header header\nObjectHypothesisWithPose[] results\nBoundingBox2D bbox\nstring id",
    "Detection2DArray": "std_msgs/Header header\nDetection2D[] detections",
}
DEFECTS = (
    DefectRegion((22, 12, 6, 4), 24, float("inf"), (0.1, 0.2, 0.3), DefectKind.ADDED),
    DefectRegion((0, 0, 3, 9), 20, 6.0, None, DefectKind.MISSING),
    DefectRegion((5, 5, 1, 1), 1, 2.0, None, DefectKind.CHANGED),
)


@pytest.fixture(scope="module")
def store():
    found = get_typestore(Stores.ROS2_JAZZY)
    for name, text in VISION_MSGS.items():
        found.register(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    return found


def make(store, kind, /, **fields):
    return store.types[kind](**fields)


def header(store):
    stamp = make(store, "builtin_interfaces/msg/Time", sec=12, nanosec=500)
    return make(store, "std_msgs/msg/Header", stamp=stamp, frame_id="camera")


def read_back(store, message, kind):
    """Through CDR: every field must have the type and range of its definition."""
    return store.deserialize_cdr(store.serialize_cdr(message, kind), kind)


def rejected(threshold: float) -> Inspection:
    return Inspection(
        Verdict.REJECT, Reason.ANOMALY, "", 9.0, threshold, DEFECTS, None, None,
        AnomalyMap(np.ones((4, 4), np.float32)), None,
    )  # fmt: skip


@pytest.mark.parametrize("part_id, begin", [("part_1", "part_1/12.000000500/"), ("", "12.000000500/")])
def test_detections_have_scores_between_0_and_1_and_unique_ids(store, part_id, begin):
    array = detections(partial(make, store), rejected(2.0), header(store), part_id)
    array = read_back(store, array, "vision_msgs/msg/Detection2DArray")
    found = array.detections
    assert [d.id for d in found] == [f"{begin}{number}" for number in (1, 2, 3)]
    assert [d.results[0].hypothesis.class_id for d in found] == ["ADDED", "MISSING", "CHANGED"]
    assert [d.results[0].hypothesis.score for d in found] == [1.0, 0.75, 0.5]  # .5: at the threshold
    (middle, size) = (found[0].bbox.center.position, (found[0].bbox.size_x, found[0].bbox.size_y))
    assert (middle.x, middle.y, *size) == (25.0, 14.0, 6.0, 4.0)
    assert {d.header.frame_id for d in (array, *found)} == {"camera"}


def test_an_image_without_defects_has_no_detections(store):
    passed = dataclasses.replace(rejected(2.0), defects=())
    array = detections(partial(make, store), passed, header(store), "a")
    assert read_back(store, array, "vision_msgs/msg/Detection2DArray").detections == []


def test_the_transform_leads_from_camera_to_part(store):
    pose = Pose.look_at(np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]), roll=0.3)
    message = transforms(partial(make, store), header(store), "cell_1/part", pose)
    (stamped,) = read_back(store, message, "tf2_msgs/msg/TFMessage").transforms
    assert (stamped.header.frame_id, stamped.child_frame_id) == ("camera", "cell_1/part")
    assert (stamped.header.stamp.sec, stamped.header.stamp.nanosec) == (12, 500)
    q, t = stamped.transform.rotation, stamped.transform.translation
    again = Pose.from_quaternion(np.array([q.w, q.x, q.y, q.z]), np.array([t.x, t.y, t.z]))
    np.testing.assert_allclose(again.matrix, pose.matrix, atol=1e-12)
