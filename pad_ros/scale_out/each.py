"""`pad train|calibrate|evaluate --each FOLDER`: the command for every part, a subfolder each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import InputError
from . import places
from .local_pool import run_locally
from .options import ONLY_EACH
from .progress_table import ProgressTable, row
from .ray_pool import load_ray, run_on_ray
from .report import worst_first, write_parts_report
from .task import FAILED, Outcome, Resources, Run, Task


def run_each(arguments: argparse.Namespace, run: Run) -> int:
    """Do all parts, print a table and write one report; 1 where a part failed. InputError where there are none."""
    if arguments.on != "local":
        load_ray()  # that it is missing is said before anything is looked at
    out = places.absolute(arguments.out)
    tasks = tasks_of(arguments, run, out)
    table = ProgressTable(f"pad {run.__name__}", len(tasks))
    outcomes = []
    for outcome in _outcomes(arguments, tasks, table):
        outcomes.append(outcome)
        table.end(outcome)
    write_parts_report(run.__name__, outcomes, out)
    print("\n".join(map(row, worst_first(run.__name__, outcomes))))
    print(f"report: {out}/report.html")
    failed = sum(outcome.state == FAILED for outcome in outcomes)
    if failed:
        print(f"pad: {failed} of {len(tasks)} parts failed; the others are done", file=sys.stderr)
    return int(failed > 0)


def tasks_of(arguments: argparse.Namespace, run: Run, out: str) -> list[Task]:
    """A task for each subfolder of --each. The model of a part, where one is asked for, has its name in MODEL."""
    folder = places.absolute(arguments.each)
    sources = {arguments.part_argument: folder}
    if "model" in arguments:
        sources["model"] = places.absolute(arguments.model)
    for source in sources.values():
        if out == source or out.startswith(f"{source}/"):
            raise InputError(
                f"{arguments.out}: lies in a folder that parts or models are read from; choose another --out"
            )
    if not (names := places.subfolders(folder)):
        raise InputError(f"{arguments.each}: no subfolders; --each takes a folder with one for each part")
    for option in ("name", "pictures"):
        if getattr(arguments, option, None) is not None:
            raise InputError(f"--{option}: is for one part, not for --each")
    left_out = {"run", "each", "out", "part_argument", *ONLY_EACH, *sources}
    settings = {key: _anywhere(value) for key, value in vars(arguments).items() if key not in left_out}
    return [
        Task(name, run, settings, {k: places.joined(url, name) for k, url in sources.items()}, places.joined(out, name))
        for name in names
    ]


def _anywhere(value: Any) -> Any:
    """Paths as they are from any working folder."""
    if isinstance(value, list):
        return [_anywhere(one) for one in value]
    return value.absolute() if hasattr(value, "absolute") else value


def _outcomes(arguments: argparse.Namespace, tasks: Sequence[Task], table: ProgressTable) -> Iterator[Outcome]:
    cpus = arguments.cpus
    cards = _cards(arguments.device) if arguments.on == "local" else 0
    gpus = arguments.gpus if arguments.gpus is not None else float(cards > 0 or arguments.device == "cuda")
    resources = Resources(cpus, gpus)
    most = max(1, len(os.sched_getaffinity(0)) // cpus)
    workers = arguments.workers or (min(most, max(1, int(cards / gpus))) if gpus and cards else most)
    if arguments.on == "local":
        return run_locally(tasks, resources, workers, arguments.retries, table.start)
    address = "" if arguments.on == "ray" else arguments.on
    return run_on_ray(tasks, address, resources, workers, arguments.retries, table.start)


def _cards(device: str) -> int:
    """How many graphics cards of this machine `device` lets tasks use."""
    if device == "cpu":
        return 0
    from ..rendering.device import resolve_device

    if resolve_device(device) != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()
