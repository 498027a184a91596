"""fusion: the results to several views of one part (same part_id) become one verdict for the part."""

from __future__ import annotations

import math
import sys
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from geometry_msgs.msg import Point
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from pad_ros.msg import InspectionResult, PartResult
from pad_ros.msg import PartDefect as PartDefectMsg

from ..decision.fusion import FusionSettings, PartDefect, PartFusion, PartInspection, Surface, part_surface
from ..errors import ModelError
from ..inspector import Inspector
from ..verdicts import Reason, Verdict
from .support.base import StageNode
from .support.cloud import read_cloud, surface_cloud
from .support.markers import part_markers
from .support.qos import latched, reliable
from .support.spin import run
from .support.stages import stamp_ns

CHECK = 0.05  # seconds between looks at the clock
REMEMBERED_CLOUDS = 16
REMEMBERED = 256  # views and parts
SAME_THRESHOLD = 1e-6  # relative


@dataclass(eq=False)
class Part:
    """A part whose views are coming in. surface None: there was no model when its first view came."""

    fusion: PartFusion
    surface: Surface | None
    header: Header  # of the last view
    last_ns: int  # steady clock
    answered: set[int] = field(default_factory=set)  # what was asked: stamps of triggers, else of images
    results: set[tuple[int, int, int]] = field(default_factory=set)  # trigger stamp, image stamp, verdict


@dataclass(frozen=True, eq=False)
class WaitingView:
    """A result that waits for its anomaly_cloud. since_ns: steady clock."""

    result: InspectionResult
    since_ns: int

    @property
    def stamp(self) -> int:
        return stamp_ns(self.result.header.stamp)


