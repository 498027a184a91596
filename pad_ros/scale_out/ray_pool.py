"""Tasks over the machines of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import InputError, MissingDependencyError, first_line
from .local_pool import OnStart
from .task import FAILED, Outcome, Resources, Task, perform


def load_ray() -> Any:
    """The module; MissingDependencyError without it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            f"--on ray: Ray cannot be loaded ({first_line(error)}); pip install 'pad_ros[ray]', or --on local"
        ) from error
    return ray


def run_on_ray(
    tasks: Sequence[Task], address: str, resources: Resources, workers: int, retries: int, on_start: OnStart
) -> Iterator[Outcome]:
    """As `run_locally`; Ray itself does the tasks of workers that die again.

    address: ray://host:port, or "": the cluster of RAY_ADDRESS, else one on this machine with `workers`.
    """
    ray = load_ray()
    options: dict[str, Any] = {"runtime_env": {"env_vars": resources.environment()}}
    if address:
        options["address"] = address
    elif "RAY_ADDRESS" not in os.environ:
        options.update(num_cpus=workers * resources.cpus, include_dashboard=False)
        os.environ.setdefault("RAY_worker_niceness", "0")  # as with --on local; Ray's 15 starves on a busy machine
    try:
        ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:
        raise InputError(f"--on {address or 'ray'}: no cluster ({first_line(error)})") from error
    try:
        remote = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=retries)(perform)
        left = {remote.options(name=f"pad {task.command} {task.name}").remote(task): task for task in tasks}
        for task in tasks:
            on_start(task.name, 0)
        while left:
            (ready,), _ = ray.wait(list(left), num_returns=1)
            task = left.pop(ready)
            try:
                outcome: Outcome = ray.get(ready)
            except Exception as error:  # of Ray: the worker died too often, no machine can ever take the task
                outcome = Outcome(task.name, FAILED, why=first_line(error))
            yield outcome
    finally:
        ray.shutdown()
