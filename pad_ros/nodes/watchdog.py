"""watchdog: HOLD on `result` when no verdict came within the deadline, and the line's health on /diagnostics."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.msg import InspectionResult, Trigger

from ..reasons import Reason, Verdict
from .base import run
from .messages import localization_to_pose
from .parameters import Parameters
from .qos import reliable

CHECK = 0.02  # seconds between looks at the clock
REPORT = 1.0  # seconds between diagnostics
NAN = float("nan")

Key = tuple[str, int, int]  # part_id, stamp


class WatchdogNode(Node):
    """Watches images, or triggers where the cell works by trigger, and the results to them. Time is the steady clock's.

    A process of its own: it answers even where the cell has died. InputError for a wrong parameter.
    """

    def __init__(self, *, overrides: dict[str, object] | None = None, namespace: str = "") -> None:
        given = [Parameter(key, value=value) for key, value in (overrides or {}).items()]
        super().__init__("watchdog", parameter_overrides=given, namespace=namespace)
        declare = Parameters(self).declare
        self._deadline = declare("deadline", 2.0, "seconds from image or trigger to verdict", limits=(0.01, 3600.0))
        self._triggered = declare("triggered", False, "watch triggers, not images (set as on the cell)")
        transport = declare("image_transport", "raw", "which images to watch", choices=("raw", "compressed"))
        self._open: dict[Key, deque[int]] = {}  # steady ns of the unanswered
        self._verdicts: Counter[str] = Counter()
        self._timeouts = 0
        self._timeouts_reported = 0

        self._result = self.create_publisher(InspectionResult, "result", reliable(10))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", reliable(10))
        self.create_subscription(InspectionResult, "result", self._on_result, reliable(10))
        if self._triggered:
            self.create_subscription(
                Trigger, "trigger", lambda msg: self._expect(msg.header, msg.part_id), reliable(10)
            )
        elif transport == "compressed":
            topic = "image_raw/compressed"
            self.create_subscription(CompressedImage, topic, lambda msg: self._expect(msg.header, ""), reliable(10))
        else:
            self.create_subscription(ImageMsg, "image_raw", lambda msg: self._expect(msg.header, ""), reliable(10))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(CHECK, self._check, clock=steady)
        self.create_timer(REPORT, self._report, clock=steady)

    def _expect(self, header: Header, part_id: str) -> None:
        self._open.setdefault(self._key(header, part_id), deque()).append(time.monotonic_ns())

    def _key(self, header: Header, part_id: str) -> Key:
        # The result to a trigger carries the image's stamp, not the trigger's: the part's name ties them.
        return (part_id, 0, 0) if self._triggered else ("", header.stamp.sec, header.stamp.nanosec)

    def _on_result(self, msg: InspectionResult) -> None:
        self._verdicts[Verdict(msg.verdict).name] += 1
        self._close(self._key(msg.header, msg.part_id))

    def _close(self, key: Key) -> None:
        since = self._open.get(key)
        if since:
            since.popleft()
            if not since:
                del self._open[key]

    def _check(self) -> None:
        now = time.monotonic_ns()
        for key, since in list(self._open.items()):
            while since and now - since[0] > 1e9 * self._deadline:
                since.popleft()
                self._timeouts += 1
                self._result.publish(self._hold(key))
            if not since:
                del self._open[key]

    def _hold(self, key: Key) -> InspectionResult:
        part_id, sec, nanosec = key
        msg = InspectionResult(
            part_id=part_id, verdict=int(Verdict.HOLD), reason=int(Reason.TIMEOUT), score=NAN, threshold=NAN
        )
        msg.header.stamp.sec, msg.header.stamp.nanosec = sec, nanosec
        msg.reason_text = f"no verdict within {self._deadline:g} s"
        msg.pose = localization_to_pose(None)
        msg.total_ms = 1000 * self._deadline
        return msg

    def _report(self) -> None:
        new, self._timeouts_reported = self._timeouts - self._timeouts_reported, self._timeouts
        level, message = DiagnosticStatus.OK, "verdicts in time"
        if new:
            level, message = DiagnosticStatus.ERROR, f"{new} verdicts missed the deadline of {self._deadline:g} s"
        status = DiagnosticStatus(
            level=level, name=f"{self.get_fully_qualified_name()}: inspection", message=message, hardware_id="pad_ros"
        )
        values = {
            **{v.name: self._verdicts[v.name] for v in Verdict},
            "timeouts": self._timeouts,
            "open": len(self._open),
        }
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def main() -> int:
    return run(WatchdogNode)


if __name__ == "__main__":
    sys.exit(main())
