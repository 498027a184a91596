"""`pad bench`: how long a verdict takes on this machine, and what it needs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import images
from ..errors import InputError
from ..inspector import Inspector
from .machine import describe_machine, peak_memory_mb

MIN_RUNS = 50  # inspections, so that the tail says something; few images are taken again and again
PERCENTILES = (50, 95, 99)


def bench(model: Path, files: Sequence[Path], device: str = "auto") -> dict[str, Any]:
    """Load a model, inspect every image (at least MIN_RUNS inspections in all) one after another.

    Returns {"model", "device", "machine", "images", "runs", "latency_ms": {stage: {"p50", "p95", "p99"}},
    "throughput_fps", "peak_memory_mb", "load_s", "warm_up_s"}; on a GPU also "peak_gpu_memory_mb".
    latency_ms "total" runs from reading the file to the verdict, nothing left out. load_s is the
    reading and checking of the bundle; warm_up_s, building the stages and compiling kernels, comes
    before the first inspection that counts. ModelError, or ImageError for an image that cannot be read.
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
    times: dict[str, list[float]] = {"localize": [], "render": [], "score": [], "total": []}
    runs = max(len(files), MIN_RUNS)
    for file in itertools.islice(itertools.cycle(files), runs):
        start = time.perf_counter()
        result = inspector.inspect(images.load(file))
        times["total"].append(1000 * (time.perf_counter() - start))
        times["localize"].append(result.timings_ms["localize"])
        if result.rendering is not None:
            times["render"].append(result.timings_ms["render"])
            times["score"].append(result.timings_ms["score"])
    measured: dict[str, Any] = {
        "model": inspector.model.name,
        "device": inspector.device,
        "machine": describe_machine(),
        "images": len(files),
        "runs": runs,
        "latency_ms": {stage: _percentiles(values) for stage, values in times.items()},
        "throughput_fps": 1000 * runs / sum(times["total"]),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "load_s": round(loaded - began, 3),
        "warm_up_s": round(ready - loaded, 3),
    }
    if inspector.device == "cuda":
        measured["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return measured


def _percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """None where no image got as far as this stage."""
    found = np.percentile(values, PERCENTILES).tolist() if values else [None] * len(PERCENTILES)
    return {f"p{name}": value for name, value in zip(PERCENTILES, found, strict=True)}
