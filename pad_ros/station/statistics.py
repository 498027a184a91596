"""What the history tells of a line: rates, reasons, places of defects, latencies and drift."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, func, select

from ..errors import InputError
from ..evaluation.metrics import auroc
from ..verdicts import Reason, Verdict
from .queries import Filter, known_cells
from .record import SECOND, reason_name
from .schema import defects, models, periods, results
from .storing import PERIOD

SHIFTS = (6, 14, 22)  # local hours at which shifts begin
STAGES = ("localize_ms", "render_ms", "score_ms", "total_ms")
MOST_ROWS = 5_000  # newest ones, of which latencies and places are taken
PLACES_ACROSS = 12  # places along the longest side of where defects lie
RECENT, BASELINE, FEWEST = 200, 500, 20  # results that drift compares
DRIFTED = 0.9  # chance that a value of today lies on one side of one from before: .5 where nothing has changed

POSE_REASONS = (Reason.NOT_LOCALIZED, Reason.WEAK_POSE, Reason.OUTSIDE_COVERAGE, Reason.PARTIAL_VIEW)


@dataclass(frozen=True)
class Rates:
    """Counts of verdicts since `start`, local time."""

    start: datetime
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def share(self, verdict: str) -> float:
        return self.counts[verdict] / self.total if self.total else 0.0


@dataclass(frozen=True)
class Place:
    """Where defects gather. centre: part frame; parts: of how many results; kinds: of defects, how many each."""

    centre: tuple[float, float, float]
    defects: int
    parts: int
    kinds: dict[str, int]


@dataclass(frozen=True)
class Drift:
    """One measure of a cell with its present model: medians of its first and its last results, and the chance that a
    value of the last exceeds one of the first (NaN where too few are known)."""

    name: str
    before: float
    now: float
    chance: float

    @property
    def drifted(self) -> bool:
        return self.chance > DRIFTED or self.chance < 1 - DRIFTED


def read_shifts(text: str) -> tuple[int, ...]:
    """Hours such as "6,14,22"; InputError."""
    try:
        hours = sorted({int(hour) for hour in text.split(",")})
        if not all(0 <= hour < 24 for hour in hours):
            raise ValueError
    except ValueError as error:
        raise InputError(f"--shifts {text}: expected hours from 0 to 23, such as 6,14,22") from error
    return tuple(hours)


def shift_start(moment: datetime, shifts: Sequence[int] = SHIFTS) -> datetime:
    """When the shift of a local time began."""
    hours = [hour for hour in shifts if hour <= moment.hour]
    day = moment if hours else moment - timedelta(days=1)
    return day.replace(hour=max(hours or shifts), minute=0, second=0, microsecond=0)


def rates(connection: Connection, asked: Filter, by: str, shifts: Sequence[int] = SHIFTS) -> list[Rates]:
    """Verdicts per "hour", "shift" or "day", in order. Filters by part, reason and opinion do not apply."""
    p = periods.c
    statement = select(p.period, p.verdict, func.sum(p.count)).where(*_of_periods(asked)).group_by(p.period, p.verdict)
    found: dict[datetime, Counter[str]] = {}
    for period, verdict, count in connection.execute(statement):
        moment = datetime.fromtimestamp(period * PERIOD // SECOND).astimezone()
        start = shift_start(moment, shifts) if by == "shift" else moment.replace(minute=0)
        start = moment.replace(hour=0, minute=0) if by == "day" else start
        found.setdefault(start, Counter())[Verdict(verdict).name] += int(count)
    return [Rates(start, {v.name: counts[v.name] for v in Verdict}) for start, counts in sorted(found.items())]


def reasons(connection: Connection, asked: Filter) -> list[tuple[str, int]]:
    """Reasons of what did not pass, the most frequent first."""
    p = periods.c
    statement = select(p.reason, func.sum(p.count)).where(*_of_periods(asked), p.verdict != int(Verdict.PASS))
    counts = [(reason_name(reason), int(count)) for reason, count in connection.execute(statement.group_by(p.reason))]
    return sorted(counts, key=lambda pair: (-pair[1], pair[0]))


def defect_places(connection: Connection, asked: Filter) -> list[Place]:
    """Where the newest defects lie on the part, the places with the most first."""
    d = defects.c
    statement = (
        select(d.place_x, d.place_y, d.place_z, d.kind, d.result_id)
        .join(results).where(*asked.conditions(), d.place_x.is_not(None)).order_by(d.time_ns.desc()).limit(MOST_ROWS)
    )  # fmt: skip
    rows = connection.execute(statement).all()
    if not rows:
        return []
    points = np.array([row[:3] for row in rows], np.float64)
    side = max(float(np.ptp(points, axis=0).max()) / PLACES_ACROSS, 1e-9)
    cells = np.floor((points - points.min(axis=0)) / side).astype(int)
    _, inverse, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    belongs = inverse.ravel()
    centres = np.stack([np.bincount(belongs, axis) for axis in points.T], axis=1) / counts[:, None]
    kinds = [Counter[str]() for _ in counts]
    parts: list[set[int]] = [set() for _ in counts]
    for number, row in zip(belongs.tolist(), rows, strict=True):
        kinds[number][row.kind] += 1
        parts[number].add(row.result_id)
    found = [
        Place((x, y, z), int(count), len(of_parts), dict(of_kind))
        for (x, y, z), count, of_parts, of_kind in zip(centres.tolist(), counts, parts, kinds, strict=True)
    ]
    return sorted(found, key=lambda place: -place.parts)


def latencies(connection: Connection, asked: Filter) -> dict[str, tuple[float, float, float]]:
    """p50, p95 and p99 of each stage's milliseconds, of the newest results."""
    columns = [results.c[name] for name in STAGES]
    statement = select(*columns).where(*asked.conditions()).order_by(results.c.time_ns.desc()).limit(MOST_ROWS)
    values = _floats(connection.execute(statement).all())
    found = {}
    for name, column in zip(STAGES, values.T):
        known = column[np.isfinite(column)]
        if len(known):
            p50, p95, p99 = (float(v) for v in np.percentile(known, [50, 95, 99]))
            found[name] = (p50, p95, p99)
    return found


