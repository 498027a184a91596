"""The age of messages after this process stood still."""

import time

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.nodes.support.stalls import REMEMBERED, SHORTEST, Stalls  # noqa: E402

MS = 10**6


@pytest.fixture
def stalls():
    """After a second of ticks every 20 ms, a standstill of 1 s, and one more tick."""
    found = Stalls()
    start = time.monotonic_ns()
    for i in range(50):
        assert not found.tick(start + 20 * i * MS)
    now = start + 2000 * MS
    assert found.tick(now)
    return found, now


def test_after_a_standstill_the_sender_s_clock_counts(stalls):
    found, now = stalls
    assert found.age(time.time_ns() - 700 * MS, now + 5 * MS) == pytest.approx(700 * MS, abs=100 * MS)


def test_a_clock_that_is_wrong_is_believed_up_to_the_standstill(stalls):
    found, now = stalls
    assert found.age(time.time_ns() - 10**12, now) == 1020 * MS
    assert found.age(time.time_ns() + 10**12, now) == 0


def test_without_a_standstill_no_clock_is_believed(stalls):
    found, now = stalls
    assert found.age(0, now + REMEMBERED + SHORTEST) == SHORTEST + REMEMBERED  # no tick since: it stands still again
    found.tick(now + 20 * MS)
    later = now + REMEMBERED + 40 * MS
    for i in range(2, 103):
        found.tick(now + 20 * i * MS)
    assert found.age(0, later) == 0
