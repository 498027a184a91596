"""Frames as messages and back; constants; covariance."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from fake_inspector import CAMERA, COVARIANCE, POSE, FakeInspector
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import DefectRegion as DefectRegionMsg  # noqa: E402
from pad_ros.msg import InspectionResult, LocalizedView, ReferenceView  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from pad_ros.decision.inspection import DefectKind, DefectRegion  # noqa: E402
from pad_ros.decision.result_message import pose_message  # noqa: E402
from pad_ros.errors import ImageError  # noqa: E402
from pad_ros.imaging.geometry import Camera, Pose  # noqa: E402
from pad_ros.imaging.rect import Rect  # noqa: E402
from pad_ros.io.encodings import covariance_from_ros, covariance_to_ros  # noqa: E402
from pad_ros.localization.result import Localization  # noqa: E402
from pad_ros.nodes.support import cloud as clouds  # noqa: E402
from pad_ros.nodes.support import messages  # noqa: E402
from pad_ros.nodes.support.markers import defect_markers  # noqa: E402
from pad_ros.nodes.support.stages import Frame, clock_id  # noqa: E402
from pad_ros.verdicts import Reason, Verdict  # noqa: E402

vectors = st.lists(st.floats(-3, 3), min_size=3, max_size=3).map(np.array)


def constants(message: type) -> dict[str, int]:
    names = [name for name in dir(type(message)) if name.isupper() and not name.startswith("_")]
    return {name: getattr(message, name) for name in names}


def test_constants_are_those_of_the_library():
    found = constants(InspectionResult)
    expected = {member.name: int(member) for member in (*Verdict, *Reason)}
    assert found == expected
    assert constants(DefectRegionMsg) == {kind.name: kind.value for kind in DefectKind}


def frame(localization: Localization | None = None) -> Frame:
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = 7, 9
    image = np.random.default_rng(0).integers(0, 255, (CAMERA.height, CAMERA.width, 3)).astype(np.uint8)
    found = localization or Localization(POSE, Reason.NONE, "", 40, 50, 0.5, COVARIANCE)
    return Frame(
        header, "A1", 12345, clock_id(), "hash", image, CAMERA, found, localize_ms=1.5, trigger_ns=8 * 10**9 + 7
    )


def through_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def test_localized_view_round_trip():
    before = frame()
    after = messages.frame_from_localized(through_wire(messages.frame_to_localized(before)))
    assert (after.header, after.part_id, after.accepted_ns) == (before.header, "A1", 12345)
    assert after.trigger_ns == before.trigger_ns == 8_000_000_007
    assert (after.clock_id, after.model_hash, after.camera, after.localize_ms) == (clock_id(), "hash", CAMERA, 1.5)
    np.testing.assert_array_equal(after.image, before.image)
    found = after.localization
    np.testing.assert_allclose(found.pose.matrix, POSE.matrix, atol=1e-15)
    np.testing.assert_allclose(found.covariance, COVARIANCE, atol=1e-18)
    assert (found.reason, found.inliers, found.matches, found.residual_px) == (Reason.NONE, 40, 50, 0.5)


def test_a_failed_view_round_trip():
    failed = frame(Localization(None, Reason.WEAK_POSE, "4 of 100 matches agree", 4, 100))
    for before in (failed, dataclasses.replace(failed, image=None, camera=None)):
        after = messages.frame_from_reference(through_wire(messages.frame_to_reference(before)))
        assert not after.localization.localized
        assert (after.localization.reason, after.localization.reason_text) == (
            Reason.WEAK_POSE,
            "4 of 100 matches agree",
        )
        assert after.rendering is None
        assert (after.image is None, after.camera is None) == (before.image is None, before.camera is None)


@pytest.mark.parametrize("features", [0, 1, 2])
def test_reference_view_round_trip(features):
    before = frame()
    rendering = FakeInspector("x").render(SimpleNamespace(camera=CAMERA), before.localization)
    rendering = dataclasses.replace(rendering, features=np.repeat(rendering.alpha[..., None], features, axis=2))
    random = np.random.default_rng(features)
    colours = random.integers(0, 255, (features, *rendering.alpha.shape, 3)).astype(np.uint8)
    seen = random.random((features, *rendering.alpha.shape)) > 0.5
    window, white = (Rect(3, 4, 23, 14), (1.0, 1.0, 1.0)) if features else (None, (0.0, 0.0, 0.0))
    rendering = dataclasses.replace(rendering, photographs=colours, seen=seen, window=window, background_colour=white)
    before = dataclasses.replace(before, rendering=rendering, render_ms=2.5)
    after = messages.frame_from_reference(through_wire(messages.frame_to_reference(before)))
    for name in ("rgb", "alpha", "depth", "features", "photographs", "seen"):
        np.testing.assert_array_equal(getattr(after.rendering, name), getattr(rendering, name))
    assert after.rendering.camera == CAMERA
    assert (after.rendering.window, after.rendering.background_colour) == (window, white)
    np.testing.assert_allclose(after.rendering.pose.matrix, POSE.matrix, atol=1e-15)
    assert after.render_ms == 2.5


def test_a_reference_view_whose_images_do_not_belong_together_is_refused():
    before = frame()
    rendering = FakeInspector("x").render(SimpleNamespace(camera=CAMERA), before.localization)
    msg = messages.frame_to_reference(dataclasses.replace(before, rendering=rendering))
    msg.alpha.height -= 1
    with pytest.raises((ImageError, ValueError)):
        messages.frame_from_reference(msg)


@settings(deadline=None)
@given(vectors, vectors, st.integers(0, 2**31))
def test_covariance_follows_the_pose(rotation, translation, seed):
    """The ROS covariance is that of the position and rotation of poses drawn with our twist covariance."""
    pose = Pose.identity().retract(np.concatenate([rotation, translation]))
    a = np.random.default_rng(seed).normal(size=(6, 6))
    covariance = a @ a.T
    ros = covariance_to_ros(covariance, pose)
    np.testing.assert_allclose(covariance_from_ros(ros, pose), covariance, atol=1e-9 * np.abs(ros).max())
    step = 1e-6
    columns = []
    for twist in step * np.eye(6):
        moved = pose.retract(twist)
        relative = moved.rotation @ pose.rotation.T
        turn = [relative[2, 1] - relative[1, 2], relative[0, 2] - relative[2, 0], relative[1, 0] - relative[0, 1]]
        columns.append(np.concatenate([moved.translation - pose.translation, np.array(turn) / 2]) / step)
    jacobian = np.stack(columns, axis=1)
    np.testing.assert_allclose(ros, jacobian @ covariance @ jacobian.T, atol=1e-4 * np.abs(ros).max())


def test_unknown_pose_is_marked():
    assert pose_message(messages.make, None).covariance[0] == -1
    assert pose_message(messages.make, Localization(POSE, Reason.NONE, "")).covariance[0] == -1


def test_every_field_is_commented(repository):
    """Each field and constant in msg/ and srv/ carries a comment on its line."""
    for path in [*(repository / "msg").glob("*.msg"), *(repository / "srv").glob("*.srv")]:
        for line in path.read_text().splitlines():
            assert "#" in line or line.strip() in ("", "---"), f"{path.name}: {line}"


def test_results_have_the_agreed_fields():
    assert list(InspectionResult.get_fields_and_field_types()) == [
        "header", "part_id", "model_name", "model_hash", "verdict", "reason", "reason_text", "score", "threshold",
        "p_value", "view_share", "light_change", "sharpness", "defects", "pose", "localize_ms", "render_ms", "score_ms",
        "total_ms", "trigger_stamp",
    ]  # fmt: skip
    assert LocalizedView and ReferenceView


def test_defect_markers_are_as_large_as_the_defect_and_replace_the_last():
    place = (0.1, 0.2, 0.3)
    depth = POSE.transform(np.array([place]))[0, 2]
    defects = [
        DefectRegion((0, 0, 9, 9), 64, 5.0, place, DefectKind.MISSING),
        DefectRegion((0, 0, 9, 9), 64, 4.0, None, DefectKind.ADDED),  # beside the part
    ]
    clear, sphere, caption = defect_markers(defects, CAMERA, POSE, Header().stamp, "part").markers
    assert clear.action == clear.DELETEALL and (sphere.type, caption.type) == (sphere.SPHERE, sphere.TEXT_VIEW_FACING)
    assert (sphere.pose.position.x, sphere.pose.position.y, sphere.pose.position.z) == pytest.approx(place)
    assert np.pi * (sphere.scale.x / 2 / depth * CAMERA.fx) ** 2 == pytest.approx(64)  # px
    assert caption.text == "MISSING 5.0" and sphere.header.frame_id == "part"


def test_anomaly_cloud_lies_on_the_part():
    """Points of a plane at depth 3, seen through a distorting camera, come back to the part frame."""
    camera = Camera(64, 48, 60.0, 61.0, 31.0, 25.0, (0.05, 0.0, 0.0, 0.0))
    rendering = FakeInspector("x").render(SimpleNamespace(camera=camera), Localization(POSE, Reason.NONE, ""))
    values = np.zeros((48, 64), np.float32)
    values[20, 30] = 2.0  # raw pixel
    cloud = clouds.anomaly_cloud(rendering, camera, values, 1.0, Header().stamp, "part")
    points = np.frombuffer(cloud.data, dtype=[("xyz", "<f4", 3), ("rgb", "<u4"), ("anomaly", "<f4")])
    assert cloud.width == len(points) == 400
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "rgb", "anomaly"]
    in_camera = POSE.transform(points["xyz"].astype(np.float64))
    np.testing.assert_allclose(in_camera[:, 2], 3, atol=1e-5)
    hot = points["anomaly"] > 0
    assert hot.any()
    assert np.all(np.floor(camera.project(in_camera[hot])) == [30, 20])
    assert len(np.unique(points["rgb"])) == 2


def test_sensor_msgs_py_makes_the_cloud_that_we_do(monkeypatch):
    """Where it is installed: a ROS machine."""
    pytest.importorskip("sensor_msgs_py", reason="sensor_msgs_py is part of ROS installs, not of the PyPI wheels")
    random = np.random.default_rng(0)
    anomaly, colours = random.random(7, np.float32), random.integers(0, 256, (7, 3), np.uint8)
    given = random.normal(size=(7, 3)), anomaly, colours, Header().stamp, "part"
    theirs = clouds.cloud_message(*given)
    assert clouds.create_cloud is not None
    monkeypatch.setattr(clouds, "create_cloud", None)
    assert theirs == clouds.cloud_message(*given)
