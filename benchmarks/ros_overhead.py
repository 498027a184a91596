"""What ROS adds: from the camera's message to the result, beside the library's own call, in one process.

    python benchmarks/ros_overhead.py MODEL IMAGE... [--side 800] [--runs 60] [--out FILE]

Images are brought to --side pixels. In each run the library inspects an image, and a cell in this process gets the same
image as a message. "added": the difference, run by run. "outside the stages": the part of the message's way that is not
in the result's localize_ms (which includes decoding), render_ms and score_ms; the scatter of the stages does not enter.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from pad_ros.msg import InspectionResult
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from pad_ros.evaluation.machine import describe_machine
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--side", type=int, default=800)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--out", type=Path)
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
    found = measure(cell, camera, pictures, arguments.runs)
    executor.shutdown(timeout_sec=5)
    cell.close()
    rclpy.try_shutdown()
    print(f"\n{arguments.side}x{arguments.side}, {arguments.runs} runs, ms\n\n| | p50 | p95 |\n|---|---|---|")
    for name, row in found["ms"].items():
        print(f"| {name} | {row['p50']:.1f} | {row['p95']:.1f} |")
    print(f"verdicts that differ from the library's: {found['different']}")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(found["ms"]["added"]["p50"] > LIMIT_MS or found["different"] > 0)


def measure(cell: CellNode, camera: Camera, pictures: list[images.Image], runs: int) -> dict[str, Any]:
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
    rows = {}
    for name, values in times.items():
        p50, p95 = np.percentile(values, [50, 95]).tolist()
        rows[name] = {"p50": p50, "p95": p95}
    return {"machine": describe_machine(), "runs": runs, "ms": rows, "different": different}


if __name__ == "__main__":
    sys.exit(main())
