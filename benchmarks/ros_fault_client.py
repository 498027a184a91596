"""The client of ros_faults.py: sends triggers and images at planned times, with faults, and collects the answers."""

from __future__ import annotations

import heapq
import random
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from builtin_interfaces.msg import Time
from coded_inspector import encode, shown
from pad_ros.msg import InspectionResult, Trigger
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Bool, Header

from pad_ros.nodes.support.convert import rgb_to_image
from pad_ros.nodes.support.qos import latched, reliable, result_qos
from pad_ros.nodes.support.stages import stamp_msg, stamp_ns
from pad_ros.verdicts import Reason, Verdict

EXPOSED = 0.1  # of the period: the image is stamped this much after the trigger
FLOOD = 300  # messages
FORGED = "forged"  # reason_text of a foreign publisher's results
STALE = 3600 * 10**9  # ns: the age of what floods
MATCHING = 0.3  # seconds for a new publisher to be found
BELIEVABLE = 2.5  # seconds after a part was sent within which its PASS may reach line/pass
FOREIGN_PART = 0xFFFFFF  # number in the images of a flood

# What may become of a part's trigger and image. HOLD: no verdict but HOLD is right.
HOLD_FAULTS = ("image lost", "image truncated", "image unstamped", "camera frozen", "trigger unstamped, image lost")
SMALL_FAULTS = (
    *HOLD_FAULTS, "trigger late", "image late", "trigger twice", "image twice", "images swapped", "triggers swapped",
    "trigger unstamped", "trigger unstamped, late",
)  # fmt: skip
FLOODS = ("flood of images", "flood of triggers", "flood of results")
FORGERIES = ("forged PASS", "forged HOLD")


@dataclass
class Part:
    """One part, what is done to it, and what came of it: verdict, reason, text and seconds of each answer."""

    number: int
    good: bool
    fault: str = ""
    triggers: int = 1
    sent: float = 0.0
    trigger_ns: int = 0
    answers: list[tuple[Verdict, Reason, str, float]] = field(default_factory=list)

    @property
    def may_pass(self) -> bool:
        return self.good and self.fault not in HOLD_FAULTS

    @property
    def right(self) -> bool:
        """Whether the first answer is the part's own verdict."""
        wanted = Verdict.PASS if self.good else Verdict.REJECT
        return bool(self.answers) and self.answers[0][0] is wanted and shown(self.answers[0][2]) == self.number

    @property
    def passed(self) -> bool:
        return any(verdict is Verdict.PASS for verdict, *_ in self.answers)

    @property
    def swapped(self) -> bool:
        """Whether an answer comes from another part's image."""
        return any(number not in (None, self.number) for number in (shown(text) for _, _, text, _ in self.answers))


