"""Health: what has drifted, disk, clocks, the nodes of each cell, and who changed what."""

from __future__ import annotations

import json
import shutil

from sqlalchemy import func, select
from starlette.responses import Response
from starlette.routing import Route

from ... import statistics
from ...queries import Filter
from ...schema import audit, pictures, results
from ..context import Context, route
from .live import cell_states

SHOWN = 100  # entries of the audit table
CLOCK_OFF = 2.0  # seconds


def health(context: Context) -> Response:
    place = context.station.place
    with context.station.engine.connect() as connection:
        states = cell_states(connection)
        drifts = {state.name: statistics.drift(connection, state.name) for state in states}
        kept = connection.execute(
            select(pictures.c.kind, func.count(), func.sum(pictures.c.bytes)).group_by(pictures.c.kind)
        ).all()
        oldest = connection.scalar(select(func.min(results.c.time_ns)))
        count = connection.scalar(select(func.max(results.c.id))) or 0
        latencies = {state.name: statistics.latencies(connection, Filter(cell=state.name)) for state in states}
    file = place.database_file
    database = None if file is None or not file.exists() else sum(
        path.stat().st_size for path in file.parent.glob(f"{file.name}*")
    )  # fmt: skip
    return context.page(
        "health.html.j2", cells=states, drifts=drifts, kept=kept, disk=shutil.disk_usage(place.folder), oldest=oldest,
        count=count, database=database, clock_off=CLOCK_OFF, latencies=latencies,
    )  # fmt: skip


def changes(context: Context) -> Response:
    """The audit table, the newest entries first."""
    before = context.query("before")
    asked = select(audit).order_by(audit.c.id.desc()).limit(SHOWN)
    if before.isdigit():
        asked = asked.where(audit.c.id < int(before))
    with context.station.engine.connect() as connection:
        rows = connection.execute(asked).all()
    return context.page("changes.html.j2", rows=[(row, json.loads(row.details)) for row in rows], shown=SHOWN)


ROUTES: list[Route] = [route("/health", health), route("/changes", changes)]
