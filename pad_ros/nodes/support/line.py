"""The four signals and the heartbeat by which a PLC takes the verdict."""

from __future__ import annotations

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import Bool, UInt32

from ...verdicts import Verdict
from .qos import latched

HEARTBEAT = 0.1  # seconds
NO_ANSWER = dict.fromkeys(("valid", "pass", "fail"), False)


class LineOutputs:
    """`line/busy`, `line/valid`, `line/pass`, `line/fail` (Bool, latched) and `line/alive` (a counter).

    A question lowers valid, pass and fail and raises busy; its answer sets pass or fail first, then raises valid.
    pass is only ever high for PASS. All are low at the start. Made for one part at a time: where parts overlap, take
    `result` by its part_id.
    """

    def __init__(self, node: Node) -> None:
        names = (*NO_ANSWER, "busy")
        self._publishers = {name: node.create_publisher(Bool, f"line/{name}", latched()) for name in names}
        self._levels: dict[str, bool] = {}
        self._set(**NO_ANSWER, busy=False)
        self._alive = node.create_publisher(UInt32, "line/alive", latched())
        self._beats = 0
        node.create_timer(HEARTBEAT, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def ask(self) -> None:
        """A trigger or image came."""
        self._set(**NO_ANSWER, busy=True)

    def answer(self, verdict: Verdict, busy: bool) -> None:
        """Its verdict is there; HOLD is fail. busy: others are under way."""
        passed = verdict is Verdict.PASS
        self._set(**{"pass": passed}, fail=not passed, busy=busy, valid=True)

    def _set(self, **levels: bool) -> None:
        """Publish what changes, in the order given."""
        for name, level in levels.items():
            if self._levels.get(name) != level:
                self._levels[name] = level
                self._publishers[name].publish(Bool(data=level))

    def _beat(self) -> None:
        self._beats = (self._beats + 1) % 2**32
        if self._alive.get_subscription_count() > 0:
            self._alive.publish(UInt32(data=self._beats))