class Client(Node):
    def __init__(self, namespace: str, period: float, seed: int) -> None:
        super().__init__("line", namespace=namespace)
        self.executor_ = SingleThreadedExecutor()
        self.executor_.add_node(self)
        self.rate, self._period, self._random = 1 / period, period, random.Random(seed)
        self._images = self.create_publisher(ImageMsg, "image_raw", reliable(5))
        self._triggers = self.create_publisher(Trigger, "trigger", reliable(100))
        self.create_subscription(InspectionResult, "result", self._on_result, latched(500))
        self.create_subscription(Bool, "line/pass", self._on_pass, latched(10))
        self._shown = -1  # the part whose picture was sent last
        self._epoch_ns = time.time_ns() - time.monotonic_ns()
        self._actions: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self.parts: dict[str, Part] = {}
        self.foreign = {"flood": 0, FORGED: 0, "unknown": 0}  # results that belong to none of the parts
        self.model_hash = ""
        self.wrong_line = 0  # rises of line/pass with no part that may pass

    # ---- time ----

    def at(self, when: float, action: Callable[[], object]) -> None:
        """when: steady clock."""
        heapq.heappush(self._actions, (when, next(self._order), action))

    def spin_until(self, when: float) -> None:
        """Do what is due, and take what comes."""
        while True:
            now = time.monotonic()
            while self._actions and self._actions[0][0] <= now:
                heapq.heappop(self._actions)[2]()
            if now >= when:
                return
            until = min(when, self._actions[0][0]) if self._actions else when
            self.executor_.spin_once(timeout_sec=max(0.0, min(until - time.monotonic(), 0.05)))

    # ---- parts ----

    def send(self, part: Part, when: float) -> None:
        """Plan trigger and image of a part that is in place at `when` (steady clock). Stamps go by that, also where
        this process is late: parts are never nearer to each other than the period."""
        part.sent = when
        wall = self._epoch_ns + int(1e9 * when)
        self.parts[str(part.number)] = part
        exposed = int(EXPOSED * self._period * 1e9)
        trigger_at, image_at = part.sent, part.sent + exposed / 1e9
        image = rgb_to_image(encode(part.number, part.good), _header(wall + exposed))
        trigger = Trigger(header=_header(wall), part_id=str(part.number))
        later = self._random.uniform(0.1, 3.0) * self._period
        if part.fault in ("trigger late", "triggers swapped"):
            trigger_at += later if part.fault == "trigger late" else 1.3 * self._period
        elif part.fault in ("image late", "images swapped"):
            image_at += later if part.fault == "image late" else 1.3 * self._period
        elif part.fault == "trigger twice":
            part.triggers = 2
            self.at(trigger_at + later, lambda: self._triggers.publish(trigger))
        elif part.fault == "image twice":
            self.at(image_at + later, lambda: self._show(part.number, image))
        elif part.fault == "image truncated":
            image.data = array("B", image.data[: len(image.data) // 2])
        elif part.fault == "image unstamped":
            image.header.stamp = Time()
        elif part.fault == "camera frozen":
            before = self.parts.get(str(part.number - 1))
            if before is None or not before.right:  # its picture may not have reached the line
                part.fault = ""
            else:
                again = rgb_to_image(encode(before.number, before.good), image.header)
                self.at(image_at, lambda: self._repeat(part, again, image))
        elif part.fault.startswith("trigger unstamped"):
            trigger.header.stamp = Time()
            if part.fault.endswith("late"):
                trigger_at = image_at + self._random.uniform(0.0, 0.3) * self._period
        part.trigger_ns = stamp_ns(trigger.header.stamp)
        self.at(trigger_at, lambda: self._triggers.publish(trigger))
        if not part.fault.endswith("image lost") and part.fault != "camera frozen":
            self.at(image_at, lambda: self._show(part.number, image))

    def _repeat(self, part: Part, again: ImageMsg, image: ImageMsg) -> None:
        """The picture of the part before, where that was the last one; else the part's own."""
        if self._shown != part.number - 1:
            part.fault, again = "", image
        self._show(part.number, again)

    def _show(self, number: int, image: ImageMsg) -> None:
        self._images.publish(image)
        self._shown = number

    def _on_result(self, msg: InspectionResult) -> None:
        part = self.parts.get(msg.part_id)
        if msg.reason_text == FORGED:
            self.foreign[FORGED] += 1
        elif msg.part_id.startswith("flood"):
            self.foreign["flood"] += 1
        elif part is None:
            self.foreign["unknown"] += 1
        else:
            self.model_hash = self.model_hash or msg.model_hash
            answer = Verdict(msg.verdict), Reason(msg.reason), msg.reason_text, time.monotonic() - part.sent
            part.answers.append(answer)

    def _on_pass(self, msg: Bool) -> None:
        if msg.data and not any(p.may_pass for p in self.parts.values() if time.monotonic() - p.sent < BELIEVABLE):
            self.wrong_line += 1

    # ---- hostile peers ----

    def flood(self, kind: str) -> None:
        """FLOOD messages at once, by a publisher of its own."""
        old = time.time_ns() - STALE
        if kind == "flood of images":
            publisher = self.create_publisher(ImageMsg, "image_raw", reliable(5))
            pixels = encode(FOREIGN_PART, True)
            messages = [rgb_to_image(pixels, _header(i % 2 * (old + i))) for i in range(FLOOD)]
        elif kind == "flood of triggers":
            publisher = self.create_publisher(Trigger, "trigger", reliable(10))
            messages = [Trigger(header=_header(old + i), part_id=f"flood {old + i}") for i in range(FLOOD)]
        else:
            publisher = self.create_publisher(InspectionResult, "result", result_qos())
            messages = [_forged(f"flood {i}", old + i, Verdict.HOLD, "") for i in range(FLOOD)]

        def send() -> None:
            for message in messages:
                publisher.publish(message)

        self.at(time.monotonic() + MATCHING, send)
        self.at(time.monotonic() + MATCHING + 1.0, lambda: self.destroy_publisher(publisher))

    def forge(self, kind: str, parts: list[Part], starts: list[float]) -> Node:
        """A node of its own that answers `parts` before the line can; the caller destroys it."""
        node = Node("impostor", namespace=self.get_namespace())
        publisher = node.create_publisher(InspectionResult, "result", result_qos())
        verdict = Verdict.PASS if kind == "forged PASS" else Verdict.HOLD

        def answer(part: Part) -> None:
            hash_ = self.model_hash if verdict is Verdict.PASS else ""
            publisher.publish(_forged(str(part.number), part.trigger_ns, verdict, hash_))

        for part, start in zip(parts, starts):
            for delay in (0.001, 0.1 * self._period, 0.9 * self._period):
                self.at(start + delay, lambda part=part: answer(part))
        return node


def _forged(part_id: str, trigger_ns: int, verdict: Verdict, model_hash: str) -> InspectionResult:
    reason = Reason.NONE if verdict is Verdict.PASS else Reason.TIMEOUT
    return InspectionResult(
        header=_header(trigger_ns), part_id=part_id, trigger_stamp=stamp_msg(trigger_ns), verdict=int(verdict),
        reason=int(reason), reason_text=FORGED, model_hash=model_hash,
    )  # fmt: skip


def _header(stamp: int) -> Header:
    return Header(frame_id="camera", stamp=stamp_msg(stamp))
