"""Writes results into the history from a thread of its own: whoever offers one never waits.

A result counts as kept when its transaction is committed, not before. Its pictures follow in another thread. Where the
database or the disk fails, results wait in memory, up to a limit, and what could not be kept is counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from ..errors import PadError, first_line
from .database import create_tables, open_engine, writing
from .picture_store import PictureSet, PictureSettings, PictureStore
from .picture_writer import PictureJob, PictureWriter
from .place import Place
from .record import ResultRecord
from .storing import report_cell, store
from .sweep import give_up

GATHER = 0.2  # seconds within which results share a transaction
BATCH = 200  # results in one transaction
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts, doubling
REPORT = 5.0  # seconds between reports on the cell
REFUSED_CLASSES = ("22", "23")  # of SQLSTATE: data that the server will never take


@dataclass(frozen=True)
class WriterSettings:
    """What may wait in memory: results, and bytes of their pictures. cell: whose results wait in vain for pictures that
    a process before had in memory; no two processes write for one cell."""

    cell: str = ""
    max_results: int = 20_000
    max_picture_bytes: int = 256 * 10**6
    pictures: PictureSettings = field(default_factory=PictureSettings)


@dataclass(frozen=True)
class WriterStatus:
    """committed: results in the database; waiting: in memory; lost: not kept for want of room; refused: that the
    database would not take; waiting_pictures, lost_pictures: results whose pictures are still in memory, and those that
    are without theirs; swept: files and rows that a run before left behind; reopened: times that the file had vanished;
    problem: why nothing can be written at present, "" if it can."""

    committed: int = 0
    waiting: int = 0
    lost: int = 0
    refused: int = 0
    waiting_pictures: int = 0
    lost_pictures: int = 0
    swept: int = 0
    reopened: int = 0
    problem: str = ""
    picture_problem: str = ""


@dataclass(eq=False)
class _Item:
    """wanted: pictures are to come; job: they have."""

    record: ResultRecord
    wanted: bool
    job: PictureJob | None = None


class HistoryWriter:
    """One writer per process. on_committed gets the records of each transaction, in the writer's thread; state: what to
    report of the cells, by name."""

    def __init__(
        self,
        place: Place,
        settings: WriterSettings | None = None,
        on_committed: Callable[[Sequence[ResultRecord]], None] | None = None,
        state: Callable[[], dict[str, dict[str, Any]]] | None = None,
    ) -> None:
        self.place, self.settings = place, settings or WriterSettings()
        self._on_committed, self._state = on_committed, state
        self._engine: Engine = open_engine(place, readers=1)  # InputError for a wrong URL, now and not later
        pictures = self.settings.pictures
        store = PictureStore(place.pictures, pictures.query_format)
        self._pictures = PictureWriter(self._engine, store, pictures, self.settings.max_picture_bytes)
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._open, self._number = True, 0
        self._committed = self._lost = self._refused = self._reopened = 0
        self._problem = ""
        self._inode: int | None = None
        self._ready = False
        self._reported = 0.0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def wants_pictures(self, record: ResultRecord) -> bool:
        """Whether the rule keeps pictures of this result; to be asked once for each, in order."""
        self._number += 1
        return self.settings.pictures.rule.keeps(record, self._number)

    def offer(self, record: ResultRecord, pictures: PictureSet | None = None, later: bool = False) -> bool:
        """Queue a result; False, and counted, where there is no room for it. Never waits for the disk. later: its
        pictures come by `add_pictures`."""
        with self._changed:
            if not self._open or len(self._items) >= self.settings.max_results:
                self._lost += 1
                return False
            job = None if pictures is None else self._pictures.job(record, pictures)
            self._items.append(_Item(record, later or job is not None, job))
            self._changed.notify_all()
            return True

    def add_pictures(self, record: ResultRecord, pictures: PictureSet) -> None:
        """The pictures of a result that was offered, or an empty set where none came. Never waits for the disk."""
        with self._changed:
            job = self._pictures.job(record, pictures)
            item = next((item for item in self._items if item.record.uid == record.uid), None)
            if item is None:
                self._pictures.add(job)
            else:
                item.job = job

    def status(self) -> WriterStatus:
        found = self._pictures
        with self._changed:
            return WriterStatus(
                self._committed, len(self._items), self._lost, self._refused, found.waiting, found.lost, found.removed,
                self._reopened, self._problem, found.problem,
            )  # fmt: skip

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is waiting, pictures included; whether that came true."""
        end = time.monotonic() + timeout
        with self._changed:
            done = self._changed.wait_for(lambda: not self._items, timeout)
        return done and self._pictures.flush(end - time.monotonic())

    def close(self, timeout: float = 10.0) -> WriterStatus:
        """Write what waits, for at most `timeout` seconds; what is left then counts as lost."""
        self.flush(timeout)
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join(timeout=30)
        self._pictures.close()
        with self._changed:
            self._lost += len(self._items)
            self._items.clear()
        self._engine.dispose()
        return self.status()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while self._open:
            batch = self._gather()
            try:
                self._prepare()
                if batch:
                    self._write(batch)
                self._housekeeping()
                pause = FIRST_PAUSE
            except Exception as error:  # the thread must outlive whatever a database or a disk answers
                self._failed(error)
                with self._changed:
                    self._changed.wait_for(lambda: not self._open, pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _gather(self) -> list[_Item]:
        """What is to be written next; it stays queued until it is committed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or not self._open, REPORT)
            if self._items and self._open:
                self._changed.wait_for(lambda: len(self._items) >= BATCH or not self._open, GATHER)
            return [self._items[i] for i in range(min(BATCH, len(self._items)))]

    def _prepare(self) -> None:
        """Make folder and tables; again where the file has vanished, as SQLite would write on into nothing."""
        file = self.place.database_file
        if file is not None and self._ready:
            inode = file.stat().st_ino if file.exists() else None
            if inode == self._inode:
                return
            self._engine.dispose()
            self._ready = False
            self._reopened += 1
        if self._ready:
            return
        if self._reopened == 0:
            self.place.make()  # not again: a folder that was there and is not may be a disk that is not mounted
        create_tables(self._engine)
        if self._reopened == 0:
            give_up(self._engine, self.settings.cell)
        self._pictures.start()
        self._inode = None if file is None else file.stat().st_ino
        self._ready = True

    def _write(self, batch: Sequence[_Item]) -> None:
        try:
            self._commit(batch)
        except Exception as error:
            if not _refusal(error):
                raise
            if len(batch) > 1:
                for item in batch:
                    self._write([item])
                return
            self._done(batch, refused=True)

    def _commit(self, batch: Sequence[_Item]) -> None:
        with writing(self._engine).begin() as connection:
            store(connection, [(item.record, item.wanted) for item in batch])
        self._done(batch, refused=False)

    def _done(self, batch: Sequence[_Item], refused: bool) -> None:
        if self._on_committed is not None and not refused:
            self._on_committed([item.record for item in batch])
        with self._changed:
            for item in batch:
                self._items.popleft()
                if item.job is not None:
                    (self._pictures.forget if refused else self._pictures.add)(item.job)
            if refused:
                self._refused += len(batch)
            else:
                self._committed += len(batch)
            self._problem = ""
            self._changed.notify_all()

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if self._state is not None and now - self._reported > REPORT:
            states = self._state()
            with writing(self._engine).begin() as connection:
                for cell, state in sorted(states.items()):
                    report_cell(connection, cell, time.time_ns(), state)
            self._reported = now
        with self._changed:
            self._problem = ""

    def _failed(self, error: Exception) -> None:
        text = str(error) if isinstance(error, PadError) else first_line(_cause(error))
        with self._changed:
            self._problem = f"the history cannot be written: {text}"
        self._engine.dispose()


def _cause(error: Exception) -> Exception:
    """The driver's own error, where SQLAlchemy wraps one."""
    cause = getattr(error, "orig", None)
    return cause if isinstance(cause, Exception) else error


def _refusal(error: Exception) -> bool:
    """Whether the database will never take this: nothing to try again."""
    if isinstance(error, DataError | IntegrityError | OverflowError | TypeError | ValueError):
        return True
    cause = _cause(error)
    answer = cause.args[0] if cause.args else None  # pg8000: a dict of the fields of the server's answer
    state = str(answer.get("C", "")) if isinstance(answer, dict) else ""
    refused = isinstance(cause, OverflowError | TypeError | ValueError) or state[:2] in REFUSED_CLASSES
    return isinstance(error, SQLAlchemyError) and refused
