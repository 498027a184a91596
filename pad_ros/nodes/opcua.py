"""opcua: the cell as a vision system for PLCs and the plant's systems, after OPC 40100-1 (docs/plant.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rclpy.node import Node

from .support.health import Reporter, graded
from .support.parameter_tables import NODES
from .support.parameters import Parameters, as_parameters
from .support.plant import ResultListener, RosCell, missing
from .support.plant_log import log_to
from .support.spin import run


class OpcuaNode(Node):
    """Serves the cell of its namespace. InputError for a wrong parameter, MissingDependencyError without asyncua."""

    def __init__(self, *, overrides: dict[str, object] | None = None, namespace: str = "") -> None:
        try:
            from ..plant.opcua.records import Settings
            from ..plant.opcua.server import Access, OpcuaServer
        except ImportError as error:
            raise missing("opcua", error) from error
        super().__init__("opcua", parameter_overrides=as_parameters(overrides), namespace=namespace)
        given = Parameters(self, NODES["opcua"])
        log_to(self)
        self._listener = ResultListener(self, given["result_nodes"], lambda result: self.server.hear(result))
        cell = RosCell(self, given, self._listener)
        hosts = tuple(host.strip() for host in given["hosts"].split(",") if host.strip())
        same = ("address", "port", "certificate", "private_key", "trusted_clients", "anonymous", "unencrypted")
        access = Access(Path(given["folder"]).expanduser(), hosts=hosts, **{name: given[name] for name in same})
        names = ("job_timeout", "prepare_wait", "patience", "keep_results")
        self.server = OpcuaServer(cell, access, Settings(**{name: given[name] for name in names}))
        if self.server.first_password is not None:
            self.get_logger().warning(f"made a first user; name and password are in {self.server.first_password}")
        self.health = OpcuaHealth(self)
        self.server.start()

    def describe(self) -> str:
        return self.server.endpoint

    def close(self) -> None:
        self.server.close()
        self.destroy_node()


class OpcuaHealth(Reporter):
    """/diagnostics of the server."""

    def __init__(self, node: OpcuaNode) -> None:
        self._opcua = node
        super().__init__(node, "OPC UA")

    def status(self) -> tuple[bytes, str, dict[str, Any]]:
        system, listener = self._opcua.server.system, self._opcua._listener
        recipe = system.recipe
        values = {
            "state": system.machine.state.browse_name,
            "recipe": "" if recipe is None else recipe.external_id,
            "model_hash": "" if recipe is None else recipe.model.hash,
            "results": len(system.results),
            "ignored": system.ignored,
            "endpoint": self._opcua.server.endpoint,
        }
        problems = [text for text in (listener.problem, listener.doubt) if text]
        return *graded([], problems, system.machine.state.browse_name), values


def main() -> int:
    return run(OpcuaNode)


if __name__ == "__main__":
    sys.exit(main())
