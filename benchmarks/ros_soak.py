"""A cell under faults: triggers at a steady rate, some of them with a killed node, a lost frame or a broken image.

    python benchmarks/ros_soak.py OUT [--model MODEL IMAGE...] [--nodes cell|stages] [--triggers 1000] [--rate 5]
                                  [--faults 0.01]

The nodes run as processes; a killed one is started again at once, as `respawn` in a launch file does. Without --model a
toy part is made and learned in OUT, where logs are left too. Exit status 1 if a trigger did not get
exactly one result, a fault got PASS, or the line did not recover.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from common import option_parser, write_result
from pad_ros.msg import InspectionResult, Trigger
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.evaluation.metrics import percentiles
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.inspector import Inspector
from pad_ros.methods.presets import load_method
from pad_ros.nodes.support.convert import rgb_to_image
from pad_ros.nodes.support.qos import reliable
from pad_ros.training.train import train
from pad_ros.verdicts import Reason, Verdict

sys.path.append(str(Path(__file__).resolve().parents[1] / "test"))
from textured_cube import draw, ring_poses  # noqa: E402

SIDE, VIEWS = 160, 24  # px, reference views of the toy
CHEAP = (
    "splatting.steps=400", "splatting.gaussians=2000", "splatting.sh_degree=0", "localization.window_pixels=20000",
    "localization.max_scale=1.0", "refinement.renderings=1", "scoring.photographs=0",
)  # fmt: skip
READY = 300.0  # seconds for the nodes to start; the first start on a machine compiles kernels
CELL_DEADLINE = 0.8  # seconds
DEADLINE = 1.5  # seconds of the watchdog
LAST_FAULT = 0.9  # of the run: the line must be seen to recover
TRIGGER_TIMEOUT = 0.15  # seconds: below the time between triggers
KINDS = ("node killed", "frame lost", "image broken")
NODES = {"cell": ("cell",), "stages": ("localizer", "renderer", "scorer")}
LEFT_OVER = 10.0  # seconds for the last answers


@dataclass
class Asked:
    """One trigger and what came of it: verdict, reason and seconds of each answer."""

    number: int
    sent: float
    fault: str
    expected: Verdict
    answers: list[tuple[Verdict, Reason, float]] = field(default_factory=list)


class Line:
    """The node processes."""

    def __init__(self, nodes: tuple[str, ...], model: Path, namespace: str, out: Path) -> None:
        self._options = ["--ros-args", "-r", f"__ns:={namespace}"]
        self._model = model
        self._out = out
        self.nodes = nodes
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in (*nodes, "watchdog"):
            self.start(name)

    def start(self, name: str) -> None:
        parameters: dict[str, object] = {"deadline": DEADLINE} if name == "watchdog" else {"model": self._model}
        if name in ("cell", "localizer"):
            parameters["trigger_timeout"] = TRIGGER_TIMEOUT
            parameters["match_before"], parameters["match_after"] = (
                0.02,
                0.1,
            )
            parameters["frozen_check"] = "false"  # the same picture is sent many times
        if name in ("cell", "scorer"):
            parameters["deadline"] = CELL_DEADLINE
        if name in ("cell", "localizer", "watchdog"):
            parameters["triggered"] = "true"
        words = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        with open(self._out / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", f"pad_ros.nodes.{name}", *self._options, *words], stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()
        self.start(name)

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()


class Client(Node):
    """Sends triggers and images, and collects the answers by part_id."""

    def __init__(self, namespace: str) -> None:
        super().__init__("soak", namespace=namespace)
        self.images = self.create_publisher(ImageMsg, "image_raw", reliable(5))
        self.triggers = self.create_publisher(Trigger, "trigger", reliable(10))
        self.create_subscription(InspectionResult, "result", self._on_result, reliable(50))
        self.asked: dict[str, Asked] = {}
        self.unknown = 0

    def ask(self, number: int, pixels: np.ndarray, expected: Verdict, fault: str) -> None:
        header = Header(frame_id="camera", stamp=self.get_clock().now().to_msg())
        self.asked[str(number)] = Asked(number, time.monotonic(), fault, expected)
        self.triggers.publish(Trigger(header=header, part_id=str(number)))
        if fault == "frame lost":
            return
        time.sleep(0.01)  # the light barrier is ahead of the camera
        message = rgb_to_image(pixels, Header(frame_id="camera", stamp=self.get_clock().now().to_msg()))
        if fault == "image broken":
            message.data = array("B", message.data[: len(message.data) // 2])
        self.images.publish(message)

    def _on_result(self, msg: InspectionResult) -> None:
        found = self.asked.get(msg.part_id)
        if found is None:
            self.unknown += 1
        else:
            found.answers.append((Verdict(msg.verdict), Reason(msg.reason), time.monotonic() - found.sent))


def main() -> int:
    parser = option_parser(__doc__, "out")
    parser.add_argument("--model", type=Path, nargs="+", metavar=("MODEL", "IMAGE"))
    parser.add_argument("--nodes", choices=sorted(NODES), default="cell")
    parser.add_argument("--triggers", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=5.0)
    parser.add_argument("--faults", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model, files = (arguments.model[0], arguments.model[1:]) if arguments.model else make_toy(arguments.out)
    queries = judge(model, files)
    faults = plan(arguments.triggers, arguments.faults, arguments.rate, arguments.seed)
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    rclpy.init()
    namespace = f"/soak_{os.getpid()}"
    line, client = Line(NODES[arguments.nodes], model, namespace, arguments.out), Client(namespace)
    executor = SingleThreadedExecutor()
    executor.add_node(client)
    try:
        wait_ready(client, executor, queries[0])
        run(client, executor, line, queries, faults, arguments)
    finally:
        line.stop()
        client.destroy_node()
        rclpy.try_shutdown()
    return report(list(client.asked.values()), client.unknown, arguments)


def make_toy(out: Path) -> tuple[Path, list[Path]]:
    """A small cube, learned in half a minute and inspected with the cheapest settings; good queries, and defects."""
    model, queries = out / "model", out / "queries"
    camera = Camera.from_fov(SIDE, SIDE, np.radians(30))
    if not model.is_dir():
        views = tuple(
            View(f"good/{i}.png", draw(pose, camera), camera, pose) for i, pose in enumerate(ring_poses(VIEWS))
        )
        train(
            ReferenceViews(views, "cube"), load_method("pad", CHEAP), name="cube", budget=1e9, false_reject_rate=0.05
        ).save(model)
        for i, pose in enumerate(ring_poses(2 * VIEWS - 1)[3::6]):
            image = draw(pose, camera)
            if i % 4 == 3:
                image[SIDE // 2 - 8 : SIDE // 2 + 8, SIDE // 2 - 8 : SIDE // 2 + 8] = (255, 0, 255)
            images.save(queries / f"{i}.png", image)
    return model, sorted(queries.glob("*.png"))


def judge(model: Path, files: list[Path]) -> list[tuple[np.ndarray, Verdict]]:
    """The images with the library's own verdict, those without HOLD."""
    inspector = Inspector.load(model)
    inspector.warm_up()
    found = [(image := images.load(file), inspector.inspect(image).verdict) for file in files]
    queries = [(image, verdict) for image, verdict in found if verdict is not Verdict.HOLD]
    if not any(verdict is Verdict.PASS for _, verdict in queries):
        sys.exit("none of the images passes: there is nothing to compare a fault with")
    return sorted(queries, key=lambda query: query[1] is not Verdict.PASS)


