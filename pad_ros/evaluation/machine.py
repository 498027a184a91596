"""The machine that figures were measured on."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

# The libraries that set the pace.
LIBRARIES = ("pad_ros", "numpy", "numba", "opencv-python-headless", "pycolmap", "onnxruntime", "gsplat")


def describe_machine() -> dict[str, Any]:
    """{"cpu", "cores", "memory_gb", "gpu" (null without), "system", "python", "torch", "versions" of the rest}."""
    import torch

    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "versions": {name: metadata.version(name) for name in LIBRARIES if any(metadata.distributions(name=name))},
    }


def machine_line(machine: dict[str, Any]) -> str:
    """One line of `describe_machine` for people."""
    parts = [f"{machine['cpu']}, {machine['cores']} cores", f"{machine['memory_gb']:g} GB"]
    return ", ".join(parts + ([machine["gpu"]] if machine["gpu"] else []))


def peak_memory_mb() -> float:
    """The most main memory that this process has held so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name")]
    return names[0] if names and names[0] else platform.processor() or platform.machine()
