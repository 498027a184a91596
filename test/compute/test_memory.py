"""Freed memory goes back to the system, where the C library can do that."""

import numpy as np

from pad_ros.compute import memory


def test_memory_is_given_back(monkeypatch):
    small = [np.ones(1000) for _ in range(100)]
    del small
    memory.give_back()
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    memory.give_back()  # nothing happens with another C library
