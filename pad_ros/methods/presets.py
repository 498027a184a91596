"""Method presets: config/methods/*.yaml as validated dataclasses.

A preset names only what differs from the defaults of the dataclasses; every key is checked, so that
a misspelt setting is an error and not silently the default. Numbers are finite and never negative.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from ..comparison.choices import check_comparison
from ..errors import InputError, first_line, located
from ..localization.choices import needed_networks
from ..resources import resource_folder
from ..settings import (
    LocalizationSettings,
    NerfSettings,
    OptimizationSettings,
    RefinementSettings,
    ScoringSettings,
    SplattingSettings,
    check_bounds,
)

MAX_YAML_CHARACTERS = 100_000


@dataclass(frozen=True)
class Method:
    """One complete configuration of the pipeline."""

    name: str
    description: str = ""
    localization: LocalizationSettings = field(default_factory=LocalizationSettings)
    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings)
    splatting: SplattingSettings = field(default_factory=SplattingSettings)
    rendering: Literal["splats", "nerf"] = "splats"  # what the part is learned as
    nerf: NerfSettings = field(default_factory=NerfSettings)
    scoring: ScoringSettings = field(default_factory=ScoringSettings)

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that it runs, under their names in `networks.registry`."""
        return tuple(dict.fromkeys(needed_networks(self.localization) + self.scoring.networks))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the manifest; `method_from_dict` reads them back."""
        return dataclasses.asdict(self)


def preset_folder() -> Path:
    """The folder with the presets, one YAML file each."""
    return resource_folder("config/methods", "*.yaml")


def load_method(name: str, overrides: Sequence[str] = ()) -> Method:
    """The preset `name`, changed by KEY=VALUE overrides such as `splatting.gaussians=30000`."""
    folder = preset_folder()
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in names:
        raise InputError(f"no method preset is called {name!r}; there are: {', '.join(names)}")
    path = folder / f"{name}.yaml"
    try:
        values = _yaml(path.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as YAML ({first_line(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected settings, got {type(values).__name__}")
    for override in overrides:
        _apply(values, override)
    if "name" in values:
        raise InputError(f"{path}: the name of a preset is that of its file, and cannot be set")
    return method_from_dict({**values, "name": name}, str(path))


def method_from_dict(values: Mapping[str, Any], where: str) -> Method:
    """The Method described by nested plain values; InputError names the wrong key."""
    method = _build(Method, values, where)
    assert isinstance(method, Method)
    with located(where):
        needed_networks(method.localization)
        check_comparison(method.scoring)
    return method


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set {override}: expected KEY=VALUE, e.g. splatting.gaussians=30000")
    *groups, last = key.split(".")
    target = values
    for group in groups:
        target = target.setdefault(group, {})
        if not isinstance(target, dict):
            raise InputError(f"--set {override}: {group} is a single value, not a group of settings")
    try:
        target[last] = _yaml(text)
    except ValueError as error:
        raise InputError(f"--set {override[:80]}: the value is not valid YAML ({first_line(error)})") from error


class _Loader(yaml.SafeLoader):
    """Without references (*name): a few lines of nested ones are gigabytes when they are written out."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references to other values are not supported")
        return super().compose_node(parent, index)


def _yaml(text: str) -> Any:
    """The plain values in `text`; ValueError where it is not YAML."""
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"more than {MAX_YAML_CHARACTERS} characters")
    try:
        return yaml.load(text, _Loader)  # nosec B506  # a SafeLoader
    except Exception as error:  # PyYAML's constructors raise anything on an odd tag
        raise ValueError(first_line(error)) from error


def _build(kind: type, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected a group of settings, got {_short(values)}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(str(key) for key in values if key not in hints)
    if unknown:
        raise InputError(f"{where}: unknown setting {unknown[0]!r}; known here: {', '.join(hints)}")
    built = kind(**{key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()})
    check_bounds(built, where)
    return built


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        return _build(kind, value, where)
    if typing.get_origin(kind) is Literal:
        if value not in (choices := typing.get_args(kind)):
            raise InputError(f"{where}: expected one of {', '.join(choices)}, got {_short(value)}")
        return value
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where}: expected a list, got {_short(value)}")
        if not value:
            raise InputError(f"{where}: the list is empty")
        item = typing.get_args(kind)[0]
        return tuple(_convert(item, entry, where) for entry in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e15:
        value = float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise InputError(f"{where}: expected {kind.__name__}, got {_short(value)}")
    if kind in (int, float) and not 0 <= value < 1e15:
        raise InputError(f"{where}: expected a number from 0 up, got {_short(value)}")
    return value


def _short(value: Any) -> str:
    """The beginning of a value for a message, on one line."""
    try:
        return repr(str(value)[:80])
    except ValueError:  # an integer of more than 4300 digits
        return f"a very large {type(value).__name__}"
