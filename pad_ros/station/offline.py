"""`--record-to` of `pad inspect` and `pad bag`, and `pad demo`: what they find goes into a station's history as the
results of a line do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ..decision.inspection import Inspection
from ..errors import InputError
from ..model import ReferenceModel
from .database import open_history
from .picture_store import PictureRule, PictureSet, PictureSettings
from .place import Place
from .record import ResultRecord, record_of_inspection
from .registry import register
from .writer import HistoryWriter, WriterSettings

MOST_WAITING, MOST_PICTURES = 500, 10  # results, and those whose pictures wait: here nobody is harmed by waiting
PATIENCE = 60.0  # seconds


class InspectionRecorder(AbstractContextManager["InspectionRecorder"]):
    """Keeps inspections, and makes their model known. InputError where the station cannot be written, at the beginning
    or, for what was not kept, at the end. rule: of which pictures are kept."""

    def __init__(
        self, place: Place, cell: str, model: ReferenceModel, folder: Path, rule: PictureRule | None = None
    ) -> None:
        self._place, self._cell, self._model = place.make(), cell, model
        engine = open_history(place)
        register(engine, model, folder, "pad")
        engine.dispose()
        pictures = PictureSettings(rule or PictureRule())
        self._writer = HistoryWriter(place, WriterSettings(cell, pictures=pictures))

    def add(self, name: str, inspection: Inspection, part_id: str = "", time_ns: int | None = None) -> None:
        """Keep one inspection; time_ns: when the image was taken, None: now."""
        record = record_of_inspection(
            inspection, time_ns=time.time_ns() if time_ns is None else time_ns, cell=self._cell, part_id=part_id,
            model_name=self._model.name, model_hash=self._model.hash, source=name,
        )  # fmt: skip
        self.add_record(record, lambda: PictureSet.of(inspection))

    def add_record(self, record: ResultRecord, pictures: Callable[[], PictureSet]) -> None:
        """pictures: called where the rule keeps them."""
        self._writer.offer(record, pictures() if self._writer.wants_pictures(record) else None)
        status = self._writer.status()
        if status.waiting > MOST_WAITING or status.waiting_pictures > MOST_PICTURES:
            self._writer.flush(PATIENCE)

    def __exit__(self, *_: object) -> None:
        status = self._writer.close(PATIENCE)
        if lost := status.lost + status.refused:
            raise InputError(f"{self._place.folder}: {lost} results were not kept: {status.problem or 'refused'}")
        if status.lost_pictures:
            raise InputError(
                f"{self._place.folder}: {status.lost_pictures} results were kept without pictures: "
                f"{status.picture_problem}"
            )
