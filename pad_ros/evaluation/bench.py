"""`pad bench`: how long a verdict takes on this machine, and what it needs."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..imaging import images
from ..imaging.geometry import Pose
from ..inspector import Inspector
from ..localization.cascade import TRACKED
from ..localization.result import Localization
from ..photometry.prepared_query import PreparedQuery
from ..verdicts import Reason
from .machine import describe_machine, peak_memory_mb
from .metrics import percentiles

MIN_RUNS = 50  # inspections, so that the tail says something; few images are taken again and again
PERCENTILES = (50, 95, 99)
FRAME_SHIFT = 0.005  # of the distance to the part: how far the part has moved since the frame before, when tracking


def bench(model: Path, files: Sequence[Path], device: str = "auto") -> dict[str, Any]:
    """Load a model, inspect every image (at least MIN_RUNS inspections in all) one after another.

    Returns {"model", "device", "machine", "load_average", "images", "runs", "latency_ms": {stage: {"p50", "p95",
    "p99"}}, "tracking_ms": the same, "tracked", "throughput_fps", "peak_memory_mb", "load_s", "warm_up_s"}; on a GPU
    also "peak_gpu_memory_mb".
      latency_ms      "total" runs from reading the file to the verdict, nothing left out
      tracking_ms     of frames that show the part FRAME_SHIFT away from where the frame before did
      tracked         share of these in which the pose of the frame before served
      throughput_fps  of a queue of images whose stages overlap, as in the ROS 2 cell
      load_s          reading and checking the bundle
      warm_up_s       building the stages and compiling kernels, before the first inspection that counts
    ModelError, or ImageError for an image that cannot be read.
    """
    if not files:
        raise InputError("no images to measure on")
    for file in files:
        images.load(file)
    began = time.perf_counter()
    inspector = Inspector.load(model, device)
    loaded = time.perf_counter()
    inspector.warm_up()
    ready = time.perf_counter()
    runs = max(len(files), MIN_RUNS)
    times: dict[str, list[float]] = {"localize": [], "render": [], "score": [], "total": []}
    poses: dict[Path, Pose] = {}
    for file in itertools.islice(itertools.cycle(files), runs):
        start = time.perf_counter()
        result = inspector.inspect(images.load(file))
        times["total"].append(1000 * (time.perf_counter() - start))
        times["localize"].append(result.timings_ms["localize"])
        if result.rendering is not None:
            times["render"].append(result.timings_ms["render"])
            times["score"].append(result.timings_ms["score"])
        if result.localization is not None and result.localization.pose is not None:
            poses[file] = result.localization.pose
    tracking, tracked = _track(inspector, poses, runs)
    measured: dict[str, Any] = {
        "model": inspector.model.name,
        "device": inspector.device,
        "machine": describe_machine(),
        "load_average": round(os.getloadavg()[0], 2),
        "images": len(files),
        "runs": runs,
        "latency_ms": {stage: percentiles(values, PERCENTILES) for stage, values in times.items()},
        "tracking_ms": percentiles(tracking, PERCENTILES),
        "tracked": tracked,
        "throughput_fps": _throughput(inspector, files, runs),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "load_s": round(loaded - began, 3),
        "warm_up_s": round(ready - loaded, 3),
    }
    if inspector.device == "cuda":
        import torch

        measured["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return measured


def _track(inspector: Inspector, poses: Mapping[Path, Pose], runs: int) -> tuple[list[float], float | None]:
    """(time of each inspection from file to verdict [ms], share tracked); nothing where no image has a pose."""
    times, tracked = [], 0
    for file, pose in itertools.islice(itertools.cycle(poses.items()), runs):
        before = _frame_before(inspector, images.load(file), pose)
        start = time.perf_counter()
        result = inspector.inspect(images.load(file), prior=before)
        times.append(1000 * (time.perf_counter() - start))
        tracked += result.localization is not None and result.localization.reason_text == TRACKED.reason_text
    return times, tracked / len(times) if times else None


def _frame_before(inspector: Inspector, image: images.Image, pose: Pose) -> Localization:
    """What a frame before would have left that showed the part FRAME_SHIFT away from `pose`."""
    shifted = pose.retract(np.array([0, 0, 0, FRAME_SHIFT * float(np.linalg.norm(pose.translation)), 0, 0]))
    found = Localization(shifted, Reason.NONE, "")
    return replace(found, rendering=inspector.render(inspector.prepare(image), found))


def _throughput(inspector: Inspector, files: Sequence[Path], runs: int) -> float:
    """Images per second of a full queue: while one is rendered and scored, the next is localized."""

    def localize(file: Path) -> tuple[PreparedQuery, Localization]:
        query = inspector.prepare(images.load(file))
        return query, inspector.localize(query)

    start = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(localize, files[0])
        for i in range(1, runs + 1):
            query, found = ahead.result()
            if i < runs:
                ahead = pool.submit(localize, files[i % len(files)])
            inspector.score(query, found, inspector.render(query, found) if found.localized else None)
    return runs / (time.perf_counter() - start)
