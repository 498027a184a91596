"""What each stage publishes. Messages are only made for topics that somebody listens to."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image as ImageMsg
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from pad_ros.msg import InspectionResult, LocalizedView, ReferenceView

from ...decision.inspection import Inspection
from ...decision.result_message import detections, pose_message, transforms
from ...reporting.pictures import heatmap_image, heatmap_overlay
from ...verdicts import Reason
from .cloud import anomaly_cloud
from .convert import floats_to_image, rgb_to_image
from .limits import shortened
from .markers import defect_markers
from .messages import frame_to_localized, frame_to_reference, make, message_class, result_msg
from .qos import reliable, result_qos
from .rivals import Rivals
from .stages import Frame, stamp_ns

if TYPE_CHECKING:
    from ...model import ReferenceModel

GRACE = 0.25  # seconds after the deadline from which on an answer is the watchdog's
NEXT_STAGE_PATIENCE = 5.0  # seconds that a frame waits for the next stage to be there (start, restart)


class LocalizerOutput:
    """`localized_view`, `pose`, and the transform camera -> part on /tf (where tf2_msgs is installed)."""

    def __init__(self, node: Node, part_frame: str, depth: int) -> None:
        self._node = node
        self._part_frame = part_frame
        self._view = node.create_publisher(LocalizedView, "localized_view", reliable(depth))
        self._pose = node.create_publisher(PoseWithCovarianceStamped, "pose", reliable(depth))
        self._tf = _optional_publisher(node, "tf2_msgs/msg/TFMessage", "/tf", 100)

    def publish(self, frame: Frame, patience: float = 0.0) -> None:
        """`patience`: seconds to wait for the next stage, where that is another process."""
        _hand_on(self._node, self._view, frame_to_localized, frame, patience)
        _log_failure(self._node, "pose", lambda: self._publish_pose(frame))

    def _publish_pose(self, frame: Frame) -> None:
        pose = frame.localization.pose
        if pose is None:
            return
        if _wanted(self._pose):
            msg = PoseWithCovarianceStamped(header=frame.header, pose=pose_message(make, frame.localization))
            self._pose.publish(msg)
        if self._tf is not None and _wanted(self._tf):
            self._tf.publish(transforms(make, frame.header, self._part_frame, pose))


class RendererOutput:
    """`reference_view`, `reference` (rgb8), `reference/depth` (32FC1)."""

    def __init__(self, node: Node, depth: int) -> None:
        self._node = node
        self._view = node.create_publisher(ReferenceView, "reference_view", reliable(depth))
        self._reference = node.create_publisher(ImageMsg, "reference", reliable(depth))
        self._depth = node.create_publisher(ImageMsg, "reference/depth", reliable(depth))

    def publish(self, frame: Frame, patience: float = 0.0) -> None:
        """`patience`: as for the localizer."""
        _hand_on(self._node, self._view, frame_to_reference, frame, patience)
        _log_failure(self._node, "reference", lambda: self._publish_pictures(frame))

    def _publish_pictures(self, frame: Frame) -> None:
        if frame.rendering is None:
            return
        if _wanted(self._reference):
            self._reference.publish(rgb_to_image(frame.rendering.rgb8, frame.header))
        if _wanted(self._depth):
            self._depth.publish(floats_to_image(frame.rendering.depth, frame.header))


class ScorerOutput:
    """`result` for every frame; `heatmap`, `heatmap/colour`, `heatmap_overlay`, `anomaly_cloud`, `defects` and
    `defect_markers` where there is a map.

    A frame that the watchdog has answered meanwhile is not answered again, nor one so late (`deadline`, seconds; 0:
    none) that the two answers would cross.
    """

    def __init__(self, node: Node, part_frame: str, depth: int, deadline: float) -> None:
        self._node = node
        self._part_frame = part_frame
        self._deadline = deadline
        # A watchdog that finds a restarted node late must get what it has answered by then, or it answers once more.
        self._result = node.create_publisher(InspectionResult, "result", result_qos())
        self._heatmap = node.create_publisher(ImageMsg, "heatmap", reliable(depth))
        self._colour = node.create_publisher(ImageMsg, "heatmap/colour", reliable(depth))
        self._overlay = node.create_publisher(ImageMsg, "heatmap_overlay", reliable(depth))
        self._cloud = node.create_publisher(PointCloud2, "anomaly_cloud", reliable(depth))
        self._markers = node.create_publisher(MarkerArray, "defect_markers", reliable(depth))
        self._defects = _optional_publisher(node, "vision_msgs/msg/Detection2DArray", "defects", depth)
        self._timed_out: deque[tuple[str, int, int]] = deque(maxlen=256)
        # As deep as that of the triggers: a node that stood still must not answer what was answered meanwhile.
        self._results = node.create_subscription(InspectionResult, "result", self._on_result, reliable(200))
        Rivals(node, self._result.topic_name)

    def publish(self, frame: Frame, inspection: Inspection, model: ReferenceModel | None) -> None:
        key = answer_key(frame.part_id, frame.trigger_ns, stamp_ns(frame.header.stamp))
        self._take_arrived()
        if key in self._timed_out and any(key):
            self._timed_out.remove(key)
            self._node.get_logger().warning(f"{inspection.reason_text}: already answered with TIMEOUT")
            return
        if self._too_late(inspection):
            self._node.get_logger().warning(f"{inspection.reason_text}: left to the watchdog")
            return
        try:
            msg = result_msg(inspection, frame, model)
        except Exception as error:  # an inspection that does not fit into the message must not vanish
            text = f"result: {type(error).__name__}: {error}"
            held = Inspection.hold(Reason.INTERNAL_ERROR, text, timings_ms=inspection.timings_ms)
            self._result.publish(result_msg(held, frame, model))
            return
        self._result.publish(msg)
        _log_failure(self._node, "heatmap", lambda: self._publish_pictures(frame, inspection))

    def _publish_pictures(self, frame: Frame, inspection: Inspection) -> None:
        if inspection.anomaly_map is None or frame.image is None or frame.camera is None:
            return
        found, threshold, rendering = inspection.anomaly_map, inspection.threshold, frame.rendering
        place = frame.header.stamp, self._part_frame
        if _wanted(self._heatmap):
            self._heatmap.publish(floats_to_image(found.values, frame.header))
        if _wanted(self._colour):
            self._colour.publish(rgb_to_image(heatmap_image(found.values, threshold), frame.header))
        if _wanted(self._overlay):
            overlay = heatmap_overlay(frame.image, found.values, threshold, inspection.defects)
            self._overlay.publish(rgb_to_image(overlay, frame.header))
        if _wanted(self._cloud) and rendering is not None:
            self._cloud.publish(anomaly_cloud(rendering, frame.camera, found.values, threshold, *place))
        if _wanted(self._markers) and rendering is not None:
            self._markers.publish(defect_markers(inspection.defects, frame.camera, rendering.pose, *place))
        if self._defects is not None and _wanted(self._defects):
            self._defects.publish(detections(make, inspection, frame.header, frame.part_id))

    def _too_late(self, inspection: Inspection) -> bool:
        """Whether a watchdog, which publishes results too, is about to answer."""
        late = self._deadline > 0 and inspection.timings_ms.get("total", 0.0) > 1000 * (self._deadline + GRACE)
        return late and self._node.count_publishers(self._result.topic_name) > 1

    def _take_arrived(self) -> None:
        """Take the results that have arrived but not had their turn: on a busy machine that may be a second later."""
        with self._results.handle:
            while (taken := self._results.handle.take_message(self._results.msg_type, False)) is not None:
                self._on_result(taken[0])

    def _on_result(self, msg: InspectionResult) -> None:
        if msg.reason == Reason.TIMEOUT and not msg.model_hash:  # the watchdog's: it knows no model
            self._timed_out.append(answer_key(msg.part_id, stamp_ns(msg.trigger_stamp), stamp_ns(msg.header.stamp)))


def answer_key(part_id: str, trigger_ns: int, image_ns: int) -> tuple[str, int, int]:
    """What ties an answer to its question: part and trigger where there is one, else the image's stamp."""
    return (shortened(part_id), trigger_ns, 0) if part_id or trigger_ns else ("", 0, image_ns)