def drift(connection: Connection, cell: str) -> list[Drift]:
    """Light, focus, pose and model of a cell: its last results against the first ones with the same model, and their
    scores against the model's calibration."""
    r = results.c
    newest = select(r.model_hash).where(r.cell == cell, r.model_hash != "").order_by(r.time_ns.desc()).limit(1)
    model = connection.scalar(newest)
    if model is None:
        return []
    names = (r.light_change, r.sharpness, r.view_share, r.score, r.reason)
    of_model = select(*names).where(r.cell == cell, r.model_hash == model)
    first = _floats(connection.execute(of_model.order_by(r.time_ns).limit(BASELINE)).all())
    last = _floats(connection.execute(of_model.order_by(r.time_ns.desc()).limit(RECENT)).all())
    scores = connection.scalar(select(models.c.summary).where(models.c.hash == model))
    good = np.array(json.loads(scores)["scores"] if scores else [], np.float64)
    lost = [np.isin(part[:, 4], POSE_REASONS).astype(float) for part in (first, last)]
    found = [
        _drift("light: change from the trained light", first[:, 0], last[:, 0]),
        _drift("focus: sharpness of edges", first[:, 1], last[:, 1]),
        _drift("pose: share of the surface in view", first[:, 2], last[:, 2]),
        Drift("pose: share not localized", float(lost[0].mean()), float(lost[1].mean()), float("nan")),
        _drift("model: scores", first[:, 3], last[:, 3]),
    ]
    if len(good):
        found.append(_drift("model: scores against its calibration", good, last[:, 3]))
    return found


def drifts(connection: Connection, asked: Filter) -> dict[str, list[Drift]]:
    """The drift of each cell that is asked for."""
    return {cell: drift(connection, cell) for cell in ([asked.cell] if asked.cell else known_cells(connection))}


def summary(connection: Connection, asked: Filter, by: str, shifts: Sequence[int] = SHIFTS) -> dict[str, Any]:
    """All of the above as plain values, as `pad history stats --json` prints it."""
    return {
        "rates": [{"start": r.start.isoformat(), **r.counts} for r in rates(connection, asked, by, shifts)],
        "reasons": dict(reasons(connection, asked)),
        "places": [vars(place) for place in defect_places(connection, asked)],
        "latency_ms": {
            name.removesuffix("_ms"): dict(zip(("p50", "p95", "p99"), values))
            for name, values in latencies(connection, asked).items()
        },
        "drift": {
            cell: [{**vars(d), "drifted": d.drifted} for d in found]
            for cell, found in drifts(connection, asked).items()
        },
    }


def _of_periods(asked: Filter) -> list[ColumnElement[bool]]:
    p = periods.c
    found: list[ColumnElement[bool]] = [p.period >= asked.since_ns // PERIOD]
    if asked.until_ns is not None:
        found.append(p.period < -(-asked.until_ns // PERIOD))
    if asked.cell:
        found.append(p.cell == asked.cell)
    if asked.verdict is not None:
        found.append(p.verdict == int(asked.verdict))
    if asked.model:
        named = select(models.c.hash).where(models.c.name == asked.model)
        found.append(p.model_hash.startswith(asked.model, autoescape=True) | p.model_hash.in_(named))
    return found


def _drift(name: str, before: NDArray[np.float64], now: NDArray[np.float64]) -> Drift:
    before, now = before[np.isfinite(before)], now[np.isfinite(now)]
    if min(len(before), len(now)) < FEWEST:
        return Drift(name, _median(before), _median(now), float("nan"))
    return Drift(name, _median(before), _median(now), auroc(before, now))


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _floats(found: Sequence[Any]) -> NDArray[np.float64]:
    """float64 [rows, columns], NaN for what is unknown."""
    columns = len(found[0]) if found else 5
    return np.array([[np.nan if v is None else v for v in row] for row in found], np.float64).reshape(-1, columns)
