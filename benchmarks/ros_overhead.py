"""What ROS adds to the library's own call, from the camera's message to the result, in one process.

    python benchmarks/ros_overhead.py MODEL IMAGE... [--side 800] [--runs 60]

Images are brought to --side pixels. In each run the library inspects an image, and a cell in this process gets the same
image as a message. "added": the difference, run by run. "outside the stages": the part of the message's way that is not
in the result's localize_ms (which includes decoding), render_ms and score_ms; the scatter of the stages does not enter.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import cv2
import numpy as np
import rclpy
from common import option_parser, write_result
from pad_ros.msg import InspectionResult
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.imaging import images
from pad_ros.nodes.cell import CellNode
from pad_ros.nodes.support.convert import rgb_to_image
from pad_ros.nodes.support.qos import reliable
from pad_ros.nodes.support.spin import NodeExecutor

WARM_UP = 3  # runs that do not count
PATIENCE = 60.0  # seconds for one result
LIMIT_MS = 10.0  # p50 of what may be added


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
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
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


if __name__ == "__main__":
    sys.exit(main())
