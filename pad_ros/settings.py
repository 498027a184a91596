"""Settings with bounds: what a preset or `--set` may ask for."""

from __future__ import annotations

from dataclasses import Field, field, fields
from typing import Any, TypeVar

from .errors import InputError

Value = TypeVar("Value")


def bounded(default: Value, least: float, most: float) -> Value:
    """A dataclass field whose value (each value of a tuple) must lie in least..most; see `check_bounds`."""
    return field(default=default, metadata={"bounds": (least, most)})


def check_bounds(settings: Any, where: str) -> None:
    """InputError where a field of a dataclass instance is outside the bounds that it was declared with."""
    for entry in fields(settings):
        _check(entry, getattr(settings, entry.name), where)


def _check(entry: Field[Any], value: Any, where: str) -> None:
    if "bounds" not in entry.metadata:
        return
    least, most = entry.metadata["bounds"]
    for number in value if isinstance(value, tuple) else (value,):
        if not least <= number <= most:
            raise InputError(f"{where}: {entry.name}: expected {least:g} to {most:g}, got {number:g}")
