"""Freed memory goes back to the system, where the C library can do that."""

import gc
import platform
import weakref

import pytest

from pad_ros.compute import memory


class Holder:
    itself: object = None


def test_memory_is_given_back(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_malloc_trim", lambda: calls.append)
    memory.give_back()
    assert calls == [0]  # bytes to keep at the end of the heap


def test_arrays_in_reference_cycles_are_collected_with_whatever_library(monkeypatch):
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    holder = Holder()
    holder.itself = holder
    gone = weakref.ref(holder)
    gc.disable()
    try:
        del holder
        assert gone() is not None
        memory.give_back()
    finally:
        gc.enable()
    assert gone() is None


def test_nothing_happens_with_another_c_library(monkeypatch):
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    memory.give_back()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back on demand")
def test_glibc_is_found():
    assert memory._malloc_trim() is not None
