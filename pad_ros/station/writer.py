"""Writes results into the history from a thread of its own: whoever offers one never waits.

A result counts as kept when its transaction is committed, not before. Where the database or the disk fails, results
wait in memory, up to a limit, and what could not be kept is counted.
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

from ..errors import ImageError, PadError, first_line
from .database import create_tables, open_engine, writing
from .picture_store import PictureSet, PictureSettings, PictureStore
from .place import Place
from .record import ResultRecord
from .retention import remove_old
from .storing import StoredPicture, report_cell, store

GATHER = 0.2  # seconds within which results share a transaction
BATCH = 200  # results in one transaction
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between attempts, doubling
REPORT = 5.0  # seconds between reports on the cell
TIDY = 60.0  # seconds between looks at old pictures
REFUSED_CLASSES = ("22", "23")  # of SQLSTATE: data that the server will never take


@dataclass(frozen=True)
class WriterSettings:
    """What may wait in memory: results, and bytes of their pictures."""

    max_results: int = 20_000
    max_picture_bytes: int = 256 * 10**6
    pictures: PictureSettings = field(default_factory=PictureSettings)


@dataclass(frozen=True)
class WriterStatus:
    """committed: results in the database; waiting: in memory; lost: not kept for want of room; refused: that the
    database would not take; lost_pictures: results without theirs; reopened: times that the file had vanished; problem:
    why nothing can be written at present, "" if it can."""

    committed: int = 0
    waiting: int = 0
    lost: int = 0
    refused: int = 0
    lost_pictures: int = 0
    reopened: int = 0
    problem: str = ""
    picture_problem: str = ""


@dataclass(eq=False)
class _Item:
    record: ResultRecord
    pictures: PictureSet | None
    stored: list[StoredPicture] = field(default_factory=list)


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
        self._store = PictureStore(place.pictures, self.settings.pictures.query_format)
        self._items: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._open, self._picture_bytes, self._number = True, 0, 0
        self._committed = self._lost = self._refused = self._lost_pictures = self._reopened = 0
        self._problem = self._picture_problem = ""
        self._inode: int | None = None
        self._ready = False
        self._reported = self._tidied = 0.0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def wants_pictures(self, record: ResultRecord) -> bool:
        """Whether the rule keeps pictures of this result; to be asked once for each, in order."""
        self._number += 1
        return self.settings.pictures.rule.keeps(record, self._number)

    def offer(self, record: ResultRecord, pictures: PictureSet | None = None) -> bool:
        """Queue a result; False, and counted, where there is no room for it. Never waits for the disk."""
        with self._changed:
            if not self._open or len(self._items) >= self.settings.max_results:
                self._lost += 1
                return False
            size = 0 if pictures is None else pictures.size
            if self._picture_bytes + size > self.settings.max_picture_bytes:
                self._lost_pictures += 1
                self._picture_problem = "no room in memory for more pictures: the disk is too slow, or full"
                pictures, size = None, 0
            self._picture_bytes += size
            self._items.append(_Item(record, pictures))
            self._changed.notify_all()
            return True

    def status(self) -> WriterStatus:
        with self._changed:
            return WriterStatus(
                self._committed, len(self._items), self._lost, self._refused, self._lost_pictures, self._reopened,
                self._problem, self._picture_problem,
            )  # fmt: skip

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is waiting; whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._items, timeout)

    def close(self, timeout: float = 10.0) -> WriterStatus:
        """Write what waits, for at most `timeout` seconds; what is left then counts as lost."""
        self.flush(timeout)
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join(timeout=30)
        with self._changed:
            left, self._items = list(self._items), deque()
            self._lost += len(left)
        self._store.remove([picture.path for item in left for picture in item.stored])
        self._engine.dispose()
        return self.status()

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while self._open:
            batch = self._gather()
            try:
                self._prepare()
                if batch:
                    self._write_pictures(batch)
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
        self._inode = None if file is None else file.stat().st_ino
        self._ready = True

    def _write_pictures(self, batch: Sequence[_Item]) -> None:
        for item in batch:
            found, item.pictures = item.pictures, None
            if found is None:
                continue
            try:
                item.stored = self._store.write(item.record, found)
                problem = ""
            except (OSError, ImageError) as error:
                problem = f"pictures are not kept: {getattr(error, 'strerror', None) or error}"
            with self._changed:
                self._picture_bytes -= found.size
                self._lost_pictures += bool(problem)
                self._picture_problem = problem

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
            self._store.remove([picture.path for picture in batch[0].stored])
            self._done(batch, refused=True)

    def _commit(self, batch: Sequence[_Item]) -> None:
        with writing(self._engine).begin() as connection:
            store(connection, [(item.record, item.stored) for item in batch])
        self._done(batch, refused=False)

    def _done(self, batch: Sequence[_Item], refused: bool) -> None:
        if self._on_committed is not None and not refused:
            self._on_committed([item.record for item in batch])
        with self._changed:
            for _ in batch:
                self._items.popleft()
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
        if now - self._tidied > TIDY:
            remove_old(self._engine, self._store, self.settings.pictures, time.time_ns())
            self._tidied = now
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
