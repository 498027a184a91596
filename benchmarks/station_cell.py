"""What a recorder beside a cell costs it: the cell's latency with the recorder on and off, in turn, on the same images.

    python benchmarks/station_cell.py MODEL IMAGE... [--rounds 6] [--batch 12] [--rate 2]

A cell runs as a process of its own and is given images at the line's rate (0: one after the other without a pause). In
each round it gets the same images with a recorder beside it (a process, SQLite, the default rule for pictures) and
without, in changing order. Latency is the result's total_ms, from acceptance of the image to its verdict. Exit status 1
if the median of the ratios of pairs is above 1.03, or a result is not in the history.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from common import option_parser, write_result
from pad_ros.msg import InspectionResult
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_line import Line, own_graph
from sensor_msgs.msg import Image as ImageMsg
from sqlalchemy import func, select
from std_msgs.msg import Header

from pad_ros.imaging import images
from pad_ros.nodes.support.convert import rgb_to_image
from pad_ros.nodes.support.qos import reliable, result_qos
from pad_ros.station.database import open_history
from pad_ros.station.place import Place
from pad_ros.station.schema import PICTURE_STATES, results
from pad_ros.verdicts import Verdict

NAMESPACE = "/bench"
LIMIT = 1.03  # of the ratio
PATIENCE = 120.0  # seconds


class Client(Node):
    """Publishes one image at a time and waits for its result. rate: images a second at most; 0: as many as can be."""

    def __init__(self, rate: float) -> None:
        super().__init__("client", namespace=NAMESPACE)
        self._pause, self._last = 1 / rate if rate else 0.0, 0.0
        self._images = self.create_publisher(ImageMsg, "image_raw", reliable(5))
        self.create_subscription(InspectionResult, "result", self._on_result, result_qos())
        self._awaited, self._result, self._came = 0, None, threading.Event()

    def ready(self) -> bool:
        return self._images.get_subscription_count() > 0 and self.count_publishers("result") > 0

    def inspect(self, image: images.Image) -> InspectionResult:
        time.sleep(max(0.0, self._last + self._pause - time.monotonic()))
        self._last = time.monotonic()
        self._came.clear()
        header = Header(frame_id="camera", stamp=self.get_clock().now().to_msg())
        self._awaited = header.stamp
        self._images.publish(rgb_to_image(image, header))
        if not self._came.wait(PATIENCE) or self._result is None:
            sys.exit(f"no result within {PATIENCE:.0f} s")
        return self._result

    def _on_result(self, msg: InspectionResult) -> None:
        if msg.header.stamp == self._awaited:
            self._result = msg
            self._came.set()


def wait(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited in vain for {what}")
        time.sleep(0.05)


def main() -> int:
    parser = option_parser(__doc__, "model", "images...")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch", type=int, default=12, help="images for each side of a round")
    parser.add_argument("--rate", type=float, default=2.0, help="images a second")
    arguments = parser.parse_args()
    own_graph()
    shown = [images.load(path) for path in arguments.images]
    rclpy.init()
    client, executor = Client(arguments.rate), SingleThreadedExecutor()
    executor.add_node(client)
    threading.Thread(target=executor.spin, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="pad_station_cell_") as folder:
        station = Path(folder) / "station"
        settings = {"model": arguments.model.resolve(), "free_running": "every", "frozen_check": False}
        cell = Line({"cell": settings}, NAMESPACE, Path(folder))
        try:
            wait(client.ready, "the cell")
            for image in shown[:3]:
                client.inspect(image)
            times = measure(client, shown, arguments.rounds, arguments.batch, station, Path(folder))
        finally:
            cell.stop()
            executor.shutdown(timeout_sec=5)
            rclpy.try_shutdown()
        engine = open_history(Place(station))
        with engine.connect() as connection:
            r = results.c
            asked = select(r.verdict, r.picture_state, func.count()).group_by(r.verdict, r.picture_state)
            kept = {
                f"{Verdict(verdict).name} {PICTURE_STATES[state] or 'without'}": count
                for verdict, state, count in connection.execute(asked)
            }
        engine.dispose()
    return report(times, kept, arguments.rate)


def measure(
    client: Client, shown: list[images.Image], rounds: int, batch: int, station: Path, folder: Path
) -> dict[bool, list[list[float]]]:
    """Milliseconds of each image, by whether a recorder listened: a list for each round."""
    rng, times, others = random.Random(0), {True: [], False: []}, client.count_subscribers("result")
    for i in range(rounds):
        chosen = rng.choices(shown, k=batch)
        for recorded in ((True, False), (False, True))[i % 2]:
            recorder = Line({"recorder": {"station": station}}, NAMESPACE, folder) if recorded else None
            wait(lambda n=others + recorded: client.count_subscribers("result") == n, "the recorder to come or go")
            client.inspect(chosen[0])  # the first after a change is not counted
            times[recorded].append([client.inspect(image).total_ms for image in chosen])
            if recorder is not None:
                recorder.signal("recorder", signal.SIGINT)
                recorder.processes["recorder"].wait(PATIENCE)
        on, off = (np.median(times[side][-1]) for side in (True, False))
        print(f"round {i + 1}: {on:.0f} ms with the recorder, {off:.0f} ms without", file=sys.stderr, flush=True)
    return times


def report(times: dict[bool, list[list[float]]], kept: dict[str, int], rate: float) -> int:
    on, off = (np.concatenate(times[side]) for side in (True, False))
    pairs = on / off  # of the same image in the same round
    ratio = float(np.median(pairs))
    drawn = np.random.default_rng(0).choice(pairs, (2000, len(pairs)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    expected = len(on) + len(times[True])
    states = ", ".join(f"{count} {state}" for state, count in sorted(kept.items()))
    write_result(
        "station_cell", "The station: what a recorder costs the cell",
        ["images for each side", "off: p50 ms", "on: p50 ms", "on / off, median of the pairs", "95 % interval",
         "results in the history", "of these, with what became of their pictures"],
        [[len(on), round(float(np.median(off)), 1), round(float(np.median(on)), 1), round(ratio, 3),
          f"{low:.3f} to {high:.3f}", sum(kept.values()), states]],
        f"A cell and a recorder as processes, {f'{rate:g} images a second' if rate else 'images without a pause'}, the "
        f"same for both sides in turn. {expected} results were to be recorded (the first of each round is not timed), "
        "and those that the cell keeps for late subscribers, 100 at most, whose pictures have gone by then. Scheduling "
        f"priority (nice) {os.nice(0)}; load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores.",
    )  # fmt: skip
    return int(ratio > LIMIT or sum(kept.values()) < expected)


if __name__ == "__main__":
    sys.exit(main())
