"""Runs the line as three node processes on a list of images and hands back each verdict as it arrives."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.msg import InspectionResult

from ..errors import ImageError, PadError
from ..imaging.geometry import Camera
from ..imaging.images import Image
from ..methods.presets import preset_folder
from ..nodes.support.convert import camera_to_info, image_to_floats, image_to_rgb
from ..nodes.support.qos import reliable

STAGES = ("localizer", "renderer", "scorer")
READY_TIMEOUT = 300.0  # seconds; the first start on a machine compiles the CPU kernels
RESULT_TIMEOUT = 120.0  # seconds per image
PICTURE_WAIT = 2.0  # seconds that a result waits for the pictures that belong to it
PROBE = 0  # stamp of the frame that tries the line; images count from 1
IN_FLIGHT = 2  # images under way at a time: the stages overlap, no queue fills
SHM_NEEDED = 5 * 32 * 2**20  # bytes of /dev/shm for config/fastdds.xml in our processes

Command = Callable[[str], list[str]]


@dataclass(frozen=True, eq=False)
class GraphResult:
    """One answer of the line. The pictures are None where there was no rendering."""

    image: Path
    result: InspectionResult
    reference: Image | None  # rgb [H, W, 3]
    heatmap: NDArray[np.float32] | None  # [H, W]
    overlay: Image | None  # rgb [H, W, 3]


OnResult = Callable[[GraphResult], None]


def node_command(node: str) -> list[str]:
    return [sys.executable, "-m", f"pad_ros.nodes.{node}"]


def run_graph(
    model: Path,
    images: Sequence[Path],
    camera: Camera | None,
    on_result: OnResult,
    *,
    device: str = "auto",
    command: Command = node_command,
) -> None:
    """Start localizer, renderer and scorer as processes, publish the image files, call `on_result` once for each.

    camera: published as camera_info; None: the model's own is used. Files are sent as they are, so that a
    damaged one reaches the line too. Raises PadError if a node does not start, dies, or does not answer, and
    ImageError for a file that cannot be read. All processes are gone when it returns.
    """
    environment = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", **_transport_profile(), **os.environ}
    with _environment(environment), contextlib.ExitStack() as stack:
        namespace = f"/pad_{os.getpid()}"
        options = ["--ros-args", "-r", f"__ns:={namespace}", "-p", f"model:={model}", "-p", f"device:={device}"]
        transport = {"localizer": ["-p", "image_transport:=compressed", "-p", "free_running:=every"]}
        processes = [_Process(stage, command(stage) + options + transport.get(stage, [])) for stage in STAGES]
        for process in processes:
            stack.callback(process.stop)
        for process in processes:
            process.wait_ready()
        context = Context()
        context.init()
        stack.callback(context.try_shutdown)
        client = _Client(context, namespace, camera)
        stack.callback(client.destroy_node)
        client.run(images, on_result, processes)


class _Process:
    """One node process: its output is read all the time, the last lines are kept for an error message."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._lines: deque[str] = deque(maxlen=5)
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())
            if f"/{self.name} ready" in line:
                self._ready.set()

    def check(self) -> None:
        status = self._process.poll()
        if status is not None:
            raise PadError(f"the {self.name} ended with status {status}: {' | '.join(self._lines) or 'no output'}")

    def wait_ready(self) -> None:
        end = time.monotonic() + READY_TIMEOUT
        while not self._ready.wait(0.1):
            self.check()
            if time.monotonic() > end:
                raise PadError(f"the {self.name} was not ready within {READY_TIMEOUT:.0f} s: {' | '.join(self._lines)}")

    def stop(self) -> None:
        for number, patience in ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)


