"""What the stage nodes share: the life cycle, a reference model that can be changed, and a worker thread."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from pad_ros.srv import LoadModel

from ...errors import ModelError, PadError
from ...imaging.scene import Scene, parse_region
from ...inspector import Inspector
from .health import Health
from .model_location import check_location
from .parameter_tables import NODES
from .parameters import Parameters
from .spin import BlockingCallbacks
from .worker import Worker

Load = Callable[[Path, str, Scene], Inspector]
Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def reasoned(transition: Transition) -> Transition:
    """An exception in a transition becomes ERROR; rclpy would lose the reason."""

    @functools.wraps(transition)
    def safe(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            node.problem = f"{type(error).__name__}: {error}"
            return TransitionCallbackReturn.ERROR

    return safe


class StageNode(LifecycleNode):
    """A managed node with a reference model (`load_model` changes it) and a bounded queue of frames.

    configure loads and warms up the model and makes the publishers; activate subscribes; deactivate answers the
    frames that wait; cleanup lets go of the model. With `autostart` the node configures and activates itself, and
    a model that cannot be loaded leaves it active: each frame is then HOLD with NO_MODEL. Without, configure fails.
    PadError for a missing or wrong parameter. `load` and `overrides` are there for tests.
    """

    load_model_service = "~/load_model"  # three stages in one namespace: each has its own

    def __init__(
        self, name: str, *, load: Load = Inspector.load, overrides: dict[str, object] | None = None, namespace: str = ""
    ) -> None:
        given = [Parameter(key, value=value) for key, value in (overrides or {}).items()]
        super().__init__(name, parameter_overrides=given, namespace=namespace)
        self.parameters = Parameters(self, NODES[name])
        self._load = load
        self.queue_size, self.depth = self.parameters["queue_size"], self.parameters["depth"]
        self._region = parse_region(roi) if (roi := self.parameters.get("roi")) else None
        self._autostart = self.parameters["autostart"]
        self.inspector: Inspector | None = None
        self.worker: Worker | None = None
        self.problem = ""  # why the last transition failed
        self.health = Health(self, self)
        self._configured: Entities | None = None
        self._activated: Entities | None = None
        self.create_service(LoadModel, self.load_model_service, self._on_load_model, callback_group=BlockingCallbacks())

    # ---- what a stage adds ----

    def prepare(self, inspector: Inspector) -> None:
        """Make ready what a frame would else wait for; an exception refuses the model."""
        inspector.warm_up()

    def open_outputs(self) -> None:
        """Make the publishers."""

    def open_inputs(self) -> None:
        """Make the subscriptions and services by which work comes in."""

    def close_inputs(self) -> None:
        """Answer what is open before the subscriptions go."""

    # ---- life cycle ----

    def start(self) -> None:
        """Configure and activate where `autostart` is set; to be called when all parameters are declared."""
        if not self._autostart:
            return
        if not self.parameters["model"]:
            name = self.get_name()
            self.destroy_node()
            raise PadError(
                f"{name}: no model given; start it with --ros-args -p model:=FOLDER (as `pad train` wrote it)"
            )
        self.trigger_configure()
        if self.state == "inactive":
            self.trigger_activate()
        self._autostart = False  # from here on a manager's calls succeed or fail as they do for any managed node

    @property
    def state(self) -> str:
        return str(self._state_machine.current_state[1])

    @reasoned
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.problem = self.load(self.parameters["model"])
        if self.problem and not self._autostart:
            return TransitionCallbackReturn.ERROR
        if self.problem:
            self.get_logger().error(f"{self.problem}; every frame is HOLD until load_model succeeds")
        self._configured = Entities(self)
        self.open_outputs()
        return TransitionCallbackReturn.SUCCESS

    @reasoned
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.worker = Worker(self.queue_size, lambda error: self.get_logger().error(f"{type(error).__name__}: {error}"))
        self._activated = Entities(self)
        self.open_inputs()
        return TransitionCallbackReturn.SUCCESS

    @reasoned
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close_inputs(finish=True)
        return TransitionCallbackReturn.SUCCESS

    @reasoned
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    @reasoned
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured, with the reason in the log and in /diagnostics: mend it and configure again."""
        self.get_logger().error(f"failed while {state.label}: {self.problem}")
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _release(self) -> None:
        self._close_inputs(finish=False)
        if self._configured is not None:
            self._configured.destroy()
            self._configured = None
        self.inspector = None

    def _close_inputs(self, finish: bool) -> None:
        if self._activated is not None:
            self.close_inputs()
            self._activated.destroy()
            self._activated = None
        if self.worker is not None:
            self.worker.close(finish)
            self.worker = None

    # ---- the model ----

    def load(self, path: str, expected_hash: str = "") -> str:
        """Change the model; returns why that failed ("": it did not). The old one stays until the new one is ready."""
        if not path:
            return "no model given: set the parameter `model` to a folder written by `pad train`"
        try:
            check_location(Path(path), self.parameters["models_root"])
            background = self.parameters.get("background")
            least = self.parameters.get("min_view_share") or 0.0
            scene = Scene.read([Path(background)] if background else [], self._region, least)
            inspector = self._load(Path(path), self.parameters["device"], scene)
            model = inspector.model
            if expected_hash and model.hash != expected_hash:
                raise ModelError(f"{path}: the model's hash is {model.hash}, {expected_hash} was asked for")
            model.name.encode()  # a name that is not UTF-8 fits into no message
            self.prepare(inspector)
        except Exception as error:  # a bundle is foreign data: nothing in it may end the node
            text = str(error) if isinstance(error, PadError) else f"{type(error).__name__}: {error}"
            return text.encode(errors="backslashreplace").decode()
        self.inspector = inspector
        self.problem = ""
        return ""

    def describe(self) -> str:
        """One line for people: which model on which device, and the state where that is not `active`."""
        state = "" if self.state == "active" else f" ({self.state})"
        if self.inspector is None:
            return f"no model{state}"
        model = self.inspector.model
        return f"model {model.name} ({model.hash[:12]}) on {self.inspector.device}{state}"

    def close(self) -> None:
        self._release()
        self.destroy_node()

    def _on_load_model(self, request: LoadModel.Request, response: LoadModel.Response) -> LoadModel.Response:
        if self.state in ("inactive", "active"):
            problem = self.load(request.path, request.expected_hash)
        else:
            problem = f"the node is {self.state}: set the parameter `model` and configure it"
        if not problem:  # a later configure loads the same
            self.set_parameters([Parameter("model", value=request.path)])
        response.success = not problem
        response.message = problem or self.describe()
        self.get_logger().info(f"load_model {request.path}: {response.message}")
        if self.inspector is not None:
            response.model_name = self.inspector.model.name
            response.model_hash = self.inspector.model.hash
        return response


class Entities:
    """The publishers, subscriptions, services and timers that a node makes from now on, to be destroyed together."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._before = {id(entity) for entity, _ in self._all()}

    def destroy(self) -> None:
        for entity, destroy in self._all():
            if id(entity) not in self._before:
                destroy(entity)

    def _all(self) -> list[tuple[object, Callable[[Any], object]]]:
        node = self._node
        kinds = (
            (node.timers, node.destroy_timer),
            (node.subscriptions, node.destroy_subscription),
            (node.services, node.destroy_service),
            (node.publishers, node.destroy_publisher),
        )
        return [(entity, destroy) for entities, destroy in kinds for entity in entities]
