"""How long this process stood still: stopped, or without a turn on a busy machine.

What comes out of the queues after that is older than it looks. Its sender's clock says how old, but may be wrong by
more than a deadline; so it is believed up to the length of a standstill that was seen here. Steady clock, nanoseconds.
"""

from __future__ import annotations

import time

SHORTEST = 200_000_000  # ns: less is usual
REMEMBERED = 2_000_000_000  # ns for which queues may still hold what came during a standstill


class Stalls:
    """`tick` is to be called every few hundredths of a second."""

    def __init__(self) -> None:
        self._last_ns = time.monotonic_ns()
        self._ended_ns, self._length_ns = -REMEMBERED, 0

    def tick(self, now_ns: int) -> bool:
        """Whether a standstill has just ended."""
        gap, self._last_ns = now_ns - self._last_ns, now_ns
        if gap < SHORTEST:
            return False
        self._ended_ns, self._length_ns = now_ns, gap
        return True

    def age(self, sent_ns: int, now_ns: int) -> int:
        """How long ago a message was sent that is taken now. sent_ns: system clock of its sender."""
        stood = max(now_ns - self._last_ns, self._length_ns if now_ns - self._ended_ns < REMEMBERED else 0)
        return max(0, min(time.time_ns() - sent_ns, stood)) if stood >= SHORTEST else 0
