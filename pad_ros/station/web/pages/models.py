"""Models: which runs where, what it was made from; new ones by calibration; approval, and the way back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ....errors import InputError
from ...export import reviewed_images
from ...queries import Filter, read_time
from ...registry import approve, approved_for, register
from ...schema import approvals, models, results
from ...schema import reviews as review_table
from ..context import Context, route
from .live import cell_states

SHOWN = 30  # approvals


@dataclass(frozen=True)
class CellModel:
    """What was approved for a cell last, and what its results say they were judged by."""

    cell: str
    running: str
    approval: Row[Any] | None
    link: Path


def page(context: Context) -> Response:
    station = context.station
    with station.engine.connect() as connection:
        known = connection.execute(select(models).order_by(models.c.added_ns.desc())).all()
        states = cell_states(connection)
        found = [
            CellModel(one.name, one.state.get("model_hash", ""), _approval(connection, one.name),
                      station.place.live(one.name))
            for one in states
        ]  # fmt: skip
        history = connection.execute(select(approvals).order_by(approvals.c.id.desc()).limit(SHOWN)).all()
        names = sorted({one.name for one in known})
        units = {name: _units(connection, context, name) for name in names}
    return context.page(
        "models.html.j2", known=known, cells=found, history=history, units=units, jobs=station.jobs.all(),
        names={one.hash: one.name for one in known}, summaries={one.hash: json.loads(one.summary) for one in known},
    )  # fmt: skip


def _approval(connection: Connection, cell: str) -> Row[Any] | None:
    asked = select(approvals).where(approvals.c.cell == cell).order_by(approvals.c.id.desc()).limit(1)
    return connection.execute(asked).first()


def _units(connection: Connection, context: Context, name: str) -> dict[str, int]:
    """Of reviewed good units with a kept picture: all, and those that passed (kept as a sample)."""
    found, _ = reviewed_images(connection, context.station.place, Filter(model=name))
    good = {image.unit: image.uid for image in found if image.label == "good"}
    passed = select(results.c.uid).join(review_table, review_table.c.result_id == results.c.id)
    uids = set(connection.scalars(passed.where(results.c.verdict == 1))) if good else set()
    return {"all": len(good), "passed": sum(uid in uids for uid in good.values())}


def add(context: Context) -> Response:
    """Make a folder's model known; nothing runs by it yet."""
    from ....model import ReferenceModel

    folder = Path(context.form.get("folder", "").strip())
    register(context.station.engine, ReferenceModel.load(folder), folder, context.user)
    return RedirectResponse("/models", 303)


def calibrate(context: Context) -> Response:
    form = context.form
    since = read_time(form["since"]) if form.get("since", "").strip() else 0
    context.station.jobs.calibrate(form.get("model", ""), context.user, since, form.get("trust") == "on")
    return RedirectResponse("/models#jobs", 303)


def rate(context: Context) -> Response:
    try:
        value = float(context.form.get("rate", ""))
    except ValueError as error:
        raise InputError("the rate of false rejects is no number") from error
    context.station.jobs.change_rate(context.form.get("model", ""), context.user, value)
    return RedirectResponse("/models#jobs", 303)


def give_approval(context: Context) -> Response:
    station, form = context.station, context.form
    approve(station.engine, station.place, _cell(context), form.get("model", ""), context.user)
    return RedirectResponse("/models", 303)


def back(context: Context) -> Response:
    """Approve what was approved for the cell before."""
    station, cell = context.station, _cell(context)
    with station.engine.connect() as connection:
        present = approved_for(connection, cell)
        row = _approval(connection, cell)
    if row is None or row.before_hash is None:
        raise InputError(f"{cell}: no other model was approved before {present or 'any'}")
    approve(station.engine, station.place, cell, row.before_hash, context.user)
    return RedirectResponse("/models", 303)


def _cell(context: Context) -> str:
    with context.station.engine.connect() as connection:
        names = [state.name for state in cell_states(connection)]
    cell = context.form.get("cell", "")
    if cell not in names:
        raise InputError(f"cell {cell[:80]!r}: none of {', '.join(names) or 'no cells'}")
    return cell


ROUTES: list[Route] = [
    route("/models", page),
    route("/models/add", add, "engineer", methods=("POST",)),
    route("/models/calibrate", calibrate, "operator", methods=("POST",)),
    route("/models/rate", rate, "engineer", methods=("POST",)),
    route("/models/approve", give_approval, "engineer", methods=("POST",)),
    route("/models/back", back, "engineer", methods=("POST",)),
]
