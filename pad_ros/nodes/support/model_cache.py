"""Models that stay loaded and warm, so that a change of part takes no time; the least recently used go first."""

from __future__ import annotations

import gc
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from ...inspector import Inspector

Stamp = tuple[tuple[object, ...], ...]
NOT_THE_MODELS = (type, ModuleType, FunctionType, BuiltinFunctionType)


@dataclass(frozen=True, eq=False)
class _Entry:
    stamp: Stamp
    inspector: Inspector
    size: int


class ModelCache:
    """Inspectors by folder and by what they were made ready for. Several nodes of one process may share it.

    limit: bytes that all of them may take. The newest stays in any case. A bundle that was written to since is loaded
    again, with all checks of a first load. turn: of those that work with the models; no model is made for two at once.
    """

    def __init__(self, limit: int) -> None:
        self.turn = threading.Lock()
        self._limit = limit
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, folder: Path, made_for: Hashable, make: Callable[[], Inspector]) -> Inspector:
        """The inspector of the bundle, from `make` where it is not there yet; what `make` raises is raised."""
        try:
            folder = folder.resolve()
        except (OSError, RuntimeError, ValueError):  # links in circles, a NUL byte: loading says so better
            return make()
        key, stamp = (folder, made_for), stamp_of(folder)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None and stamp and entry.stamp == stamp:
                self._entries.move_to_end(key)
                return entry.inspector
        inspector = make()
        if stamp and stamp == stamp_of(folder):  # else it was replaced meanwhile
            entry = _Entry(stamp, inspector, memory_of(inspector))
            with self._lock:
                self._entries[key] = entry
                self._entries.move_to_end(key)
                while len(self._entries) > 1 and self._size() > self._limit:
                    self._entries.popitem(last=False)
        return inspector

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def describe(self) -> str:
        """How many models it holds, and their memory."""
        with self._lock:
            return f"{len(self._entries)} ({self._size() / 1e6:.0f} MB)"

    def _size(self) -> int:
        return sum(entry.size for entry in self._entries.values())


def stamp_of(folder: Path) -> Stamp:
    """What changes when any file below the folder, or the file itself, is written to; empty where it cannot be read.

    The time of the last change (ctime) is the system's own: unlike that of the content it cannot be set back.
    """
    try:
        files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
        states = [(path, path.stat()) for path in files]
    except (OSError, ValueError):
        return ()
    return tuple((str(p), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev) for p, s in states)


def memory_of(thing: object) -> int:
    """Bytes of all objects that it leads to, arrays once; what native libraries hold besides is not seen."""
    torch = sys.modules.get("torch")
    seen: set[int] = set()
    left: list[Any] = [thing]
    total = 0
    while left:
        one = left.pop()
        if isinstance(one, np.ndarray):
            while isinstance(one.base, np.ndarray):
                one = one.base
        if id(one) in seen or isinstance(one, NOT_THE_MODELS):
            continue
        seen.add(id(one))
        if isinstance(one, np.ndarray):
            total += one.nbytes
        elif torch is not None and isinstance(one, torch.Tensor):
            total += one.untyped_storage().nbytes()
        else:
            total += sys.getsizeof(one, 0)
            left += gc.get_referents(one)
    return total