class _Client(Node):
    """Publishes the images and puts results and pictures together by their stamps."""

    def __init__(self, context: Context, namespace: str, camera: Camera | None) -> None:
        super().__init__("pad_demo", context=context, namespace=namespace)
        self._context = context
        self._images = self.create_publisher(CompressedImage, "image_raw/compressed", reliable(5))
        self._camera = camera
        # Only where there is something to say: the line waits for a camera_info that is announced.
        self._infos = None if camera is None else self.create_publisher(CameraInfo, "camera_info", reliable(1))
        self._results: dict[int, tuple[InspectionResult, float]] = {}
        self._pictures: dict[str, dict[int, ImageMsg]] = {"reference": {}, "heatmap": {}, "heatmap_overlay": {}}
        self.create_subscription(InspectionResult, "result", self._on_result, reliable(10))
        for topic, kept in self._pictures.items():
            self.create_subscription(
                ImageMsg, topic, lambda msg, kept=kept: kept.update({msg.header.stamp.sec: msg}), reliable(5)
            )

    def run(self, images: Sequence[Path], on_result: OnResult, processes: Sequence[_Process]) -> None:
        executor = SingleThreadedExecutor(context=self._context)
        executor.add_node(self)
        self._wait_for_line(executor)
        waiting = deque(enumerate(images, start=1))  # the number is the stamp
        under_way: dict[int, tuple[Path, float]] = {}
        while waiting or under_way:
            while waiting and len(under_way) < IN_FLIGHT:
                stamp, path = waiting.popleft()
                self._publish(stamp, path)
                under_way[stamp] = (path, time.monotonic())
            executor.spin_once(timeout_sec=0.1)
            for stamp in [stamp for stamp in under_way if self._complete(stamp)]:
                on_result(self._take(stamp, under_way.pop(stamp)[0]))
            for process in processes:
                process.check()
            for path, since in under_way.values():
                if time.monotonic() - since > RESULT_TIMEOUT:
                    raise PadError(f"{path}: no verdict within {RESULT_TIMEOUT:.0f} s")
        executor.shutdown()

    def _wait_for_line(self, executor: SingleThreadedExecutor) -> None:
        """Return when a frame without image has come back as a result: then all stages have found each other."""
        end = time.monotonic() + READY_TIMEOUT
        next_probe = 0.0
        while PROBE not in self._results:
            if time.monotonic() > end:
                raise PadError("the nodes run, but do not find each other (is DDS traffic on localhost blocked?)")
            if self._line_announced() and time.monotonic() > next_probe:
                self._images.publish(CompressedImage())
                next_probe = time.monotonic() + 1.0
            executor.spin_once(timeout_sec=0.05)

    def _line_announced(self) -> bool:
        return bool(
            self._images.get_subscription_count()
            and (self._infos is None or self._infos.get_subscription_count())
            and all(self.count_publishers(topic) for topic in ("result", *self._pictures))
        )

    def _publish(self, number: int, path: Path) -> None:
        header = Header(frame_id="camera_optical_frame")
        header.stamp.sec = number
        if self._infos is not None and self._camera is not None:
            self._infos.publish(camera_to_info(self._camera, header))
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
        suffix = path.suffix.lstrip(".").lower()
        self._images.publish(CompressedImage(header=header, format=suffix, data=array("B", data)))

    def _on_result(self, msg: InspectionResult) -> None:
        self._results[msg.header.stamp.sec] = (msg, time.monotonic())

    def _complete(self, stamp: int) -> bool:
        if stamp not in self._results:
            return False
        result, since = self._results[stamp]
        if not np.isfinite(result.score) or time.monotonic() - since > PICTURE_WAIT:
            return True
        return all(stamp in kept for kept in self._pictures.values())

    def _take(self, stamp: int, path: Path) -> GraphResult:
        result, _ = self._results.pop(stamp)

        def taken(topic: str, read: Callable[[ImageMsg], Any]) -> Any:
            msg = self._pictures[topic].pop(stamp, None)
            return None if msg is None else read(msg)

        reference, heatmap = taken("reference", image_to_rgb), taken("heatmap", image_to_floats)
        return GraphResult(path, result, reference, heatmap, taken("heatmap_overlay", image_to_rgb))


def _transport_profile() -> dict[str, str]:
    """Shared memory large enough for images, where the machine has it."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shutil.disk_usage(shm).free < SHM_NEEDED:
        return {}
    return {"FASTRTPS_DEFAULT_PROFILES_FILE": str(preset_folder().parent / "fastdds.xml")}


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The middleware reads its settings from the environment when it starts, in this process too."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values.keys() - before.keys():
            del os.environ[name]
