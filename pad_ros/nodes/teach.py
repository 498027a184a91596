"""teach: takes a view of a good part at each trigger, says what is missing, trains, and has the cell load the model."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String

from pad_ros.srv import LoadModel

from ..errors import InputError, PadError
from ..imaging.images import MAX_PIXELS
from ..io.taught_views import TaughtViews
from ..training.directions import missing_directions
from ..verdicts import Reason
from .support.frames import Frames
from .support.health import Reporter, graded
from .support.intake import Intake
from .support.parameter_tables import NODES
from .support.parameters import Parameters, as_parameters
from .support.qos import latched
from .support.spin import run
from .support.stages import Query, decoded
from .support.worker import Worker

CHECK = 0.2  # seconds between looks at a training under way
MIN_VIEWS = 8
SERVICE_WAIT = 30.0  # seconds that the services of load_model may take to be there
LAST_LINES = 5  # of a training that failed


class TeachNode(Node):
    """Collects the images of triggers with the camera's poses from /tf, and trains in a process of its own.

    `~/status` (latched) says in JSON how many views there are, which directions are missing, and how the training goes.
    `~/train` starts it; with `train_after` it starts by itself. InputError for a wrong parameter.
    """

    def __init__(self, *, overrides: dict[str, object] | None = None, namespace: str = "") -> None:
        super().__init__("teach", parameter_overrides=as_parameters(overrides), namespace=namespace)
        self.parameters = p = Parameters(self, NODES["teach"])
        for name in ("views", "model"):
            if not p[name]:
                raise InputError(f"parameter {name}: a folder to write the {name} to is needed")
        self.queue_size, self.max_query_pixels = p["queue_size"], MAX_PIXELS
        self.views = TaughtViews(Path(p["views"]))
        self.health = TeachHealth(self)
        self.worker: Worker | None = Worker(self.queue_size, self._failed)
        self.state, self.text = "collecting", ""
        self._training: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._status = self.create_publisher(String, "~/status", latched(1))
        self._loaders = {name: self.create_client(LoadModel, name) for name in _names(p["load_model"])}
        self._to_load: set[str] = set()
        self._model, self._until = p["model"], 0.0
        self.frames = Frames(self) if p["part_frame"] else None
        if self.frames is not None:
            self.frames.open()
        self._intake = Intake(self, p, self._take, self._hold)
        self._intake.open()
        self.create_service(LoadModel, "~/train", self._on_train)
        self.create_timer(CHECK, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._tell()

    def describe(self) -> str:
        return f"takes views into {self.views.folder}"

    def close(self) -> None:
        self._intake.close()
        if self.worker is not None:
            self.worker.close()
            self.worker = None
        if self._training is not None:
            self._training.terminate()
            self._training.wait()
        self.destroy_node()

    def _take(self, query: Query) -> None:
        """Runs in the worker's thread."""
        if self.state == "training":
            raise InputError("the training runs")
        pose = None
        image, camera = decoded(query, self.max_query_pixels), self._intake.camera(query.header)
        if self.frames is not None:
            if camera is None:
                raise InputError("no camera_info has come, and with poses it is needed")
            pose = self.frames.pose(self.parameters["part_frame"], query.header)
        self.views.add(image, camera, pose)
        self.state, self.text = "collecting", ""
        self._tell()

    def _hold(self, query: Query, reason: Reason, text: str) -> None:
        self._failed(InputError(text))

    def _failed(self, error: Exception) -> None:
        self.health.count("refused")
        self.text = f"no view: {error}" if isinstance(error, PadError | OSError) else f"{type(error).__name__}: {error}"
        self.get_logger().warning(self.text)
        self._tell()

    @property
    def missing(self) -> list[str]:
        return [] if self.frames is None else missing_directions(self.views.poses, self.parameters["lowest"])

    def _tell(self) -> None:
        text = self.text or (f"missing: {'; '.join(self.missing)}" if self.missing else "no direction is missing")
        if self.frames is None and not self.text:
            text = "without part_frame nobody can say which directions are missing"
        status = {"state": self.state, "views": self.views.count, "missing": self.missing, "text": text}
        self._status.publish(String(data=json.dumps(status)))
        self.get_logger().info(f"{self.state}, {self.views.count} views; {text}")

    # ---- training ----

    def _on_train(self, request: LoadModel.Request, response: LoadModel.Response) -> LoadModel.Response:
        """path: of the new model, beside that of the parameter `model`, which is taken where this is empty."""
        folder = Path(self.parameters["model"]).resolve().parent
        if request.path and Path(request.path).resolve().parent != folder:
            problem = f"{request.path[:200]!r} is not in {folder}, where this node may write models"
        else:
            problem = self._start(request.path)
        response.success, response.message = not problem, problem or "the training has begun; ~/status tells the rest"
        return response

    def _start(self, model: str = "") -> str:
        """Begin to train; returns why not ("": it has begun)."""
        if self._training is not None:
            return "a training runs already"
        if self.views.count < MIN_VIEWS:
            return f"{self.views.count} views are too few, at least {MIN_VIEWS} are needed"
        self._model = model or self.parameters["model"]
        command = training_command(self.parameters, self._model)
        self._training = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            errors="replace",
        )  # fmt: skip
        threading.Thread(target=self._read, args=(self._training,), daemon=True).start()
        self.state, self.text = "training", f"{self.views.count} views"
        self._tell()
        return ""

    def _read(self, training: subprocess.Popen[str]) -> None:
        assert training.stderr is not None
        for line in training.stderr:
            self._lines.append(line.strip())
            self.get_logger().info(line.strip())

    def _check(self) -> None:
        after = self.parameters["train_after"]
        ready = self.state == "collecting" and 0 < after <= self.views.count and not self.missing
        if ready and (problem := self._start()):
            self.state, self.text = "failed", problem
            self._tell()
        self._load()
        if self._training is None or (status := self._training.poll()) is None:
            return
        self._training = None
        if status == 0:
            self.state, self.text = "trained", self._model
            self._to_load, self._until = set(self._loaders), time.monotonic() + SERVICE_WAIT
        else:
            said = self._lines[-1] if self._lines else f"exit status {status}"
            self.state, self.text = "failed", said.removeprefix("pad: error: ")
        self._tell()

    def _load(self) -> None:
        """Ask the services that are there and have not been asked; give up on what does not come."""
        for name in sorted(self._to_load):
            client = self._loaders[name]
            if client.service_is_ready():
                self._to_load.discard(name)
                answer = client.call_async(LoadModel.Request(path=str(Path(self._model).resolve())))
                answer.add_done_callback(lambda future, name=name: self._on_loaded(name, future))
            elif time.monotonic() > self._until:
                self._to_load.discard(name)
                self.state, self.text = "failed", f"{self._model} is trained, but nobody offers the service {name}"
                self._tell()

    def _on_loaded(self, name: str, future: Any) -> None:
        found = future.result()
        self.state, self.text = ("loaded" if found.success else "failed"), f"{name}: {found.message}"
        self._tell()


class TeachHealth(Reporter):
    """/diagnostics of the teach node."""

    def __init__(self, node: TeachNode) -> None:
        self._teach = node
        super().__init__(node, "teaching")

    def status(self) -> tuple[bytes, str, dict[str, Any]]:
        teach = self._teach
        values = {**self._counts, "state": teach.state, "views": teach.views.count, "missing": "; ".join(teach.missing)}
        errors = [teach.text] if teach.state == "failed" else []
        return *graded(errors, self.warnings(), teach.state), values


def training_command(parameters: Parameters, model: str) -> list[str]:
    """`pad train` on the views."""
    p = parameters
    frame = ["--part-frame", p["part_frame"]] if p["part_frame"] else []
    return [sys.executable, "-m", "pad_ros.cli", "train", p["views"], "--out", model, "--budget", str(p["budget"]),
            "--method", p["method"], "--device", p["device"], *frame]  # fmt: skip


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main() -> int:
    return run(TeachNode)


if __name__ == "__main__":
    sys.exit(main())