def plan(triggers: int, share: float, rate: float, seed: int) -> dict[int, str]:
    """Which trigger gets which fault: spread over the run, with time to recover before the next one."""
    count = max(len(KINDS), round(triggers * share))
    slots = int(LAST_FAULT * triggers) // (count + 1)
    shift = random.Random(seed)
    return {(i + 1) * slots + shift.randrange(max(1, slots // 4)): KINDS[i % len(KINDS)] for i in range(count)}


def wait_ready(client: Client, executor: SingleThreadedExecutor, query: tuple[np.ndarray, Verdict]) -> None:
    """Return when a good image has got its verdict from the line."""
    end, number = time.monotonic() + READY, -1
    while time.monotonic() < end:
        client.ask(number, query[0], query[1], "")
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            executor.spin_once(timeout_sec=0.05)
            if any(verdict is query[1] for verdict, _, _ in client.asked[str(number)].answers):
                client.asked.clear()
                client.unknown = 0
                return
        number -= 1
    sys.exit(f"the line gave no verdict within {READY:.0f} s")


def run(
    client: Client,
    executor: SingleThreadedExecutor,
    line: Line,
    queries: list[tuple[np.ndarray, Verdict]],
    faults: dict[int, str],
    arguments: argparse.Namespace,
) -> None:
    began = time.monotonic()
    victims = random.Random(arguments.seed)
    for number in range(arguments.triggers):
        while (left := began + number / arguments.rate - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)
        fault = faults.get(number, "")
        pixels, expected = queries[number % len(queries)]
        if fault:  # an image that passes: the fault alone must keep it from PASS
            pixels, expected = queries[0]
        client.ask(number, pixels, expected, fault)
        if fault == "node killed":
            line.kill(victims.choice(line.nodes))
    end = time.monotonic() + LEFT_OVER
    while time.monotonic() < end and not all(one.answers for one in client.asked.values()):
        executor.spin_once(timeout_sec=0.1)
    quiet = time.monotonic() + 2 * DEADLINE  # long enough for a second answer
    while time.monotonic() < quiet:
        executor.spin_once(timeout_sec=0.1)


def right(one: Asked) -> bool:
    return bool(one.answers) and one.answers[0][0] is one.expected


def passed(one: Asked) -> bool:
    return any(verdict is Verdict.PASS for verdict, _, _ in one.answers)


def groups_of(asked: list[Asked]) -> tuple[dict[str, list[Asked]], list[tuple[str, float | None]]]:
    """(triggers by what happened to them, (fault, seconds until the line answered right again) of each fault)"""
    faults = [one for one in asked if one.fault]
    recoveries: list[tuple[str, float | None]] = []
    recovering: set[int] = set()  # triggers between a fault and the line's recovery
    for one in faults:
        after = next((other for other in asked[one.number + 1 :] if right(other)), None)
        recoveries.append((one.fault, None if after is None else after.sent - one.sent))
        recovering.update(range(one.number + 1, len(asked) if after is None else after.number))
    groups = {"no fault": [one for one in asked if not one.fault and one.number not in recovering]}
    groups |= {kind: [one for one in faults if one.fault == kind] for kind in KINDS}
    groups["while recovering"] = [one for one in asked if one.number in recovering and not one.fault]
    return groups, recoveries


def broken_promises(asked: list[Asked], unknown: int, recoveries: list[tuple[str, float | None]]) -> list[str]:
    return [
        *(f"trigger {one.number}: {len(one.answers)} results" for one in asked if len(one.answers) != 1),
        *(f"trigger {one.number}: PASS for {one.fault}" for one in asked if one.fault and passed(one)),
        *(f"no recovery after {kind}" for kind, seconds in recoveries if seconds is None),
        *(f"trigger {one.number}: PASS for a defect" for one in asked
          if one.expected is not Verdict.PASS and passed(one)),
        *([f"{unknown} results that nobody asked for"] if unknown else []),
    ]  # fmt: skip


def report(asked: list[Asked], unknown: int, arguments: argparse.Namespace) -> int:
    """The table; 1 if what is promised was not kept."""
    groups, recoveries = groups_of(asked)
    rows = []
    for name, members in groups.items():
        verdicts = Counter(verdict.name for one in members for verdict, _, _ in one.answers)
        times = percentiles([1000 * one.answers[0][2] for one in members if one.answers])
        seconds = ["never" if s is None else f"{s:.2f}" for kind, s in recoveries if kind == name]
        rows.append([
            name, len(members), sum(len(one.answers) for one in members), *(verdicts[v.name] for v in Verdict),
            sum(right(one) for one in members), *(None if t is None else round(t) for t in times.values()),
            ", ".join(seconds),
        ])  # fmt: skip
    failures = broken_promises(asked, unknown, recoveries)
    holds = Counter(a[1].name for one in asked for a in one.answers if a[0] is Verdict.HOLD)
    text = [
        f"{len(asked)} triggers at {arguments.rate:g} Hz. HOLD for: {dict(holds)}.",
        *(failures or ["Exactly one result for each trigger, no PASS for a fault, recovered after each."]),
    ]
    columns = [
        "",
        "triggers",
        "results",
        *(v.name for v in Verdict),
        "as the library",
        "p50 ms",
        "p95 ms",
        "recovery s",
    ]
    title = f"Faults in a running line, nodes: {arguments.nodes}"
    write_result(f"ros_soak_{arguments.nodes}", title, columns, rows, "\n".join(text))
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
