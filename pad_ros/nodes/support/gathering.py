"""Brings a result together with the pictures of its image, which come on topics of their own, before or after it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sensor_msgs.msg import CompressedImage

from ...errors import ImageError
from ...station.picture_store import HEATMAP, QUERY, REFERENCE, PictureSet
from ...station.record import ResultRecord
from .convert import compressed_to_rgb, image_to_floats, image_to_rgb
from .stages import stamp_ns

KINDS = (QUERY, REFERENCE, HEATMAP)


@dataclass(eq=False)
class _Waiting:
    record: ResultRecord
    until: float  # steady clock, seconds
    messages: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all has come that there is to come: without a pose no reference, without a score no heatmap."""
        expected = {QUERY, *([REFERENCE] if self.record.pose else []), *([HEATMAP] if self.record.score else [])}
        return expected <= self.messages.keys()


class Gatherer:
    """Keeps the last messages of each kind, at most `memory` bytes, and results that wait for theirs.

    done gets each wanted result once, with the pictures that have come within `patience` seconds.
    """

    def __init__(self, memory: int, patience: float, done: Callable[[ResultRecord, PictureSet], object]) -> None:
        self._memory, self._patience, self._done = memory, patience, done
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._waiting: list[_Waiting] = []

    def picture(self, kind: str, msg: Any) -> None:
        """A message of one of KINDS has come."""
        key = (kind, stamp_ns(msg.header.stamp))
        for waiting in self._waiting:
            if waiting.record.image_ns == key[1]:
                waiting.messages.setdefault(kind, msg)
        self._finish()
        self._bytes += len(msg.data)
        if (before := self._kept.pop(key, None)) is not None:
            self._bytes -= len(before.data)
        self._kept[key] = msg
        while self._bytes > self._memory:
            self._bytes -= len(self._kept.popitem(last=False)[1].data)

    def want(self, record: ResultRecord, now: float) -> None:
        """A result whose pictures are to be kept."""
        found = {kind: self._kept[kind, record.image_ns] for kind in KINDS if (kind, record.image_ns) in self._kept}
        self._waiting.append(_Waiting(record, now + self._patience, found))
        self._finish()

    def check(self, now: float) -> None:
        """Give up on what did not come in time."""
        for waiting in self._waiting:
            if waiting.until <= now:
                self._hand_on(waiting)
        self._waiting = [waiting for waiting in self._waiting if waiting.until > now]

    def _finish(self) -> None:
        for waiting in [waiting for waiting in self._waiting if waiting.complete]:
            self._waiting.remove(waiting)
            self._hand_on(waiting)

    def _hand_on(self, waiting: _Waiting) -> None:
        self._done(waiting.record, PictureSet(**{kind: _decoded(kind, m) for kind, m in waiting.messages.items()}))


def _decoded(kind: str, msg: Any) -> Any:
    """The pixels; None for a message that holds none, which the result itself tells of."""
    try:
        if kind == HEATMAP:
            return image_to_floats(msg)
        return compressed_to_rgb(msg) if isinstance(msg, CompressedImage) else image_to_rgb(msg)
    except ImageError:
        return None
