"""A thread that takes the heavy work off the executor, so that services and triggers are always answered."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]


class Worker:
    """Runs jobs in order, one at a time; at most `size` wait. on_error gets whatever a job raises."""

    def __init__(self, size: int, on_error: Callable[[Exception], None]) -> None:
        self._jobs: queue.Queue[Job | None] = queue.Queue(size)
        self._on_error = on_error
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="stage", daemon=True)
        self._thread.start()

    def offer(self, job: Job) -> bool:
        """Queue a job; False when the queue is full."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Finish the job in hand, leave the rest."""
        self._closed = True
        with contextlib.suppress(queue.Full):
            self._jobs.put_nowait(None)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            try:
                job()
            except Exception as error:  # the thread must outlive every job
                self._on_error(error)
