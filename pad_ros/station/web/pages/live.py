"""Live: the last verdict of a cell, large; the shift's rates; the state of every cell."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select
from starlette.responses import Response
from starlette.routing import Route

from ....verdicts import Verdict
from ... import statistics
from ...queries import Filter, known_cells
from ...record import SECOND, reason_name
from ...schema import cells, pictures, results
from ..context import Context, route

SILENT = 20 * SECOND  # ns without a report of its recorder, after which nothing of a cell counts as present
LATEST = 12  # verdicts in the strip


@dataclass(frozen=True)
class CellState:
    """level: 0 fine, 1 warning, 2 error, 3 nothing is heard of it; message: why."""

    name: str
    level: int
    message: str
    state: dict[str, Any]
    verdict: str
    seen_ns: int


def cell_states(connection: Connection) -> list[CellState]:
    """Every cell that ever had a result or a recorder."""
    reports = {row.name: row for row in connection.execute(select(cells))}
    found = []
    for name in sorted({*known_cells(connection), *reports}):
        last = last_result(connection, name)
        verdict = "" if last is None else Verdict(last.verdict).name
        report = reports.get(name)
        if report is None:
            found.append(CellState(name, 3, "no recorder reports", {}, verdict, 0))
            continue
        state = json.loads(report.state)
        level, message = _graded(state, report.seen_ns)
        found.append(CellState(name, level, message, state, verdict, report.seen_ns))
    return found


def last_result(connection: Connection, cell: str) -> Row[Any] | None:
    asked = select(results).where(results.c.cell == cell).order_by(results.c.time_ns.desc()).limit(1)
    return connection.execute(asked).first()


def _graded(state: dict[str, Any], seen_ns: int) -> tuple[int, str]:
    if time.time_ns() - seen_ns > SILENT:
        return 3, "its recorder is silent"
    problems = [(2, state["problem"])] if state.get("problem") else []
    if state.get("lost"):
        problems.append((2, f"{state['lost']} results lost"))
    if state.get("picture_problem"):
        problems.append((1, state["picture_problem"]))
    for name, node in sorted(state.get("nodes", {}).items()):
        if node["level"]:
            problems.append((min(int(node["level"]), 2), f"{name.rpartition('/')[2]}: {node['message']}"))
    return max(problems, default=(0, "running"))


def live(context: Context) -> Response:
    return context.page("live.html.j2", **_values(context))


def fragment(context: Context) -> Response:
    """What the page renews every second."""
    return context.page("live_fragment.html.j2", **_values(context))


def _values(context: Context) -> dict[str, Any]:
    station = context.station
    with station.engine.connect() as connection:
        states = cell_states(connection)
        names = [state.name for state in states]
        cell = context.query("cell") if context.query("cell") in names else (names[0] if names else "")
        start = statistics.shift_start(datetime.now().astimezone(), station.shifts)
        asked = Filter(since_ns=int(start.timestamp()) * SECOND, cell=cell)
        rates = statistics.rates(connection, asked, "day")
        counts = {v.name: sum(rate.counts[v.name] for rate in rates) for v in Verdict}
        latest = select(results).where(results.c.cell == cell).order_by(results.c.time_ns.desc()).limit(LATEST)
        rows = connection.execute(latest).all()
        kinds = [] if not rows else list(
            connection.scalars(select(pictures.c.kind).where(pictures.c.result_id == rows[0].id))
        )  # fmt: skip
        reasons = statistics.reasons(connection, asked)[:4]
    state = next((one for one in states if one.name == cell), None)
    return {
        "cells": states, "cell": cell, "state": state, "start": start, "counts": counts, "latest": rows,
        "total": sum(counts.values()), "kinds": kinds, "reasons": reasons, "verdict_name": lambda v: Verdict(v).name,
        "reason_name": reason_name, "stale": state is None or state.level == 3,
    }  # fmt: skip


ROUTES: list[Route] = [route("/live", live), route("/live/fragment", fragment)]
