"""Where frames come in: image_raw (or image_raw/compressed) and trigger."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.msg import Trigger

from ...imaging.geometry import Camera
from ...verdicts import Reason
from .camera_infos import CameraInfos
from .limits import TooLarge, bounded_image, shortened
from .parameters import Parameters
from .qos import image_topic, trigger_qos, watched_subscription
from .stages import Query, stamp_msg, stamp_ns
from .stalls import Stalls
from .stamps import Stamps
from .triggers import Candidate, Match, TriggerMatching, WaitingTrigger
from .worker import Worker

TRIGGER_CHECK = 0.02  # seconds between looks at waiting triggers

Picture: TypeAlias = "ImageMsg | CompressedImage | TooLarge"
Work = Callable[[Query], None]  # in the worker's thread
Hold = Callable[[Query, Reason, str], None]


class Intake:
    """Hands `work` each accepted frame, in the worker's thread, and calls `hold` for each trigger that got no image
    and each frame that cannot be judged.

    Free-running: every image is accepted, or (`free_running: newest`) all but those that a newer one overtakes while
    they wait. Triggered: for each trigger the image that `TriggerMatching` finds.
    """

    def __init__(self, node: Any, parameters: Parameters, work: Work, hold: Hold) -> None:
        self._node, self._work, self._hold = node, work, hold
        self._parameters = parameters
        self._triggered = parameters["triggered"]
        self._newest = parameters["free_running"] == "newest"
        self._frozen_check = parameters["frozen_check"]
        self._stamps = Stamps(parameters["max_age"], parameters["max_ahead"])
        self._stalls = Stalls()
        self._infos = CameraInfos(node, parameters)
        self._last: Picture | None = None
        self.matching = TriggerMatching(
            *(parameters[name] for name in ("match_before", "match_after", "trigger_timeout", "image_history"))
        )

    def open(self) -> None:
        """Subscribe."""
        node = self._node
        kind, topic, qos = image_topic(self._parameters, self._parameters["image_depth"])
        self._infos.open(qos.reliability)
        if self._triggered:
            # Before the images: of what is ready at the same time, rclpy runs first what was subscribed to first.
            node.create_subscription(Trigger, "trigger", self._on_trigger, trigger_qos())
            node.create_timer(TRIGGER_CHECK, self._check_triggers, clock=Clock(clock_type=ClockType.STEADY_TIME))
        watched_subscription(node, kind, topic, self._on_image, qos, "image")

    def close(self) -> None:
        """Answer the triggers that wait."""
        self._answer(self.matching.close("the node was deactivated"))

    def camera(self, header: Header) -> Camera | None:
        """As `CameraInfos.camera`, for the image with this header."""
        return self._infos.camera(stamp_ns(header.stamp))

    def _on_image(self, msg: ImageMsg | CompressedImage) -> None:
        now, stamp = time.monotonic_ns(), stamp_ns(msg.header.stamp)
        msg.header.frame_id = shortened(msg.header.frame_id) or self._parameters["camera_frame"]
        jumps = self._stamps.jumps
        if self._stamps.duplicate(stamp):
            self._node.health.count("duplicates")
            return
        if self._stamps.jumps > jumps:
            self._node.get_logger().warning("the images' time has run backwards (a bag that loops, a clock set back)")
            self._node.health.count("time_jumps")
        image = bounded_image(msg, self._node.max_query_pixels)
        frozen, self._last = self._frozen_check and _same_pixels(image, self._last), image
        problem = self._stamps.problem(stamp, self._node.get_clock().now().nanoseconds)
        if self._triggered:
            if problem:
                self._node.health.count("bad_stamps")
            else:
                self._answer(self.matching.add_image(Candidate(image, stamp, now, frozen)))
        elif problem:
            self._hold(Query(image, image.header, "", now), Reason.BAD_STAMP, problem)
        else:
            self._accept(Query(image, image.header, "", now), frozen, self._newest)

    def _accept(self, query: Query, frozen: bool, newest: bool) -> None:
        worker: Worker | None = self._node.worker
        if frozen:
            text = "exactly the pixels of the image before: the camera repeats itself (parameter frozen_check)"
            self._hold(query, Reason.FROZEN, text)
        elif worker is None:
            self._hold(query, Reason.DROPPED, "the node is not active")
        elif newest:
            if worker.replace(lambda: self._work(query)):
                self._node.health.count("superseded")
        elif not worker.offer(lambda: self._work(query)):
            self._hold(query, Reason.DROPPED, f"{self._node.get_name()}: {self._node.queue_size} images were waiting")

    def _on_trigger(self, msg: Trigger, info: dict[str, Any]) -> None:
        now = time.monotonic_ns()
        age = self._stalls.age(info["source_timestamp"], now)
        trigger = WaitingTrigger(shortened(msg.part_id), stamp_ns(msg.header.stamp), now, age)
        self._answer(self.matching.add_trigger(trigger))

    def _check_triggers(self) -> None:
        now = time.monotonic_ns()
        self._stalls.tick(now)
        self._answer(self.matching.settle(now))

    def _answer(self, matches: Sequence[Match]) -> None:
        now = time.monotonic_ns()
        for match in matches:
            trigger, image = match.trigger, match.image
            if image is not None:
                query = Query(
                    image.message, image.message.header, trigger.part_id, now - trigger.age_ns, trigger.stamp_ns
                )
                self._accept(query, image.frozen, newest=False)
                continue
            header = Header(stamp=stamp_msg(trigger.stamp_ns), frame_id=self._parameters["camera_frame"])
            query = Query(None, header, trigger.part_id, trigger.since_ns - trigger.age_ns, trigger.stamp_ns)
            self._hold(query, match.reason, match.text)


def _same_pixels(msg: Picture, before: Picture | None) -> bool:
    """Whether two images hold the same data. Noise makes those of a working camera differ."""
    return before is not None and len(msg.data) > 0 and bool(msg.data == before.data)
