"""What the stage nodes share: the life cycle, a reference model that can be changed, and a worker thread."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from pad_ros.srv import LoadModel

from ...errors import ModelError, PadError
from ...imaging.images import MAX_PIXELS
from ...imaging.scene import Scene, parse_region
from ...inspector import Inspector
from .health import Health
from .limits import MAX_PATH
from .model_cache import ModelCache, stamp_of
from .parameter_tables import NODES
from .parameters import Parameters, as_parameters
from .spin import BlockingCallbacks
from .worker import Worker

# Seconds that a node exists before it takes its first trigger. On a busy machine the watchdog finds it that much later
# than the light barrier does, and would answer once more what it answers in between. Loading a model takes as long.
SETTLING = 3.0

Load = Callable[[Path, str, Scene], Inspector]
RATE = "false_reject_rate"


def transition(work: Callable[[Any], None]) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
    """A transition that does `work`; an exception makes it ERROR, and the node keeps the reason."""

    @functools.wraps(work)
    def safe(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            work(node)
        except Exception as error:
            node.problem = _text(error)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

    return safe


class StageNode(LifecycleNode):
    """A managed node with a reference model (`load_model` changes it) and a bounded queue of frames.

    configure loads and warms up the model and makes the publishers; activate subscribes; deactivate answers the
    frames that wait; cleanup lets go of the model. With `autostart` the node configures and activates itself, and
    a model that cannot be loaded leaves it active: each frame is then HOLD with NO_MODEL. Without, configure fails.
    A model that was loaded before and has not changed is there at once (parameters `models`, `models_memory`).
    PadError for a missing or wrong parameter. `load` and `overrides` are there for tests; `models`: shared by
    several nodes of one process, which then take turns.
    """

    node_name: str
    load_model_service = "~/load_model"  # three stages in one namespace: each has its own

    def __init__(
        self,
        *,
        load: Load = Inspector.load,
        overrides: dict[str, object] | None = None,
        namespace: str = "",
        models: ModelCache | None = None,
    ) -> None:
        super().__init__(self.node_name, parameter_overrides=as_parameters(overrides), namespace=namespace)
        made = time.monotonic()
        self.parameters = Parameters(self, NODES[self.node_name])
        self._load = load
        self.queue_size, self.depth = self.parameters["queue_size"], self.parameters["depth"]
        self._region = parse_region(roi) if (roi := self.parameters.get("roi")) else None
        self._autostart = self.parameters["autostart"]
        self.models = models or ModelCache(self.parameters["models_memory"] * 10**6)
        self._loaded: Inspector | None = None  # with the model's own threshold
        self.inspector: Inspector | None = None
        self.worker: Worker | None = None
        self.problem = ""  # why the last transition failed
        self.health = Health(self, self)
        self._configured: Entities | None = None
        self._activated: Entities | None = None
        self.add_on_set_parameters_callback(self._check_rate)
        self.add_post_set_parameters_callback(self._apply_rate)
        self.create_service(LoadModel, self.load_model_service, self._on_load_model, callback_group=BlockingCallbacks())
        self.set_up()
        if self._autostart:
            self._start(made + SETTLING)

    # ---- what a stage adds ----

    def set_up(self) -> None:
        """Read the parameters; called once, before anything is configured."""

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

    def _start(self, earliest: float) -> None:
        """Configure, and activate at `earliest` (steady clock, s)."""
        if not self.parameters["model"]:
            name = self.get_name()
            self.destroy_node()
            raise PadError(
                f"{name}: no model given; start it with --ros-args -p model:=FOLDER (as `pad train` wrote it)"
            )
        self.trigger_configure()
        if self.state == "inactive":
            time.sleep(max(0.0, earliest - time.monotonic()))
            self.trigger_activate()
        self._autostart = False  # from here on a manager's calls succeed or fail as they do for any managed node

    @property
    def state(self) -> str:
        return str(self._state_machine.current_state[1])

    @transition
    def on_configure(self) -> None:
        for path in filter(None, map(str.strip, self.parameters["models"].split(","))):
            try:
                self._ready(path)
            except Exception as error:  # a part that is made later must not keep the line from this one
                self.get_logger().error(f"models: {_text(error)}")
        self.problem = self.load(self.parameters["model"])
        if self.problem and not self._autostart:
            raise ModelError(self.problem)
        if self.problem:
            self.get_logger().error(f"{self.problem}; every frame is HOLD until load_model succeeds")
        self._configured = Entities(self)
        self.open_outputs()

    @transition
    def on_activate(self) -> None:
        def report(error: Exception) -> None:
            self.get_logger().error(f"{type(error).__name__}: {error}")

        self.worker = Worker(self.queue_size, report, self.models.turn)
        self._activated = Entities(self)
        self.open_inputs()

    @transition
    def on_deactivate(self) -> None:
        self._close_inputs(finish=True)

    @transition
    def on_cleanup(self) -> None:
        self._release()

    on_shutdown = on_cleanup

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
        self.inspector = self._loaded = None
        self.models.clear()

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
            inspector = self._ready(path, expected_hash)
            at_rate = _at_rate(inspector, self.parameters.get(RATE, 0.0))
        except Exception as error:  # a bundle is foreign data: nothing in it may end the node
            return _text(error).encode(errors="backslashreplace").decode()
        self._loaded, self.inspector = inspector, at_rate
        self.problem = ""
        return ""

    def _ready(self, path: str, expected_hash: str = "") -> Inspector:
        """The model at `path`, warmed up; as it was loaded before where neither it nor the background has changed."""
        folder, given, device = Path(path), self.parameters.get("background"), self.parameters["device"]
        least = self.parameters.get("min_view_share", 0.0)
        check_location(folder, self.parameters["models_root"])

        def check(inspector: Inspector) -> None:
            found = inspector.model.hash
            if expected_hash and found != expected_hash:
                raise ModelError(f"{path}: the model's hash is {found}, {expected_hash[:80]} was asked for")

        def make() -> Inspector:
            scene = Scene.read([Path(given)] if given else [], self._region, least)
            inspector = self._load(folder, device, scene)
            check(inspector)
            inspector.model.name.encode()  # a name that is not UTF-8 fits into no message
            self.prepare(inspector)
            return inspector

        # All that it is made for: cells that share the models may look elsewhere, or ask for more of the part.
        made_for = device, self._region, least, given, stamp_of(Path(given)) if given else ()
        inspector = self.models.get(folder, made_for, make)
        check(inspector)  # it may have been loaded for somebody who asked for no hash
        return inspector

    def _check_rate(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name == RATE and self._loaded is not None:
                try:
                    _at_rate(self._loaded, parameter.value)
                except PadError as error:
                    return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_rate(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            if parameter.name == RATE and self._loaded is not None:
                self.inspector = _at_rate(self._loaded, parameter.value)
                self.get_logger().info(f"false_reject_rate {parameter.value:g}: {self.describe()}")

    @property
    def max_query_pixels(self) -> int:
        """Of the images that are looked at."""
        return MAX_PIXELS if self.inspector is None else self.inspector.model.max_query_pixels

    def describe(self) -> str:
        """One line for people: which model on which device, and the state where that is not `active`."""
        state = "" if self.state == "active" else f" ({self.state})"
        if self.inspector is None:
            return f"no model{state}"
        model = self.inspector.model
        calibration = model.calibration
        limit = "no threshold" if calibration is None else f"threshold {calibration.threshold:.3g}"
        return f"model {model.name} ({model.hash[:12]}) on {self.inspector.device}, {limit}{state}"

    def close(self) -> None:
        self._release()
        self.destroy_node()

    def _on_load_model(self, request: LoadModel.Request, response: LoadModel.Response) -> LoadModel.Response:
        if len(request.path) > MAX_PATH:
            problem = f"a path of {len(request.path)} characters"
        elif self.state in ("inactive", "active"):
            problem = self.load(request.path, request.expected_hash)
        else:
            problem = f"the node is {self.state}: set the parameter `model` and configure it"
        if not problem:  # a later configure loads the same
            self.set_parameters([Parameter("model", value=request.path)])
        response.success = not problem
        response.message = problem or self.describe()
        self.get_logger().info(f"load_model {request.path[:MAX_PATH]}: {response.message}")
        if self.inspector is not None:
            response.model_name = self.inspector.model.name
            response.model_hash = self.inspector.model.hash
        return response


class Entities:
    """The publishers, subscriptions, services and timers that a node makes from now on, to be destroyed together."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._before = self._all().keys()

    def destroy(self) -> None:
        for key, (entity, destroy) in self._all().items():
            if key not in self._before:
                destroy(entity)

    def _all(self) -> dict[int, tuple[object, Callable[[Any], object]]]:
        node = self._node
        kinds = (
            (node.timers, node.destroy_timer),
            (node.subscriptions, node.destroy_subscription),
            (node.services, node.destroy_service),
            (node.publishers, node.destroy_publisher),
        )
        return {id(entity): (entity, destroy) for entities, destroy in kinds for entity in entities}


def check_location(folder: Path, root: str) -> None:
    """ModelError where the folder, or what a symbolic link in it leads to, lies outside of `root` ("": anywhere)."""
    if not root:
        return
    allowed = Path(root).resolve()
    for path in chain([folder], folder.rglob("*")):  # the folder first: nothing is read in one outside
        if (path is folder or path.is_symlink()) and not path.resolve().is_relative_to(allowed):
            raise ModelError(f"{path}: leads out of {root}, where models must lie (parameter models_root)")


def _at_rate(inspector: Inspector, rate: float) -> Inspector:
    """With the threshold for this rate of false rejects; 0: the model's own."""
    return inspector.at_rate(rate) if rate > 0 else inspector


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, PadError) else f"{type(error).__name__}: {error}"
