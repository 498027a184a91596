"""What ROS adds to the library's own call, from the camera's message to the result, in one process.

    python benchmarks/ros_overhead.py MODEL IMAGE... [--side 800] [--runs 60]
    python benchmarks/ros_overhead.py MODEL DATASET --conveyor [--triggers 200] [--rate 2]

Images are brought to --side pixels. In each run the library inspects an image, and a cell in this process gets the same
image as a message. "added": the difference, run by run. "outside the stages": the part of the message's way that is not
in the result's localize_ms (which includes decoding), render_ms and score_ms; the scatter of the stages does not enter.

--conveyor: the processes of conveyor_cell.launch.py with replay, and a client; from the image's stamp to the arrival of
its result, with a client of `result` alone ("light") and of every topic ("heavy"), with and without config/fastdds.xml.
Exit status 1 if, with the profile, a trigger did not get one result of its own image, or the p95 of the times exceeds
300 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import rclpy
from common import REPOSITORY, option_parser, write_result
from pad_ros.msg import InspectionResult, LocalizedView, ReferenceView, Trigger
from rclpy.node import Node
from ros_line import OUR_PROFILE, PROFILE, own_graph
from sensor_msgs.msg import Image as ImageMsg
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from pad_ros.imaging import images
from pad_ros.nodes.cell import CellNode
from pad_ros.nodes.support.convert import rgb_to_image
from pad_ros.nodes.support.qos import reliable, result_qos
from pad_ros.nodes.support.spin import NodeExecutor
from pad_ros.nodes.support.stages import stamp_ns

WARM_UP = 3  # runs that do not count
PATIENCE = 60.0  # seconds for one result
LIMIT_MS = 10.0  # p50 of what may be added
CONVEYOR_LIMIT_MS = 300.0  # p95 from image to result
READY = 300.0  # seconds for the nodes to start; the first start on a machine compiles kernels
LAST_ANSWERS = 10.0  # seconds
HEAVY = {
    "image_raw": ImageMsg, "localized_view": LocalizedView, "reference_view": ReferenceView, "reference": ImageMsg,
    "reference/depth": ImageMsg, "heatmap": ImageMsg, "heatmap/colour": ImageMsg, "heatmap_overlay": ImageMsg,
    "anomaly_cloud": PointCloud2, "defect_markers": MarkerArray,
}  # fmt: skip


class Camera(Node):
    """Publishes one image at a time and notes when its result came."""

    def __init__(self) -> None:
        super().__init__("overhead")
        self._images = self.create_publisher(ImageMsg, "image_raw", reliable(5))
        self.create_subscription(InspectionResult, "result", self._on_result, reliable(10))
        self._came = threading.Event()
        self._result: tuple[InspectionResult, float] | None = None

    def ready(self) -> bool:
        return self._images.get_subscription_count() > 0 and self.count_publishers("result") > 0

    def inspect(self, image: images.Image) -> tuple[InspectionResult, float]:
        """(result, milliseconds from before the message was made to the result's arrival)"""
        self._came.clear()
        header = Header(frame_id="camera", stamp=self.get_clock().now().to_msg())
        began = time.perf_counter()
        self._images.publish(rgb_to_image(image, header))
        if not self._came.wait(PATIENCE) or self._result is None:
            sys.exit(f"no result within {PATIENCE:.0f} s")
        msg, ended = self._result
        return msg, 1000 * (ended - began)

    def _on_result(self, msg: InspectionResult) -> None:
        self._result = (msg, time.perf_counter())
        self._came.set()


def main() -> int:
    parser = option_parser(__doc__, "model", "images...")
    parser.add_argument("--side", type=int, default=800)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--conveyor", action="store_true")
    parser.add_argument("--triggers", type=int, default=200)
    parser.add_argument("--rate", type=float, default=2.0)
    arguments = parser.parse_args()
    own_graph()
    if arguments.conveyor:
        return conveyor(arguments.model, arguments.images[0], arguments.triggers, arguments.rate)
    side = (arguments.side, arguments.side)
    pictures = [cv2.resize(images.load(file), side, interpolation=cv2.INTER_AREA) for file in arguments.images]
    rclpy.init()
    cell, camera = CellNode(overrides={"model": str(arguments.model), "frozen_check": False}), Camera()
    executor = NodeExecutor()
    for node in (cell, camera):
        executor.add_node(node)
    threading.Thread(target=executor.spin, daemon=True).start()
    while not camera.ready():
        time.sleep(0.05)
    times, different = measure(cell, camera, pictures, arguments.runs)
    executor.shutdown(timeout_sec=5)
    cell.close()
    rclpy.try_shutdown()
    found = {name: np.percentile(values, [50, 95]).round(1).tolist() for name, values in times.items()}
    rows = [[name, *values] for name, values in found.items()]
    text = f"{arguments.side}x{arguments.side} px, {arguments.runs} runs; {different} verdicts unlike the library's."
    write_result("ros_overhead", "What ROS adds to a verdict", ["ms", "p50", "p95"], rows, text)
    return int(found["added"][0] > LIMIT_MS or different > 0)


def measure(
    cell: CellNode, camera: Camera, pictures: list[images.Image], runs: int
) -> tuple[dict[str, list[float]], int]:
    """(milliseconds of each run by name, verdicts that differ from the library's)"""
    assert cell.inspector is not None
    names = ("library call", "message to result", "added", "outside the stages")
    times: dict[str, list[float]] = {name: [] for name in names}
    different = 0
    for i in range(WARM_UP + runs):
        image = pictures[i % len(pictures)]
        began = time.perf_counter()
        expected = cell.inspector.inspect(image)
        library = 1000 * (time.perf_counter() - began)
        msg, total = camera.inspect(image)
        if i < WARM_UP:
            continue
        different += msg.verdict != expected.verdict
        stages = msg.localize_ms + msg.render_ms + msg.score_ms
        for name, value in zip(names, (library, total, total - library, total - stages), strict=True):
            times[name].append(value)
    return times, different


@dataclass
class Seen:
    """What the client of a conveyor got: (part_id, image stamp [ns]) of triggers; of results also the arrival [ns]."""

    triggers: list[tuple[str, int]] = field(default_factory=list)
    results: list[tuple[str, int, int]] = field(default_factory=list)
    heavy: int = 0  # other messages

    def own(self) -> int:
        """Triggers with exactly one result, and that of their own image (camera_replay stamps both alike)."""
        answers: dict[str, list[int]] = {}
        for part, stamp, _ in self.results:
            answers.setdefault(part, []).append(stamp)
        return sum(answers.get(part) == [stamp] for part, stamp in self.triggers)

    def times_ms(self) -> list[float]:
        return [(came - stamp) / 1e6 for _, stamp, came in self.results]


def watch(namespace: str, heavy: bool, triggers: int) -> Seen:
    """The client, in a process of its own: until the last of so many triggers is answered."""
    rclpy.init()
    node, seen = Node("client", namespace=namespace), Seen()

    def on_result(msg: InspectionResult) -> None:
        seen.results.append((msg.part_id, stamp_ns(msg.header.stamp), time.time_ns()))

    def on_trigger(msg: Trigger) -> None:
        if len(seen.triggers) < triggers:
            seen.triggers.append((msg.part_id, stamp_ns(msg.header.stamp)))

    def on_heavy(_: object) -> None:
        seen.heavy += 1

    node.create_subscription(InspectionResult, "result", on_result, result_qos())
    node.create_subscription(Trigger, "trigger", on_trigger, reliable(10))
    for topic, kind in HEAVY.items() if heavy else ():
        node.create_subscription(kind, topic, on_heavy, reliable(5))
    print("client ready", flush=True)
    executor = NodeExecutor()
    executor.add_node(node)
    end = time.monotonic() + READY
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
        if len(seen.triggers) < triggers:
            end = time.monotonic() + (LAST_ANSWERS if seen.triggers else READY)
    executor.shutdown(timeout_sec=5)
    node.destroy_node()
    rclpy.try_shutdown()
    parts = {part for part, _ in seen.triggers}
    seen.results = [result for result in seen.results if result[0] in parts]
    return seen


@contextmanager
def started(node: str, namespace: str, *words: str) -> Iterator[None]:
    """A node with the parameters of conveyor_cell.launch.py, ready."""
    options = ["--ros-args", "-r", f"__ns:={namespace}", "--params-file", REPOSITORY / "config" / "conveyor_cell.yaml"]
    parameters = [word for value in words for word in ("-p", value)]
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", f"pad_ros.nodes.{node}", *options, *parameters]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            end = time.monotonic() + READY
            while " ready" not in text_of(log):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"{node} did not start: {text_of(log)[-500:]}")
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def text_of(log: object) -> str:
    log.seek(0)
    return log.read()


