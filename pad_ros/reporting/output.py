"""Results on disk: JSON without NaN, files that are whole or not there."""

from __future__ import annotations

import glob
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError


def plain(value: Any) -> Any:
    """Nested dicts and sequences as JSON takes them: NumPy scalars unwrapped, NaN and infinity as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def written(path: Path, what: str = "written") -> Iterator[None]:
    """InputError, in one line, for what the operating system refuses, such as a full disk."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be {what} ({error.strerror or error})") from error


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def make_folder(path: Path) -> None:
    """Make a folder for results; InputError where that is impossible."""
    with written(path, "made a folder"):
        path.mkdir(parents=True, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step; InputError where it cannot be written. What killed processes left of theirs goes."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    make_folder(path.parent)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        if not _alive(left.name.split(".")[-2]):
            left.unlink(missing_ok=True)
    try:
        with written(path):
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError, ValueError):
        return False
    except PermissionError:
        pass
    return True
