"""What the recorder tells and asks the station besides writing results: its model, and approved ones to load.

In a thread of its own, since a database may take its time.
"""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from ...errors import PadError
from ...station import registry
from ...station.database import create_tables, open_engine
from ...station.place import Place
from ...station.registry import Approval

LOOK = 2.0  # seconds between looks


class StationLink:
    """model: a folder to register with the station, None for none."""

    def __init__(self, place: Place, cell: str, model: Path | None) -> None:
        self._place, self._cell, self._model = place, cell, model
        self._engine = open_engine(place, readers=1)
        self._approval: Approval | None = None
        self._answers: list[tuple[Approval, str]] = []
        self._taken: set[int] = set()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._ready = False
        self.problem = ""
        self._thread = threading.Thread(target=self._run, name="station", daemon=True)
        self._thread.start()

    def take_approval(self) -> Approval | None:
        """A model that is to be loaded; each is given once."""
        with self._lock:
            found, self._approval = self._approval, None
            if found is not None:
                self._taken.add(found.key)
            return found

    def answer(self, approval: Approval, text: str) -> None:
        """What the cell answered; written as soon as the database takes it."""
        with self._lock:
            self._answers.append((approval, text))

    def close(self) -> None:
        self._end.set()
        self._thread.join(timeout=10)
        self._engine.dispose()

    def _run(self) -> None:
        while True:
            last = self._end.is_set()
            try:
                self._look()
                self.problem = ""
                self._engine.dispose()  # a connection to a file that was deleted meanwhile would go on without a word
            except (PadError, SQLAlchemyError, OSError) as error:  # a database that is away for a while
                self.problem = str(error)
            if last:
                return
            self._end.wait(LOOK)

    def _look(self) -> None:
        if not self._ready:
            create_tables(self._engine)
            self._ready = True
        if self._model is not None:
            from ...model import ReferenceModel

            registry.register(self._engine, ReferenceModel.load(self._model), self._model, "recorder")
            self._model = None
        while self._answers:
            approval, text = self._answers[0]
            registry.answer(self._engine, approval.key, text)
            with self._lock:
                self._answers.pop(0)
        with self._engine.connect() as connection:
            found = registry.open_approval(connection, self._cell)
        with self._lock:
            self._approval = None if found is None or found.key in self._taken else found
