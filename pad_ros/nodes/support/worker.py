"""A thread that takes the heavy work off the executor, so that services and triggers are always answered."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Job = Callable[[], None]


class Worker:
    """Runs jobs one at a time: those offered in order, at most `size` of them waiting, then the newest of the rest.

    on_error gets whatever a job raises. Workers with the same `turn` run one job at a time among them.
    """

    def __init__(
        self, size: int, on_error: Callable[[Exception], None], turn: AbstractContextManager[object] | None = None
    ) -> None:
        self._size = size
        self._turn = turn or nullcontext()
        self._on_error = on_error
        self._jobs: deque[Job] = deque()
        self._newest: Job | None = None
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="stage", daemon=True)
        self._thread.start()

    def offer(self, job: Job) -> bool:
        """Queue a job; False when the queue is full."""
        with self._changed:
            if len(self._jobs) >= self._size or not self._open:
                return False
            self._jobs.append(job)
            self._changed.notify()
            return True

    def replace(self, job: Job) -> bool:
        """Let this job wait in the one place of the newest; True where that has thrown out an older one."""
        with self._changed:
            superseded = self._newest is not None
            self._newest = job
            self._changed.notify()
            return superseded

    @property
    def alive(self) -> bool:
        """Whether jobs are still run; a job that was offered and has not run by then never will."""
        return self._thread.is_alive()

    def close(self, finish: bool = False) -> None:
        """Finish the job in hand, and with `finish` the waiting ones too; nothing more is taken."""
        with self._changed:
            self._open = False
            if not finish:
                self._jobs.clear()
                self._newest = None
            self._changed.notify()
        self._thread.join(timeout=10)

    def _next(self) -> Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._newest is not None or not self._open)
            if self._jobs:
                return self._jobs.popleft()
            job, self._newest = self._newest, None
            return job

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                with self._turn:
                    job()
            except Exception as error:  # the thread must outlive every job
                self._on_error(error)
