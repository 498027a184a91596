"""Tasks over a few processes of this machine, no further software needed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait

from .task import FAILED, Outcome, Resources, Task, perform

OnStart = Callable[[str, int], None]  # name of a task, number of the try


def run_locally(
    tasks: Sequence[Task], resources: Resources, workers: int, retries: int, on_start: OnStart
) -> Iterator[Outcome]:
    """The outcomes as they come. A task whose worker dies is done again by another one, at most `retries` times."""
    waiting = deque((task, 1) for task in tasks)
    pool = [_Worker(resources, number) for number in range(min(workers, len(tasks)))]
    try:
        while True:
            for worker in pool:
                if waiting and not worker.busy:
                    worker.give(*waiting[0])
                    on_start(waiting[0][0].name, waiting.popleft()[1])
            if not (busy := {worker.pipe: worker for worker in pool if worker.busy}):
                return
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                outcome, (task, tries) = worker.answer(), worker.take()
                if outcome is None:
                    why = f"its worker {worker.ending()} ({tries} times)"
                    pool[worker.number] = _Worker(resources, worker.number)
                    if tries <= retries:
                        waiting.append((task, tries + 1))
                        continue
                    outcome = Outcome(task.name, FAILED, why=why)
                yield replace(outcome, tries=tries)
    finally:
        for worker in pool:
            worker.end()


class _Worker:
    """A process that does one task after the other. It outlives neither the pool nor its parent."""

    def __init__(self, resources: Resources, number: int) -> None:
        self.number = number
        self._given: tuple[Task, int] | None = None
        context = multiprocessing.get_context("spawn")  # a fork would copy locks of threads that it has not
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with _environment({**resources.environment(), **_cards(resources.gpus, number)}):
            self._process.start()
        theirs.close()

    @property
    def busy(self) -> bool:
        return self._given is not None

    def give(self, task: Task, tries: int) -> None:
        self._given = task, tries
        with suppress(OSError):  # it has died idle: `answer` says so
            self.pipe.send(task)

    def answer(self) -> Outcome | None:
        """What came of the task; None where the process has died."""
        try:
            found: Outcome = self.pipe.recv()
            return found
        except (EOFError, OSError):
            return None

    def take(self) -> tuple[Task, int]:
        """The task and its try; the worker is free then."""
        assert self._given is not None
        given, self._given = self._given, None
        return given

    def ending(self) -> str:
        """How the process ended."""
        self._process.join(timeout=10)
        code = self._process.exitcode or 0
        return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()  # not SIGTERM: pycolmap prints a stack trace for it
        self._process.join()


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        outcome = perform(task)
        try:
            pipe.send(outcome)
        except OSError:
            return


def _cards(share: float, number: int) -> dict[str, str]:
    """The one graphics card of a worker: number / (workers per card). None is seen by those that need none."""
    card, given = int(number * share), os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    chosen = given[card % len(given)] or str(card)
    return {"CUDA_VISIBLE_DEVICES": chosen if share else ""}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """For a process that is started meanwhile: libraries read these when they are loaded."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
