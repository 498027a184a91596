"""What the nodes for the plant share: results with a word on whether to believe them, and the cell over ROS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from pad_ros.msg import InspectionResult, Trigger
from pad_ros.srv import LoadModel

from ...errors import MissingDependencyError
from ...plant.cell import LoadedModel, RecipeRefused
from ...plant.plant_result import PlantResult, from_message
from .parameters import Parameters
from .publishers import ResultPublishers
from .qos import latched, result_qos, trigger_qos
from .stages import stamp_msg

LOOK = 0.2  # seconds between looks at the graph
MANIFEST = "manifest.json"  # in every model's folder


def missing(extra: str, error: ImportError) -> MissingDependencyError:
    """Of a node whose libraries are an extra of the package."""
    return MissingDependencyError(
        f"{(error.name or str(error)).partition('.')[0]} is not installed: pip install 'pad_ros[{extra}]'"
    )


def cell_name(node: Node, parameters: Parameters) -> str:
    """Parameter cell_name, else the namespace, else "cell"."""
    return str(parameters["cell_name"] or node.get_namespace().strip("/") or "cell")


class ResultListener:
    """Hands each result of the node's namespace on; those from before the node began are left out.

    `problem` and `doubt` may be read from any thread: they are worked out by a timer.
    """

    def __init__(self, node: Node, result_nodes: str, hear: Callable[[PlantResult], None]) -> None:
        self.problem = self.doubt = "the node has just begun"
        self._node, self._hear = node, hear
        self._began_ns = time.time_ns()
        names = [name.strip() for name in result_nodes.split(",")]
        self._publishers = ResultPublishers(node, [*names, "watchdog"])
        self._judges = {(name, node.get_namespace()) for name in names}
        node.create_subscription(InspectionResult, "result", self._on_result, latched(result_qos().depth))
        node.create_timer(LOOK, self.look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def look(self) -> None:
        """Who publishes results now."""
        self.doubt = self._publishers.problem()
        there = {(i.node_name, i.node_namespace) for i in self._node.get_publishers_info_by_topic("result")}
        judges = " or ".join(sorted(name for name, _ in self._judges))
        self.problem = "" if there & self._judges else f"no node {judges} publishes results"

    def _on_result(self, msg: InspectionResult, info: dict[str, Any]) -> None:
        if info["source_timestamp"] >= self._began_ns:  # else kept by its publisher from before
            if msg.verdict == InspectionResult.PASS:
                self.look()  # as it is now, not as the timer last saw it
            self._hear(from_message(msg, time.time_ns()))


class RosCell:
    """The `Cell` of the node's namespace. Made and fed in the node's thread, asked from the server's."""

    def __init__(self, node: Node, parameters: Parameters, listener: ResultListener) -> None:
        self.name = cell_name(node, parameters)
        self._listener, self._timeout = listener, parameters["load_timeout"]
        self._recipes = parameters["recipes"]
        services = [name.strip() for name in parameters["load_services"].split(",")]
        self._clients = [node.create_client(LoadModel, name) for name in services]
        self._trigger = node.create_publisher(Trigger, "trigger", trigger_qos())

    def problem(self) -> str:
        gone = [client.srv_name for client in self._clients if not client.service_is_ready()]
        return self._listener.problem or (f"no service {', '.join(gone)}" if gone else "")

    def trigger_problem(self) -> str:
        return "" if self._trigger.get_subscription_count() else "no node takes triggers (triggered: true)"

    def doubt(self) -> str:
        return self._listener.doubt

    def recipes(self) -> list[str]:
        """The models in the folder; none where it lies on another machine."""
        try:
            return (
                sorted(path.parent.name for path in Path(self._recipes).glob(f"*/{MANIFEST}")) if self._recipes else []
            )
        except OSError:
            return []

    async def load_model(self, recipe: str, expected_hash: str) -> LoadedModel:
        """By every service in turn: a cell of several nodes has several."""
        if not self._recipes:
            raise RecipeRefused("no folder of recipes: set the parameter `recipes`")
        models = [await self._load(client, recipe, expected_hash) for client in self._clients]
        if len({model.hash for model in models}) > 1:
            raise RecipeRefused("the nodes of the cell have loaded different models")
        return models[0]

    async def _load(self, client: Any, recipe: str, expected_hash: str) -> LoadedModel:
        request = LoadModel.Request(path=f"{self._recipes}/{recipe}", expected_hash=expected_hash)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()
        future = client.call_async(request)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(_pass_on, done, answered))
        try:
            answer = await asyncio.wait_for(answered, self._timeout)
        except asyncio.TimeoutError:
            client.remove_pending_request(future)
            raise RecipeRefused(f"{client.srv_name} has not answered within {self._timeout:g} s") from None
        except Exception as error:
            raise RecipeRefused(f"{client.srv_name}: {type(error).__name__}: {error}") from error
        if not answer.success:
            raise RecipeRefused(answer.message)
        return LoadedModel(answer.model_name, answer.model_hash)

    def trigger(self, part_id: str, stamp_ns: int) -> None:
        message = Trigger(part_id=part_id)
        message.header.stamp = stamp_msg(stamp_ns)
        self._trigger.publish(message)


def _pass_on(done: Any, answered: asyncio.Future[Any]) -> None:
    """From rclpy's future to asyncio's."""
    if answered.done():
        return
    error = done.exception()
    if error is not None:
        answered.set_exception(error)
    else:
        answered.set_result(done.result())
