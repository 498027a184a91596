"""Writes the pictures of results that are kept already, in a thread of its own: encoding takes far longer than a
record, and no record waits for it. What does not fit into memory meanwhile is dropped, counted, and said of the result.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Engine

from ..errors import ImageError
from .database import writing
from .picture_store import PictureSet, PictureSettings, PictureStore
from .record import ResultRecord
from .retention import remove_old
from .schema import ABSENT, DROPPED, KEPT
from .storing import StoredPicture, attach
from .sweep import swept

AT_ONCE = 8  # results whose pictures share a transaction
NICE = 10  # of the thread: the cell goes first
PAUSE = 1.0  # seconds between attempts
SAID = 60.0  # seconds for which a problem is told at least
TIDY = 60.0  # seconds between looks at old pictures
NO_ROOM = "no room in memory for more pictures: they come faster than they are encoded, or the disk is slow or full"


@dataclass(eq=False)
class PictureJob:
    """What is to be done for one result. outcome: KEPT, DROPPED or ABSENT."""

    record: ResultRecord
    outcome: int
    pictures: PictureSet | None = None
    stored: list[StoredPicture] = field(default_factory=list)


class PictureWriter:
    """max_bytes: of pictures that wait. lost: results without theirs; removed: files and rows that a run before left
    behind; problem: why pictures were not kept lately, "" if they were."""

    def __init__(self, engine: Engine, store: PictureStore, settings: PictureSettings, max_bytes: int) -> None:
        self._engine, self._store, self._settings = engine, store, settings
        self._max_bytes, self._bytes = max_bytes, 0
        self._jobs: deque[PictureJob] = deque()
        self._changed = threading.Condition()
        self._sweep: Iterator[int] | None = swept(engine, store, settings, time.time_ns())
        self._open, self._tidied, self._failed = True, 0.0, 0.0
        self.lost = self.removed = 0
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="pictures", daemon=True)

    def start(self) -> None:
        """To be called when the tables are there; again does no harm."""
        if not self._thread.is_alive() and self._open:
            self._thread.start()

    def job(self, record: ResultRecord, found: PictureSet) -> PictureJob:
        """To be given to `add` as soon as the record is kept; its bytes count from now on."""
        size = found.size
        if not size:
            return PictureJob(record, ABSENT)
        with self._changed:
            if self._bytes + size > self._max_bytes:
                self._lose(NO_ROOM)
                return PictureJob(record, DROPPED)
            self._bytes += size
        return PictureJob(record, KEPT, found)

    def add(self, job: PictureJob) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def forget(self, job: PictureJob) -> None:
        """Its record is not kept."""
        with self._changed:
            self._release(job)

    @property
    def waiting(self) -> int:
        return len(self._jobs)

    def flush(self, timeout: float) -> bool:
        """Wait until no pictures are waiting; whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, timeout)

    def close(self) -> None:
        """End after the pictures that are being written; the others count as lost."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        left, self._jobs = list(self._jobs), deque()
        self.lost += sum(job.outcome == KEPT for job in left)
        self._store.remove([picture.path for job in left for picture in job.stored])
        with suppress(Exception):  # else the sweep of the next start says so
            self._commit([PictureJob(job.record, DROPPED if job.outcome == KEPT else job.outcome) for job in left])

    def _run(self) -> None:
        if sys.platform == "linux":  # there a thread has its own
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
        while True:
            with self._changed:
                wanted = self._changed.wait_for(lambda: self._jobs or not self._open, 0.0 if self._sweep else PAUSE)
                if not self._open:
                    return
                jobs = [self._jobs[i] for i in range(min(AT_ONCE, len(self._jobs)))] if wanted else []
            try:
                self._write(jobs) if jobs else self._tidy()
            except Exception:  # of the database, of which the records' thread tells
                with self._changed:
                    self._changed.wait_for(lambda: not self._open, PAUSE)

    def _write(self, jobs: Sequence[PictureJob]) -> None:
        for job in jobs:
            if job.pictures is not None:
                self._encode(job)
        known = self._commit(jobs)
        for job, is_known in zip(jobs, known, strict=True):
            if not is_known:  # the history was begun anew meanwhile
                self._store.remove([picture.path for picture in job.stored])
        with self._changed:
            for job, is_known in zip(jobs, known, strict=True):
                self._jobs.popleft()
                self.lost += job.outcome == KEPT and not is_known
            self._changed.notify_all()

    def _encode(self, job: PictureJob) -> None:
        problem = ""
        assert job.pictures is not None
        try:
            job.stored = self._store.write(job.record, job.pictures)
        except (OSError, ImageError) as error:
            problem = f"pictures are not kept: {getattr(error, 'strerror', None) or error}"
            job.outcome = DROPPED
        with self._changed:
            self._release(job)
            if problem:
                self._lose(problem)
            elif time.monotonic() - self._failed > SAID:
                self.problem = ""

    def _lose(self, problem: str) -> None:
        self.lost += 1
        self.problem, self._failed = problem, time.monotonic()

    def _release(self, job: PictureJob) -> None:
        if job.pictures is not None:
            self._bytes -= job.pictures.size
            job.pictures = None

    def _commit(self, jobs: Sequence[PictureJob]) -> list[bool]:
        """Of each whether its result is known."""
        if not jobs:
            return []
        with writing(self._engine).begin() as connection:
            return [attach(connection, job.record, job.outcome, job.stored) for job in jobs]

    def _tidy(self) -> None:
        """Used while nothing waits: what a run before left behind, and what is too old."""
        if self._sweep is not None:
            found = next(self._sweep, None)
            if found is None:
                self._sweep = None
            else:
                self.removed += found
        elif time.monotonic() - self._tidied > TIDY:
            remove_old(self._engine, self._store, self._settings, time.time_ns())
            self._tidied = time.monotonic()
