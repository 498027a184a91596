"""Freed memory goes back to the system, where the C library can do that."""

import platform

import pytest

from pad_ros.compute import memory


def test_memory_is_given_back(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: calls.append)
    memory.give_back()
    assert calls == [0]  # bytes to keep at the end of the heap


def test_nothing_happens_with_another_c_library(monkeypatch):
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    memory.give_back()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back on demand")
def test_glibc_is_found():
    assert memory._malloc_trim() is not None
