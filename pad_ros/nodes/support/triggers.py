"""Which image belongs to which trigger, by their stamps. Without ROS: times come in as numbers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from ...verdicts import Reason

LONGEST_STEP = 20_000_000  # ns: as a node looks; what is longer is a standstill
MAX_WAITING = 256  # triggers; a flood must not use up the memory


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image that no trigger has taken. stamp_ns: 0 is unstamped; since_ns: steady clock at its arrival."""

    message: Any
    stamp_ns: int
    since_ns: int
    frozen: bool = False


@dataclass(frozen=True, eq=False)
class WaitingTrigger:
    """A trigger that has no image yet. since_ns: as of a `Candidate`."""

    part_id: str
    stamp_ns: int
    since_ns: int
    age_ns: int = 0  # when it arrived: this process may have stood still before


@dataclass(frozen=True, eq=False)
class Match:
    """What becomes of a trigger: an image, or none and the reason."""

    trigger: WaitingTrigger
    image: Candidate | None
    reason: Reason = Reason.NONE
    text: str = ""


class TriggerMatching:
    """Gives each trigger the image that is stamped nearest to it, from `before` to `after` seconds around it, or HOLD.

    Either may come first, and both in any order. Images are kept for late triggers: `history` of them, none longer than
    `timeout` seconds; a trigger is given up after as long. Where stamps do not decide it is HOLD: two images equally
    near to a trigger, two triggers equally near to an image, or a trigger without stamp just after an image.
    A trigger without stamp gets the next image that arrives, if no trigger follows within `before` seconds.
    `before` + `after` must be less than the time from part
    to part. Each call returns the triggers that it settles.
    """

    def __init__(self, before: float, after: float, timeout: float, history: int) -> None:
        self._before, self._after, self._timeout = int(1e9 * before), int(1e9 * after), int(1e9 * timeout)
        self._window = f"none stamped -{before:g} to +{after:g} s from it came within {timeout:g} s"
        self.triggers: list[WaitingTrigger] = []  # in order of arrival
        self._images: deque[Candidate] = deque(maxlen=history)
        self._last_stamp = 0  # of the image that came last
        self._now_ns = 0
        self._attentive_ns = 0  # time without standstills, in which a message that had arrived was not taken
        self._arrivals: dict[Candidate, int] = {}  # of the kept images, in that time

    def add_image(self, image: Candidate) -> list[Match]:
        self._images.append(image)
        self._last_stamp = image.stamp_ns
        self._attend(image.since_ns)
        self._arrivals = {kept: self._arrivals.get(kept, self._attentive_ns) for kept in self._images}
        return self.settle(image.since_ns)

    def add_trigger(self, trigger: WaitingTrigger) -> list[Match]:
        found = [self._held(t, Reason.DROPPED, "the next trigger came first") for t in self.triggers if not t.stamp_ns]
        if len(self.triggers) >= MAX_WAITING:
            found.append(self._held(self.triggers[0], Reason.DROPPED, f"{MAX_WAITING} triggers were waiting"))
        self.triggers.append(trigger)
        most = self._before + self._after
        ago = min((trigger.since_ns - image.since_ns for image in self._images), default=most + 1)
        if not trigger.stamp_ns and ago <= most:  # a trigger may be as late as that
            text = f"the trigger has no stamp, and an image came {ago / 1e6:.0f} ms before it: it may be the part's"
            found.append(self._held(trigger, Reason.BAD_STAMP, text))
        return found + self.settle(trigger.since_ns)

    def settle(self, now_ns: int) -> list[Match]:
        """What can be decided by now, the triggers included whose time is over."""
        self._attend(now_ns)
        while self._images and now_ns - self._images[0].since_ns > self._timeout:
            self._images.popleft()
        found: list[Match] = []
        while new := next((m for t in self.triggers if (m := self._decide(t, now_ns))), []):
            found += new
        late = [t for t in self.triggers if now_ns - t.since_ns > self._timeout and self._next_image(t) is None]
        return found + [self._held(t, Reason.DROPPED, self._window) for t in late]

    def close(self, why: str) -> list[Match]:
        """Give up all triggers and forget the images."""
        self._images.clear()
        return [self._held(t, Reason.DROPPED, why) for t in list(self.triggers)]

    def _decide(self, trigger: WaitingTrigger, now_ns: int) -> list[Match]:
        """The trigger's image, or why it gets none; with other triggers that are settled by that. []: not yet."""
        if not trigger.stamp_ns:
            # A trigger that comes up to `before` after the image may be the image's own: then this one is given up.
            later = self._next_image(trigger)
            waited = later is not None and self._attentive_ns - self._arrivals[later] >= self._before
            return [self._taken(trigger, later)] if later is not None and waited else []
        fitting = [
            i for i in self._images if i.stamp_ns and -self._before <= i.stamp_ns - trigger.stamp_ns <= self._after
        ]
        if not fitting:
            return []
        apart = min(_apart(trigger, i) for i in fitting)
        # A nearer image may still come until one was stamped after the trigger, or as much time has passed.
        if self._last_stamp < trigger.stamp_ns and now_ns - trigger.since_ns < apart:
            return []
        nearest = [i for i in fitting if _apart(trigger, i) == apart]
        if len(nearest) > 1:
            for image in nearest:
                self._images.remove(image)
            return [self._held(trigger, Reason.BAD_STAMP, "two images are stamped equally near to the trigger")]
        others = [t for t in self.triggers if t is not trigger and t.stamp_ns]
        if any(_apart(t, nearest[0]) < apart for t in others):
            return []
        same = [t for t in others if (t.part_id, t.stamp_ns) == (trigger.part_id, trigger.stamp_ns)]
        equal = [t for t in others if _apart(t, nearest[0]) == apart and t not in same]
        if equal:
            self._images.remove(nearest[0])
            text = f"the image is stamped equally near to triggers of {trigger.part_id!r} and {equal[0].part_id!r}"
            return [self._held(t, Reason.BAD_STAMP, text) for t in (trigger, *same, *equal)]
        return [self._taken(trigger, nearest[0])]

    def _attend(self, now_ns: int) -> None:
        self._attentive_ns += max(0, min(now_ns - self._now_ns, LONGEST_STEP))
        self._now_ns = now_ns

    def _next_image(self, trigger: WaitingTrigger) -> Candidate | None:
        """The image that a trigger without stamp takes; None: there is none yet, or the trigger has a stamp."""
        if trigger.stamp_ns:
            return None
        return next((i for i in self._images if i.since_ns >= trigger.since_ns and not self._awaited(i)), None)

    def _awaited(self, image: Candidate) -> bool:
        """Whether a stamped trigger waits that the image fits."""
        stamped = (t for t in self.triggers if t.stamp_ns and image.stamp_ns)
        return any(-self._before <= image.stamp_ns - t.stamp_ns <= self._after for t in stamped)

    def _taken(self, trigger: WaitingTrigger, image: Candidate) -> Match:
        self.triggers.remove(trigger)
        self._images.remove(image)
        return Match(trigger, image)

    def _held(self, trigger: WaitingTrigger, reason: Reason, text: str) -> Match:
        self.triggers.remove(trigger)
        return Match(trigger, None, reason, f"no image for the trigger: {text}")


def _apart(trigger: WaitingTrigger, image: Candidate) -> int:
    return abs(image.stamp_ns - trigger.stamp_ns)