def conveyor(model: Path, dataset: Path, triggers: int, rate: float) -> int:
    """All cases, one after the other; the exit status."""
    cases = [("light", True), ("heavy", True), ("heavy", False)]
    rows, failed = [], False
    for number, (subscribers, profile) in enumerate(cases):
        os.environ.pop(PROFILE, None)
        if profile:
            os.environ[PROFILE] = OUR_PROFILE
        namespace = f"/conveyor_{os.getpid()}_{number}"
        replay = (f"images:={dataset}", f"rate:={rate}", "loop:=true", "part_views:=1")
        with (
            ProcessPoolExecutor(1, get_context("spawn")) as pool,
            started("cell", namespace, f"model:={model}"),
            started("watchdog", namespace),
        ):
            client = pool.submit(watch, namespace, subscribers == "heavy", triggers)
            time.sleep(5)  # the client is known to all
            with started("camera_replay", namespace, *replay):
                seen = client.result()
        p50, p95, most = np.percentile(seen.times_ms(), [50, 95, 100])
        late = sum(value > CONVEYOR_LIMIT_MS for value in seen.times_ms())
        counts = len(seen.triggers), len(seen.results), seen.own()
        times = float(p50), float(p95), float(most)
        rows.append([subscribers, "yes" if profile else "no", *counts, *times, late, seen.heavy])
        print(rows[-1], flush=True)
        failed |= profile and (not triggers == len(seen.results) == seen.own() or p95 > CONVEYOR_LIMIT_MS)
    columns = [
        "subscribers", "profile", "triggers", "results", "of their image", "p50 ms", "p95 ms", "max ms", "over 300 ms",
        "large messages",
    ]  # fmt: skip
    text = (
        f"The processes of conveyor_cell.launch.py, replay at {rate:g} Hz; from the image's stamp to the client's call."
    )
    write_result("ros_conveyor", "Results among large messages", columns, rows, text)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
