"""cells: several inspection cells in one process, a namespace each. They share the loaded models and take turns.

python -m pad_ros.nodes.cells cell_left cell_right --ros-args --params-file cells.yaml
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

from rclpy.exceptions import InvalidNamespaceException
from rclpy.utilities import remove_ros_args
from rclpy.validate_namespace import validate_namespace

from ..errors import InputError
from .cell import CellNode
from .support.model_cache import ModelCache
from .support.spin import run


def cell_makers(namespaces: Sequence[str]) -> list[Callable[[], CellNode]]:
    """What makes each cell, in order; the parameter `models_memory` of the first holds for all of them."""
    shared: list[ModelCache] = []

    def make(namespace: str) -> CellNode:
        cell = CellNode(namespace=namespace, models=shared[0] if shared else None)
        shared.append(cell.models)
        return cell

    return [partial(make, namespace) for namespace in _checked(namespaces)]


def _checked(namespaces: Sequence[str]) -> list[str]:
    if not namespaces:
        raise InputError("cells: give the namespace of each cell, such as: cells cell_left cell_right")
    absolute = [f"/{name.lstrip('/')}" for name in namespaces]
    for name in absolute:
        try:
            validate_namespace(name)
        except InvalidNamespaceException as error:
            raise InputError(f"cells: {name} is no namespace of ROS") from error
    if len(set(absolute)) < len(absolute):
        raise InputError(f"cells: two cells in one namespace ({', '.join(absolute)})")
    return absolute


def main() -> int:
    try:
        makers = cell_makers(remove_ros_args(sys.argv)[1:])
    except InputError as error:
        print(f"pad_ros: {error}", file=sys.stderr)
        return error.exit_status
    return run(*makers)


if __name__ == "__main__":
    sys.exit(main())
