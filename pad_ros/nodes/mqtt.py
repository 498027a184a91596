"""mqtt: each result as JSON to an MQTT broker, and the state of the cell (docs/plant.md)."""

from __future__ import annotations

import sys
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from ..plant.plant_result import PlantResult, believed
from .support.health import Reporter, graded
from .support.parameter_tables import NODES
from .support.parameters import Parameters, as_parameters
from .support.plant import LOOK, ResultListener, cell_name, missing
from .support.plant_log import log_to
from .support.spin import run


class MqttNode(Node):
    """Tells a broker what the cell of its namespace finds. A broker that is gone stops nothing here.

    InputError for a wrong parameter, MissingDependencyError without paho-mqtt.
    """

    def __init__(self, *, overrides: dict[str, object] | None = None, namespace: str = "") -> None:
        try:
            from ..plant.mqtt import Broker, PlantPublisher
        except ImportError as error:
            raise missing("mqtt", error) from error
        super().__init__("mqtt", parameter_overrides=as_parameters(overrides), namespace=namespace)
        given = Parameters(self, NODES["mqtt"])
        log_to(self)
        names = ("host", "port", "user", "password_file", "tls", "ca_file", "certificate", "private_key", "client_id")
        broker = Broker(**{name: given[name] for name in names})
        name = cell_name(self, given)
        self.publisher = PlantPublisher(name, broker, given["topic_prefix"], given["queue_size"])
        self._wanted = given["model_hash"]
        self.listener = ResultListener(self, given["result_nodes"], self._hear)
        self.health = MqttHealth(self)
        self.create_timer(LOOK, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.publisher.start()

    def describe(self) -> str:
        return self.publisher.result_topic

    def close(self) -> None:
        self.publisher.close()
        self.destroy_node()

    def _hear(self, result: PlantResult) -> None:
        self.publisher.hear(believed(result, self.listener.doubt, self._wanted))

    def _look(self) -> None:
        self.publisher.set_cell_problem(self.listener.problem)


class MqttHealth(Reporter):
    """/diagnostics of the publisher."""

    def __init__(self, node: MqttNode) -> None:
        self._mqtt = node
        self._reported = 0
        super().__init__(node, "MQTT")

    def status(self) -> tuple[bytes, str, dict[str, Any]]:
        publisher, listener = self._mqtt.publisher, self._mqtt.listener
        lost, self._reported = publisher.dropped - self._reported, publisher.dropped
        values = {"topic": publisher.result_topic, "waiting": publisher.waiting, "dropped": publisher.dropped}
        errors = [f"{lost} results were dropped: too many wait for the broker"] if lost else []
        warnings = [text for text in (publisher.problem, listener.problem, listener.doubt) if text]
        return *graded(errors, warnings, "connected"), values


def main() -> int:
    return run(MqttNode)


if __name__ == "__main__":
    sys.exit(main())