def _hand_on(
    node: Node, publisher: Publisher, convert: Callable[[Frame], object], frame: Frame, patience: float
) -> None:
    """Publish a frame for the next stage; one that does not fit into the message goes on as a failed one."""
    end = time.monotonic() + patience
    while not _wanted(publisher) and time.monotonic() < end:
        time.sleep(0.01)
    if not _wanted(publisher):
        if patience:
            node.get_logger().error(f"nobody takes {publisher.topic}: a frame ends here without a result")
        return
    try:
        publisher.publish(convert(frame))
    except Exception as error:  # it must end in a result all the same
        failed = frame.failed(Reason.INTERNAL_ERROR, f"{publisher.topic}: {type(error).__name__}: {error}")
        publisher.publish(convert(replace(failed, image=None, camera=None)))


def _log_failure(node: Node, what: str, publish: Callable[[], None]) -> None:
    """Publish what is only there to be looked at: where that fails, the line goes on."""
    try:
        publish()
    except Exception as error:
        node.get_logger().error(f"{what} not published: {type(error).__name__}: {error}")


def _wanted(publisher: Publisher) -> bool:
    return bool(publisher.get_subscription_count() > 0)


def _optional_publisher(node: Node, kind: str, topic: str, depth: int) -> Publisher | None:
    """For messages that are part of every ROS install, but not among the PyPI wheels."""
    try:
        return node.create_publisher(message_class(kind), topic, reliable(depth))
    except ImportError:
        return None
