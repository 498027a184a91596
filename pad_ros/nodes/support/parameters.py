"""Declares a node's parameters from its table; wrong values and unknown names are refused with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from ...errors import InputError
from .parameter_tables import ParameterSpec

RCLPY_OWN = {"use_sim_time", "start_type_description_service"}  # declared by rclpy itself, as are qos_overrides.*


def as_parameters(overrides: dict[str, object] | None) -> list[Parameter]:
    """Overrides of a node, by name."""
    return [Parameter(name, value=value) for name, value in (overrides or {}).items()]


class Parameters:
    """The parameters of a node, by name. InputError for an override of a wrong type, value or name."""

    def __init__(self, node: Node, specs: Sequence[ParameterSpec]) -> None:
        self._node = node
        self._specs = {spec.name: spec for spec in specs}
        self._refuse_unknown()
        node.add_on_set_parameters_callback(self._check)
        for spec in specs:
            self._declare(spec)

    def __getitem__(self, name: str) -> Any:
        return self._node.get_parameter(name).value

    def get(self, name: str, default: object = None) -> Any:
        """The value; `default` where the node has no such parameter."""
        return self[name] if name in self._specs else default

    def _refuse_unknown(self) -> None:
        # rclpy ignores overrides that nobody declares, and has no public way to list them.
        given = {name for name in self._node._parameter_overrides if not name.startswith("qos_overrides.")}
        for name in sorted(given - self._specs.keys() - RCLPY_OWN):
            near = get_close_matches(name, self._specs, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"parameter {name}: {self._node.get_name()} has none of this name{hint}")

    def _declare(self, spec: ParameterSpec) -> None:
        kind = Parameter.Type.from_parameter_value(spec.default)
        descriptor = ParameterDescriptor(type=kind.value, description=spec.description, read_only=spec.read_only)
        if spec.limits is not None:
            low, high = (type(spec.default)(limit) for limit in spec.limits)
            if kind is Parameter.Type.INTEGER:
                descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
            else:
                descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        if spec.choices:
            descriptor.additional_constraints = "one of " + ", ".join(spec.choices)
        try:
            self._node.declare_parameter(spec.name, spec.default, descriptor)
        except Exception as error:  # rclpy raises one of several types, by what is wrong
            raise InputError(f"parameter {spec.name}: {error} ({spec.description})") from error

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            spec = self._specs.get(parameter.name)
            if spec and spec.choices and parameter.value not in spec.choices:
                return SetParametersResult(
                    successful=False, reason=f"{parameter.name} must be one of {', '.join(spec.choices)}"
                )
        return SetParametersResult(successful=True)
