"""Typed, described node parameters; wrong values are refused with the reason."""

from __future__ import annotations

from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ...errors import InputError

T = TypeVar("T", bool, int, float, str)

_TYPES = {
    bool: Parameter.Type.BOOL,
    int: Parameter.Type.INTEGER,
    float: Parameter.Type.DOUBLE,
    str: Parameter.Type.STRING,
}


class Parameters:
    """Declares a node's parameters. Those not marked read-only may change at run time: read them by `get`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._choices: dict[str, tuple[str, ...]] = {}
        node.add_on_set_parameters_callback(self._check)

    def declare(
        self,
        name: str,
        default: T,
        description: str,
        *,
        read_only: bool = True,
        limits: tuple[float, float] | None = None,
        choices: tuple[str, ...] = (),
    ) -> T:
        """The parameter's value at start; InputError (from the user's override) if it is of a wrong type or value."""
        descriptor = ParameterDescriptor(
            name=name, type=_TYPES[type(default)].value, description=description, read_only=read_only
        )
        if limits is not None and isinstance(default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]))]
        elif limits is not None:
            descriptor.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1])]
        if choices:
            descriptor.additional_constraints = "one of " + ", ".join(choices)
            self._choices[name] = choices
        try:
            value: T = self._node.declare_parameter(name, default, descriptor).value
        except Exception as error:  # rclpy raises one of several types, by what is wrong
            raise InputError(f"parameter {name}: {error} ({description})") from error
        return value

    def get(self, name: str) -> object:
        return self._node.get_parameter(name).value

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            choices = self._choices.get(parameter.name)
            if choices and parameter.value not in choices:
                return SetParametersResult(
                    successful=False, reason=f"{parameter.name} must be one of {', '.join(choices)}"
                )
        return SetParametersResult(successful=True)
