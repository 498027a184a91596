"""fusion: the results to several views of one part (same part_id) become one verdict for the part."""

from __future__ import annotations

import math
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from pad_ros.msg import InspectionResult, PartResult
from pad_ros.msg import PartDefect as PartDefectMsg

from ..decision.fusion import FusionSettings, PartFusion, PartInspection, Surface, part_surface
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
REMEMBERED = 16  # clouds that overtook their results


@dataclass(eq=False)
class Part:
    """A part whose views are coming in. surface None: there was no model when its first view came."""

    fusion: PartFusion
    surface: Surface | None
    header: Header  # of the last view
    last_ns: int  # steady clock


class FusionNode(StageNode):
    """One `part_result` for each part: after `views` results of its part_id, else `part_timeout` after the last.

    Takes the anomaly from `anomaly_cloud`, by the stamp of the result. Results without part_id are left out.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("fusion", **options)
        declare = self.parameters.declare
        self._part_frame = declare("part_frame", "part", "frame of the part")
        self._settings = FusionSettings(
            views=declare(
                "views", 0, "views per part, fewer are HOLD; 0: any number, until another part or part_timeout",
                limits=(0, 10_000),
            ),
            agreeing=declare(
                "agreeing", 1, "views that must agree on a defect, where as many saw the place", limits=(1, 16)
            ),
            min_coverage=declare(
                "min_coverage", 0.0, "share of the surface that must have been judged for PASS", limits=(0.0, 1.0)
            ),
            max_held=declare("max_held", 0, "views that may be HOLD in a part that passes", limits=(0, 10_000)),
        )  # fmt: skip
        self._timeout = declare(
            "part_timeout", 5.0, "seconds after the last view until the part is judged", limits=(0.1, 3600.0)
        )
        self._patience = declare(
            "cloud_wait", 1.0, "seconds that a result waits for its anomaly_cloud", limits=(0.0, 60.0)
        )
        self._surface: Surface | None = None
        self._parts: dict[str, Part] = {}
        self._waiting: OrderedDict[int, tuple[InspectionResult, int]] = OrderedDict()  # stamp -> result, steady ns
        self._clouds: OrderedDict[int, PointCloud2] = OrderedDict()
        self.start()

    def prepare(self, inspector: Inspector) -> None:
        points = part_surface(inspector.model, inspector.device)
        if len(points) < 2:
            raise ModelError(f"{inspector.model.name}: its views show no surface that anomalies could be gathered on")
        self._surface = Surface(points)

    def open_outputs(self) -> None:
        self._result = self.create_publisher(PartResult, "part_result", latched())
        self._cloud = self.create_publisher(PointCloud2, "part_cloud", latched())
        self._markers = self.create_publisher(MarkerArray, "part_defects", latched())

    def open_inputs(self) -> None:
        self.create_subscription(InspectionResult, "result", self._on_result, reliable(50))
        self.create_subscription(PointCloud2, "anomaly_cloud", self._on_cloud, reliable(10))
        self.create_timer(CHECK, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close_inputs(self) -> None:
        """Judge the parts that are open by what has come."""
        for part_id in list(self._parts):
            self._finish(part_id)

    def _on_result(self, msg: InspectionResult) -> None:
        if not msg.part_id:
            return
        if self._settings.views == 0:
            for other in [part_id for part_id in self._parts if part_id != msg.part_id]:
                self._finish(other)
        part = self._parts.setdefault(msg.part_id, self._begin(msg))
        part.last_ns, part.header = time.monotonic_ns(), msg.header
        stamp = stamp_ns(msg.header.stamp)
        if msg.verdict != Verdict.HOLD and stamp not in self._clouds:
            self._waiting[stamp] = (msg, part.last_ns)
            return
        self._add(msg, self._clouds.pop(stamp, None))
        self._finish_complete(msg.part_id)

    def _on_cloud(self, msg: PointCloud2) -> None:
        stamp = stamp_ns(msg.header.stamp)
        if stamp in self._waiting:
            result, _ = self._waiting.pop(stamp)
            self._add(result, msg)
            self._finish_complete(result.part_id)
            return
        self._clouds[stamp] = msg
        if len(self._clouds) > REMEMBERED:
            self._clouds.popitem(last=False)

    def _check(self) -> None:
        now = time.monotonic_ns()
        for stamp, (result, since) in list(self._waiting.items()):
            if now - since > 1e9 * self._patience:
                del self._waiting[stamp]
                self._add(result, None)
                self._finish_complete(result.part_id)
        for part_id, part in list(self._parts.items()):
            if now - part.last_ns > 1e9 * self._timeout:
                self._finish(part_id)

    def _begin(self, msg: InspectionResult) -> Part:
        calibration = None if self.inspector is None else self.inspector.model.calibration
        threshold = float("nan") if calibration is None else float(calibration.threshold)
        fusion = PartFusion(self._surface, threshold, self._settings)
        return Part(fusion, self._surface, msg.header, time.monotonic_ns())

    def _add(self, msg: InspectionResult, cloud: PointCloud2 | None) -> None:
        """A view with all that will come of it."""
        verdict, reason, text = Verdict(msg.verdict), Reason(msg.reason), msg.reason_text
        own = "" if self.inspector is None else self.inspector.model.hash
        points = values = None
        if verdict is not Verdict.HOLD and msg.model_hash != own:
            verdict, reason = Verdict.HOLD, Reason.NO_MODEL
            text = f"judged by model {msg.model_hash[:12]}, fusion has {own[:12] or 'none'}"
        elif cloud is not None:
            try:
                points, values = read_cloud(cloud)
            except ValueError as error:
                self.get_logger().error(str(error))
        elif verdict is not Verdict.HOLD:
            self.health.count("clouds_missing")
        placed = all(math.isfinite(defect.centroid.x) for defect in msg.defects)  # NaN: beside the part
        self._parts[msg.part_id].fusion.add(verdict, reason, text, points, values, placed)

    def _finish_complete(self, part_id: str) -> None:
        if 0 < self._settings.views <= self._parts[part_id].fusion.views:
            self._finish(part_id)

    def _finish(self, part_id: str) -> None:
        """Judge and publish a part; views whose cloud has not come count without."""
        for stamp, (result, _) in list(self._waiting.items()):
            if result.part_id == part_id:
                del self._waiting[stamp]
                self._add(result, None)
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
        msg = PartResult(
            header=Header(stamp=part.header.stamp, frame_id=self._part_frame),
            part_id=part_id,
            model_name="" if model is None else model.name,
            model_hash="" if model is None else model.hash,
            verdict=int(found.verdict),
            reason=int(found.reason),
            reason_text=found.reason_text,
            score=found.score,
            threshold=found.threshold,
            views=found.views,
            views_expected=self._settings.views,
            views_held=found.held,
            views_rejected=found.rejected,
            coverage=found.coverage,
        )
        for defect in found.defects:
            place = PartDefectMsg(radius=defect.radius, peak_score=defect.peak_score, points=defect.points)
            place.position.x, place.position.y, place.position.z = defect.position
            place.views, place.views_above = defect.views, defect.views_above
            msg.defects.append(place)
        return msg


def main() -> int:
    return run(FusionNode)


if __name__ == "__main__":
    sys.exit(main())
