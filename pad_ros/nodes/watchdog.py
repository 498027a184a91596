"""watchdog: HOLD on `result` when no verdict came within the deadline, the line's outputs, and its health."""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.msg import InspectionResult, Trigger

from ..decision.inspection import Inspection
from ..verdicts import Reason, Verdict
from .support.health import Reporter, graded
from .support.limits import shortened
from .support.line import LineOutputs
from .support.messages import result_msg
from .support.outputs import answer_key
from .support.parameter_tables import NODES
from .support.parameters import Parameters, as_parameters
from .support.publishers import ResultPublishers
from .support.qos import image_topic, latched, result_qos, trigger_qos, watched_subscription
from .support.spin import run
from .support.stages import Query, rejected, stamp_msg, stamp_ns
from .support.stalls import Stalls
from .support.stamps import Stamps

CHECK = 0.02  # seconds between looks at the clock
SETTLING = 4.0  # seconds after the start: on a busy machine the cell may be heard that much later than triggers
AFTER_STALL = 0.3  # seconds
REMEMBERED = 256  # answers

Key = tuple[str, int, int]


@dataclass(frozen=True)
class Question:
    """A trigger or image that waits for its verdict. since_ns: steady clock."""

    key: Key
    part_id: str
    trigger_ns: int
    image_ns: int
    since_ns: int


