"""Rows of the history: one batch of records in one transaction."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from ..verdicts import Verdict
from .record import SECOND, ResultRecord
from .schema import DONE, FIRST, SAMPLE, cells, defects, periods, pictures, results, score_days

STEPS_PER_DOUBLING = 32  # of the histogram of scores: 2.2 % each
FARTHEST_STEP = 640
PERIOD, DAY = 900 * SECOND, 86_400 * SECOND

Numbers = ("score", "threshold", "p_value", "view_share", "light_change", "sharpness", "image_ns", "trigger_ns")
Texts = ("uid", "time_ns", "cell", "part_id", "model_name", "model_hash", "reason", "reason_text", "source")


@dataclass(frozen=True)
class StoredPicture:
    """One file of the picture store. path: below pictures/; unit: of a heatmap, score per count."""

    kind: str
    path: str
    size: int
    unit: float | None = None


Stored = tuple[ResultRecord, Sequence[StoredPicture]]


def score_step(score: float) -> int:
    """The step of the histogram that a score falls into."""
    step = math.floor(STEPS_PER_DOUBLING * math.log2(max(score, 1e-9)))
    return max(-FARTHEST_STEP, min(step, FARTHEST_STEP))


def step_start(step: int) -> float:
    """The score that a step begins at."""
    return float(2 ** (step / STEPS_PER_DOUBLING))


def store(connection: Connection, batch: Sequence[Stored]) -> None:
    """Insert the records with all that belongs to them, except those that are there already: from an attempt whose
    answer was lost, or because a topic kept them for those who subscribe late."""
    uids = [record.uid for record, _ in batch]
    known = set(connection.scalars(select(results.c.uid).where(results.c.uid.in_(uids))))
    batch = [pair for uid, pair in {pair[0].uid: pair for pair in batch}.items() if uid not in known]
    if not batch:
        return
    asked = insert(results).returning(results.c.id, sort_by_parameter_order=True)
    ids = connection.scalars(asked, [_row(record, bool(files)) for record, files in batch]).all()
    found = [row for key, (record, _) in zip(ids, batch, strict=True) for row in _defect_rows(key, record)]
    if found:
        connection.execute(insert(defects), found)
    kept = [
        {"result_id": key, "time_ns": record.time_ns, "kind": p.kind, "path": p.path, "bytes": p.size, "unit": p.unit}
        for key, (record, files) in zip(ids, batch, strict=True)
        for p in files
    ]
    if kept:
        connection.execute(insert(pictures), kept)
    _count(connection, [record for record, _ in batch])


def report_cell(connection: Connection, name: str, seen_ns: int, state: dict[str, Any]) -> None:
    """What a cell's recorder says of it, in place of what it said before."""
    values = {"seen_ns": seen_ns, "state": json.dumps(state)}
    statement = _upsert(connection, cells).values(name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[cells.c.name], set_=values))


def _row(record: ResultRecord, pictured: bool) -> dict[str, Any]:
    localize, render, score, total = record.latencies_ms
    return {
        **{name: getattr(record, name) for name in (*Texts, *Numbers)},
        "verdict": int(record.verdict), "localize_ms": localize, "render_ms": render, "score_ms": score,
        "total_ms": total, "pose": None if record.pose is None else json.dumps(record.pose),
        "queue": FIRST if record.verdict is not Verdict.PASS else SAMPLE if pictured else DONE,
    }  # fmt: skip


def _defect_rows(key: int, record: ResultRecord) -> list[dict[str, Any]]:
    rows = []
    for defect in record.defects:
        x, y, width, height = defect.box
        place_x, place_y, place_z = defect.place or (None, None, None)
        rows.append(
            {"result_id": key, "time_ns": record.time_ns, "model_hash": record.model_hash, "x": x, "y": y,
             "width": width, "height": height, "area": defect.area, "peak_score": defect.peak_score,
             "place_x": place_x, "place_y": place_y, "place_z": place_z, "kind": defect.kind}
        )  # fmt: skip
    return rows


def _count(connection: Connection, records: Sequence[ResultRecord]) -> None:
    by_period = Counter((r.time_ns // PERIOD, r.cell, r.model_hash, int(r.verdict), r.reason) for r in records)
    scored = [(r.time_ns // DAY, r.cell, r.model_hash, int(r.verdict), score_step(r.score)) for r in records if r.score]
    for table, counts in ((periods, by_period), (score_days, Counter(scored))):
        if not counts:
            continue
        keys = [column.name for column in table.primary_key.columns]
        # In order, so that two recorders do not wait for each other.
        rows = [{**dict(zip(keys, key, strict=True)), "count": count} for key, count in sorted(counts.items())]
        statement = _upsert(connection, table)
        more = {"count": table.c.count + statement.excluded.count}
        connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=more), rows)


def _upsert(connection: Connection, table: Any) -> Any:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)
