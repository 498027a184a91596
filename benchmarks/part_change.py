"""A change of part in one cell process: seconds for the first load, for a model that is still loaded, and memory.

    python benchmarks/part_change.py MODEL MODEL... [--rounds 20]

Each model is loaded by the service `load_model` of a real cell in this process, then all in turn, `rounds` times.
Memory: growth of the process (RSS) with each further model, and what the cache counts for it.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
from common import option_parser, write_result
from pad_ros.srv import LoadModel
from rclpy.node import Node
from ros_line import Usage

from pad_ros.nodes.cell import CellNode
from pad_ros.nodes.support.model_cache import memory_of
from pad_ros.nodes.support.spin import NodeExecutor


def main() -> int:
    parser = option_parser(__doc__, "models...")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    models = [str(path.resolve()) for path in arguments.models]
    rclpy.init()
    parameters = {"model": models[0], "models_memory": 100_000, "autostart": False}
    cell = CellNode(overrides=parameters, namespace=f"/change_{os.getpid()}")
    cell.trigger_configure()
    client_node = Node("line", namespace=cell.get_namespace())
    executor = NodeExecutor()
    executor.add_node(cell)
    executor.add_node(client_node)
    threading.Thread(target=executor.spin, daemon=True).start()
    client = client_node.create_client(LoadModel, "load_model")
    if not client.wait_for_service(60.0):
        sys.exit("the cell offers no load_model")

    def seconds(path: str) -> float:
        began, done = time.perf_counter(), threading.Event()
        future = client.call_async(LoadModel.Request(path=path))
        future.add_done_callback(lambda _: done.set())
        if not done.wait(300.0) or not future.result().success:
            sys.exit(f"{path}: {future.result().message if done.is_set() else 'no answer'}")
        return time.perf_counter() - began

    usage, rows = Usage(os.getpid()), []
    for path in models[1:]:
        gc.collect()
        before = usage.rss_mb()
        first = seconds(path)
        gc.collect()
        counted = memory_of(cell.inspector) / 1e6
        disk = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()) / 1e6
        rows.append([Path(path).name, disk, usage.rss_mb() - before, counted, 1000 * first])
    again = {path: [] for path in models}
    for _ in range(arguments.rounds):
        for path in models:
            again[path].append(1000 * seconds(path))
    for row, path in zip(rows, models[1:]):
        row += [float(np.median(again[path])), max(again[path])]
    load = os.getloadavg()[0]
    columns = ["model", "on disk MB", "memory MB", "counted MB", "first load ms", "again ms (median)", "again ms (max)"]
    text = (
        f"{Path(models[0]).name} was loaded before, which also brings libraries and kernels. Times from the call of "
        f"`load_model` to its answer, {arguments.rounds} rounds over all models; load of the machine {load:.1f}."
    )
    write_result("part_change", "Change of part in one process", columns, rows, text)
    cell.close()
    rclpy.try_shutdown()
    os._exit(0)  # the executor's thread still spins


if __name__ == "__main__":
    sys.exit(main())