class WatchdogNode(Node):
    """Watches triggers, or images where the cell runs free, and the results to them. Time is the steady clock's.

    A process of its own: it answers even where a stage has died. In its first seconds it is patient: it may not have
    found the node yet that answers, and a second answer must not follow the first. What it says on `line/...` is for
    each question the first answer. PASS counts only while none but the nodes of `result_nodes` publish results.
    InputError for a wrong parameter.
    """

    def __init__(self, *, overrides: dict[str, object] | None = None, namespace: str = "") -> None:
        super().__init__("watchdog", parameter_overrides=as_parameters(overrides), namespace=namespace)
        self.parameters = Parameters(self, NODES["watchdog"])
        self.deadline, self.silence = self.parameters["deadline"], self.parameters["silence"]
        self.triggered = self.parameters["triggered"]
        self._newest = self.parameters["free_running"] == "newest" and not self.triggered
        self.questions: deque[Question] = deque()  # in the order in which they came
        self.last_image_ns = time.monotonic_ns()
        self._stamps = Stamps()
        self._held: deque[Key] = deque(maxlen=REMEMBERED)  # answered by HOLD: a late verdict counts no more
        self._early: deque[tuple[Key, Verdict]] = deque(maxlen=REMEMBERED)  # verdicts that overtook their question
        self._result = self.create_publisher(InspectionResult, "result", result_qos())
        self.publishers_of_results = ResultPublishers(self, self.parameters["result_nodes"].split(","))
        self.line = LineOutputs(self)
        self.health = WatchdogHealth(self)
        self._began_ns = time.time_ns()
        self._stalls = Stalls()
        self._silent_until_ns = time.monotonic_ns() + int(1e9 * (SETTLING + self.deadline))
        self._results = self.create_subscription(InspectionResult, "result", self._on_result, latched(200))
        if self.triggered:
            self.create_subscription(Trigger, "trigger", self._on_trigger, trigger_qos())
        else:
            kind, topic, qos = image_topic(self.parameters, 10)
            watched_subscription(self, kind, topic, self._on_image, qos, "image")
        self.create_timer(CHECK, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def others(self) -> int:
        """How many other nodes publish results."""
        return max(0, int(self.count_publishers("result")) - 1)

    def _on_trigger(self, msg: Trigger) -> None:
        stamp, part_id = stamp_ns(msg.header.stamp), shortened(msg.part_id)
        self._ask(Question((part_id, stamp, 0), part_id, stamp, stamp, time.monotonic_ns()))

    def _on_image(self, msg: ImageMsg | CompressedImage) -> None:
        self.last_image_ns = time.monotonic_ns()
        stamp = stamp_ns(msg.header.stamp)
        if not self._stamps.duplicate(stamp):
            self._ask(Question(("", 0, stamp), "", 0, stamp, self.last_image_ns))

    def _ask(self, question: Question) -> None:
        self.questions.append(question)
        self.line.ask()
        for key, verdict in self._early:
            if key == question.key and any(key):
                self._early.remove((key, verdict))
                self._answer(key, verdict)
                return

    def _on_result(self, msg: InspectionResult, info: dict[str, Any]) -> None:
        if msg.reason == Reason.TIMEOUT and not msg.model_hash:
            return  # our own
        if info["source_timestamp"] < self._began_ns:
            return  # kept by its publisher from before: a bag that loops asks with the same stamps again
        verdict = self._trusted(msg)
        self.health.count(verdict.name)
        trigger = stamp_ns(msg.trigger_stamp)
        key = answer_key(msg.part_id, trigger, stamp_ns(msg.header.stamp))
        if self.triggered:
            key = (shortened(msg.part_id), trigger, 0)
        if self._answer(key, verdict):
            return
        if key in self._held:
            self._held.remove(key)
            self.health.count("late")
        else:
            self._early.append((key, verdict))

    def _trusted(self, msg: InspectionResult) -> Verdict:
        """The verdict of a result; HOLD for a PASS that may come from anybody."""
        if msg.verdict != Verdict.PASS:
            return Verdict.REJECT if msg.verdict == Verdict.REJECT else Verdict.HOLD
        problem = self.publishers_of_results.problem()
        wanted = self.parameters["model_hash"]
        if not msg.model_hash or (wanted and msg.model_hash != wanted):
            model = msg.model_hash[:12] or "(none)"
            problem = f"PASS of part {shortened(msg.part_id)!r} by model {model}, not the one to be used"
        if problem:
            self.get_logger().error(f"{problem}: PASS counts as HOLD")
            self.health.count("untrusted")
            return Verdict.HOLD
        return Verdict.PASS

    def _answer(self, key: Key, verdict: Verdict) -> bool:
        """Take the first question of this key, and with the newest the earlier ones, off the list."""
        for i, question in enumerate(self.questions):
            if question.key == key:
                for _ in range(i if self._newest else 0):
                    self.questions.popleft()
                self.questions.remove(question)
                self.line.answer(verdict, busy=bool(self.questions))
                return True
        return False

    def _check(self) -> None:
        now = time.monotonic_ns()
        self.publishers_of_results.look()
        if self._stalls.tick(now):  # what has arrived meanwhile needs a moment to get here
            self._silent_until_ns = max(self._silent_until_ns, now + int(1e9 * AFTER_STALL))
        if now < self._silent_until_ns:
            return
        while self.questions and now - self.questions[0].since_ns > 1e9 * self.deadline:
            if self._take_arrived():
                continue
            question = self.questions.popleft()
            self._held.append(question.key)
            self._result.publish(self._hold(question))
            self.health.count("HOLD")
            self.health.count("timeouts")
            self.line.answer(Verdict.HOLD, busy=bool(self.questions))

    def _take_arrived(self) -> bool:
        """Take a result that has arrived but not had its turn: on a busy machine timers come first."""
        with self._results.handle:
            taken = self._results.handle.take_message(self._results.msg_type, False)
        if taken is None:
            return False
        self._on_result(*taken)
        return True

    def _hold(self, question: Question) -> InspectionResult:
        text = f"no verdict within {self.deadline:g} s" + ("" if self.others() else ": no node publishes results")
        header = Header(stamp=stamp_msg(question.image_ns))
        frame = rejected(Query(None, header, question.part_id, trigger_ns=question.trigger_ns), Reason.TIMEOUT, text)
        held = Inspection.hold(Reason.TIMEOUT, text, timings_ms={"total": 1000 * self.deadline})
        return result_msg(held, frame, None)


class WatchdogHealth(Reporter):
    """/diagnostics of the watchdog."""

    def __init__(self, node: WatchdogNode) -> None:
        self._watchdog = node
        self._reported = 0
        super().__init__(node, "inspection")
        self._counts.update(dict.fromkeys((*(v.name for v in Verdict), "timeouts"), 0))

    def status(self) -> tuple[bytes, str, dict[str, Any]]:
        node = self._watchdog
        new, self._reported = self._counts["timeouts"] - self._reported, self._counts["timeouts"]
        silent = (time.monotonic_ns() - node.last_image_ns) / 1e9
        values = {**self._counts, "open": len(node.questions), "result_publishers": node.others()}
        errors, warnings = [], self.warnings()
        if foreign := node.publishers_of_results.problem():
            errors.append(f"{foreign}: nothing passes")
        if new:
            errors.append(f"{new} verdicts missed the deadline of {node.deadline:g} s")
        if node.silence and not node.triggered and silent > node.silence:
            errors.append(f"no image for {silent:.1f} s")
        if node.others() == 0:
            warnings.append("no node publishes results")
        return *graded(errors, warnings, "verdicts in time"), values


def main() -> int:
    return run(WatchdogNode)


if __name__ == "__main__":
    sys.exit(main())
