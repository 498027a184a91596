"""The reference models that a station knows, and which of them a person approved for which cell."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, insert, select, update

from ..errors import InputError
from .database import writing
from .place import Place
from .schema import approvals, audit, models

if TYPE_CHECKING:
    from ..model import ReferenceModel

MAX_SCORES = 10_000


@dataclass(frozen=True)
class Approval:
    """A person's order to load a model in a cell, that the cell has not answered yet."""

    key: int
    cell: str
    folder: str
    model_hash: str


def register(engine: Engine, model: ReferenceModel, folder: Path, by: str, parent: str | None = None) -> None:
    """Let the station know a saved model. Its hash names it: the same model again only moves to `folder`.

    parent: hash of the model that it was made from; None: as its line calibrations say.
    """
    from ..reporting.reports import model_summary

    calibration = model.calibration
    lineage = model.training.get("line_calibrations", [])
    parent = parent or (lineage[-1].get("before", {}).get("model") if lineage else None)
    summary = {
        "lines": model_summary(model),
        "scores": [] if calibration is None else [round(float(s), 6) for s in calibration.scores[:MAX_SCORES]],
        "calibrations": lineage,
    }
    values = {
        "name": model.name, "folder": str(folder.resolve()), "parent": parent, "added_ns": time.time_ns(),
        "added_by": by, "threshold": None if calibration is None else calibration.threshold,
        "rate": None if calibration is None else calibration.false_reject_rate, "summary": json.dumps(summary),
    }  # fmt: skip
    with writing(engine).begin() as connection:
        if connection.scalar(select(models.c.hash).where(models.c.hash == model.hash)) is None:
            connection.execute(insert(models).values(hash=model.hash, **values))
            note(connection, by, "model added", model.hash, {"name": model.name, "folder": values["folder"]})
        else:
            moved = update(models).where(models.c.hash == model.hash)
            connection.execute(moved.values(folder=values["folder"]))


def approve(engine: Engine, place: Place, cell: str, model_hash: str, user: str) -> None:
    """Make a model the cell's: its link leads there at once, and the cell's recorder is to load it."""
    with writing(engine).begin() as connection:
        folder = connection.scalar(select(models.c.folder).where(models.c.hash == model_hash))
        if folder is None or not Path(folder).is_dir():
            raise InputError(f"model {model_hash[:12]}: unknown, or its folder {folder} is gone")
        before = approved_for(connection, cell)
        connection.execute(
            insert(approvals).values(
                time_ns=time.time_ns(), user=user, cell=cell, model_hash=model_hash, before_hash=before
            )
        )
        note(connection, user, "model approved", model_hash, {"cell": cell, "before": before})
        _link(place.live(cell), Path(folder))  # last: a link that cannot be made undoes the rest


def approved_for(connection: Connection, cell: str) -> str | None:
    """Hash of the model that was approved last for a cell."""
    asked = select(approvals.c.model_hash).where(approvals.c.cell == cell).order_by(approvals.c.id.desc()).limit(1)
    return connection.scalar(asked)


def open_approval(connection: Connection, cell: str) -> Approval | None:
    """The newest approval for a cell, if it is not answered yet."""
    asked = (
        select(approvals.c.id, approvals.c.cell, models.c.folder, models.c.hash, approvals.c.answer)
        .join(models).where(approvals.c.cell == cell).order_by(approvals.c.id.desc()).limit(1)
    )  # fmt: skip
    row = connection.execute(asked).first()
    return None if row is None or row.answer is not None else Approval(row.id, row.cell, row.folder, row.hash)


def answer(engine: Engine, key: int, text: str) -> None:
    """What a cell answered to an approval."""
    with writing(engine).begin() as connection:
        connection.execute(update(approvals).where(approvals.c.id == key).values(answer=text))


def note(connection: Connection, user: str, action: str, subject: object, details: dict[str, Any]) -> None:
    """An entry in the audit table, in the transaction of what it tells of."""
    values = {"user": user, "action": action, "subject": str(subject), "details": json.dumps(details)}
    connection.execute(insert(audit).values(time_ns=time.time_ns(), **values))


def _link(link: Path, folder: Path) -> None:
    partial = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        partial.symlink_to(folder, target_is_directory=True)
        os.replace(partial, link)
    except OSError as error:
        raise InputError(f"{link}: cannot be made a link to {folder} ({error.strerror})") from error