class FusionNode(StageNode):
    """One `part_result` for each part: after `views` results of its part_id, else `part_timeout` after the last.

    Takes the anomaly from `anomaly_cloud`, by the stamp of the result, unless several results share it. Results without
    part_id are left out. A part is decided once: a view that comes later is reported and no more. Another
    `false_reject_rate` holds from the next part on.
    """

    node_name = "fusion"

    def set_up(self) -> None:
        chosen = {name: self.parameters[name] for name in ("views", "agreeing", "min_coverage", "max_held")}
        self._settings = FusionSettings(**chosen)
        self._part_frame = self.parameters["part_frame"]
        self._timeout, self._patience = self.parameters["part_timeout"], self.parameters["cloud_wait"]
        self._surface: Surface | None = None
        self._parts: dict[str, Part] = {}
        self._waiting: list[WaitingView] = []
        self._clouds: deque[PointCloud2] = deque(maxlen=REMEMBERED_CLOUDS)  # that overtook their results
        self._stamps: deque[int] = deque(maxlen=REMEMBERED)  # of the views that came
        self._decided: OrderedDict[str, int] = OrderedDict()  # part_id -> ROS time of its decision, ns

    def prepare(self, inspector: Inspector) -> None:
        model = inspector.model
        points = part_surface(model.gaussians, model.background, model.camera, model.sfm_map.poses, inspector.device)
        if len(points) < 2:
            raise ModelError(f"{model.name}: its views show no surface that anomalies could be gathered on")
        self._surface = Surface(points)

    def open_outputs(self) -> None:
        self._result = self.create_publisher(PartResult, "part_result", latched())
        self._cloud = self.create_publisher(PointCloud2, "part_cloud", latched())
        self._markers = self.create_publisher(MarkerArray, "part_defects", latched())

    def open_inputs(self) -> None:
        for memory in (self._waiting, self._clouds, self._stamps, self._decided):
            memory.clear()
        self.create_subscription(InspectionResult, "result", self._on_result, reliable(50))
        self.create_subscription(PointCloud2, "anomaly_cloud", self._on_cloud, reliable(10))
        self.create_timer(CHECK, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close_inputs(self) -> None:
        """Judge the parts that are open by what has come."""
        for part_id in list(self._parts):
            self._finish(part_id)

    def _on_result(self, msg: InspectionResult) -> None:
        if not msg.part_id or self._late(msg):
            return
        if self._settings.views == 0:
            for other in [part_id for part_id in self._parts if part_id != msg.part_id]:
                self._finish(other)
        part = self._parts.setdefault(msg.part_id, self._begin(msg))
        trigger, stamp = stamp_ns(msg.trigger_stamp), stamp_ns(msg.header.stamp)
        result = (trigger, stamp, msg.verdict)
        if (trigger or stamp) and result in part.results:
            self.health.count("repeated_results")
            return
        part.results.add(result)
        part.last_ns, part.header = time.monotonic_ns(), msg.header
        shared = stamp in self._stamps
        self._stamps.append(stamp)
        if msg.verdict == Verdict.HOLD:
            self._add(msg, None)
        elif shared or stamp == 0:
            # Nothing shows whose cloud is whose: neither this view nor one that waits gets any.
            for view in [view for view in self._waiting if view.stamp == stamp]:
                self._settle(view, None)
            self._add(msg, None)
        else:
            view = WaitingView(msg, part.last_ns)
            self._waiting.append(view)
            cloud = next((cloud for cloud in self._clouds if stamp_ns(cloud.header.stamp) == stamp), None)
            if cloud is not None:
                self._settle(view, cloud)

    def _late(self, msg: InspectionResult) -> bool:
        """Report a view of a part that is decided; one that was asked for since then begins the part anew."""
        decided = self._decided.get(msg.part_id)
        if decided is None or _asked(msg) > decided:
            self._decided.pop(msg.part_id, None)
            return False
        self._report_late(msg)
        return True

    def _report_late(self, msg: InspectionResult) -> None:
        text = f"a view of part {msg.part_id!r} came after its decision: {Verdict(msg.verdict).name}, {msg.reason_text}"
        self.get_logger().error(text)
        self.health.count("late_views")
        self.health.warn("late view", text)

    def _on_cloud(self, msg: PointCloud2) -> None:
        view = next((view for view in self._waiting if view.stamp == stamp_ns(msg.header.stamp)), None)
        if view is None:
            self._clouds.append(msg)
        else:
            self._settle(view, msg)

    def _settle(self, view: WaitingView, cloud: PointCloud2 | None) -> None:
        self._waiting.remove(view)
        self._add(view.result, cloud)

    def _check(self) -> None:
        now = time.monotonic_ns()
        for view in list(self._waiting):
            if view in self._waiting and now - view.since_ns > 1e9 * self._patience:
                self._settle(view, None)
        for part_id, part in list(self._parts.items()):
            if now - part.last_ns > 1e9 * self._timeout:
                self._finish(part_id)

    def _begin(self, msg: InspectionResult) -> Part:
        calibration = None if self.inspector is None else self.inspector.model.calibration
        threshold = float("nan") if calibration is None else float(calibration.threshold)
        fusion = PartFusion(self._surface, threshold, self._settings)
        return Part(fusion, self._surface, msg.header, time.monotonic_ns())

    def _add(self, msg: InspectionResult, cloud: PointCloud2 | None) -> None:
        """A view with all that will come of it; ends the part that is complete by it."""
        part = self._parts.get(msg.part_id)
        if part is None:  # complete by another view while this one waited
            self._report_late(msg)
            return
        verdict, reason, text = Verdict(msg.verdict), Reason(msg.reason), msg.reason_text
        own = "" if self.inspector is None else self.inspector.model.hash
        points = values = None
        if verdict is not Verdict.HOLD and msg.model_hash != own:
            verdict, reason = Verdict.HOLD, Reason.NO_MODEL
            text = f"judged by model {msg.model_hash[:12]}, fusion has {own[:12] or 'none'}"
        elif verdict is Verdict.PASS and not math.isfinite(msg.score):
            verdict, reason, text = Verdict.HOLD, Reason.INTERNAL_ERROR, f"PASS with a score of {msg.score}"
        elif cloud is not None:
            try:
                points, values = read_cloud(cloud)
            except ValueError as error:
                self.get_logger().error(str(error))
        elif verdict is not Verdict.HOLD:
            self.health.count("clouds_missing")
        self._compare_thresholds(msg, part.fusion.threshold, own)
        placed = all(math.isfinite(defect.centroid.x) for defect in msg.defects)  # NaN: off the part
        asked = _asked(msg)
        part.fusion.add(verdict, reason, text, points, values, placed, repeated=asked in part.answered)
        if asked:  # without any stamp nobody can tell an answer from its repetition
            part.answered.add(asked)
        if 0 < self._settings.views <= part.fusion.views:
            self._finish(msg.part_id)

    def _compare_thresholds(self, msg: InspectionResult, threshold: float, model_hash: str) -> None:
        """Warn while a view was judged by another threshold of the same model than its part is."""
        alike = msg.model_hash != model_hash or math.isclose(msg.threshold, threshold, rel_tol=SAME_THRESHOLD)
        if msg.verdict != Verdict.HOLD:
            text = (
                f"a view was judged by the threshold {msg.threshold:.3g}, its part is by {threshold:.3g}: "
                "set false_reject_rate of both nodes alike"
            )
            self.health.warn("threshold", "" if alike else text)

    def _finish(self, part_id: str) -> None:
        """Judge and publish a part; views whose cloud has not come count without."""
        while view := next((view for view in self._waiting if view.result.part_id == part_id), None):
            self._settle(view, None)
        if part_id not in self._parts:  # complete by one of these
            return
        self._decided[part_id] = self.get_clock().now().nanoseconds
        if len(self._decided) > REMEMBERED:
            self._decided.popitem(last=False)
        part = self._parts.pop(part_id)
        found = part.fusion.result()
        self._result.publish(self._message(part_id, part, found))
        self.health.ran({}, f"{found.reason.name}: {found.reason_text}" if found.verdict is Verdict.HOLD else "")
        self.health.count(found.verdict.name)
        stamp = part.header.stamp
        if part.surface is not None and self._cloud.get_subscription_count() > 0:
            cloud = surface_cloud(part.surface.points, found.values, found.threshold, stamp, self._part_frame)
            self._cloud.publish(cloud)
        if self._markers.get_subscription_count() > 0:
            self._markers.publish(part_markers(found.defects, stamp, self._part_frame))

    def _message(self, part_id: str, part: Part, found: PartInspection) -> PartResult:
        model = None if self.inspector is None else self.inspector.model
        return PartResult(
            header=Header(stamp=part.header.stamp, frame_id=self._part_frame),
            part_id=part_id,
            model_name="" if model is None else model.name,
            model_hash="" if model is None else model.hash,
            verdict=int(found.verdict),
            reason=int(found.reason),
            views_expected=self._settings.views,
            views_held=found.held,
            views_rejected=found.rejected,
            defects=[_defect(defect) for defect in found.defects],
            **{name: getattr(found, name) for name in ("reason_text", "score", "threshold", "views", "coverage")},
        )


def _defect(defect: PartDefect) -> PartDefectMsg:
    same = {name: getattr(defect, name) for name in ("radius", "peak_score", "points", "views", "views_above")}
    x, y, z = defect.position
    return PartDefectMsg(position=Point(x=x, y=y, z=z), **same)


def _asked(msg: InspectionResult) -> int:
    """When the view was asked for: the stamp of its trigger, else of its image, ns; 0: unknown."""
    return stamp_ns(msg.trigger_stamp) or stamp_ns(msg.header.stamp)


def main() -> int:
    return run(FusionNode)


if __name__ == "__main__":
    sys.exit(main())
