"""Rows of the history: one batch of records in one transaction."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ..verdicts import Verdict
from .record import SECOND, ResultRecord
from .schema import (
    DONE,
    FIRST,
    KEPT,
    PENDING,
    SAMPLE,
    UNWANTED,
    cells,
    defects,
    periods,
    pictures,
    results,
    score_days,
)

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


Wanted = tuple[ResultRecord, bool]  # whether pictures of it are to come


def score_step(score: float) -> int:
    """The step of the histogram that a score falls into."""
    step = math.floor(STEPS_PER_DOUBLING * math.log2(max(score, 1e-9)))
    return max(-FARTHEST_STEP, min(step, FARTHEST_STEP))


def step_start(step: int) -> float:
    """The score that a step begins at."""
    return float(2 ** (step / STEPS_PER_DOUBLING))


def store(connection: Connection, batch: Sequence[Wanted]) -> None:
    """Insert the records with their defects, except those that are there already: from an attempt whose answer was
    lost, or because a topic kept them for those who subscribe late. Pictures follow, see `attach`."""
    uids = [record.uid for record, _ in batch]
    known = set(connection.scalars(select(results.c.uid).where(results.c.uid.in_(uids))))
    batch = [pair for uid, pair in {pair[0].uid: pair for pair in batch}.items() if uid not in known]
    if not batch:
        return
    asked = insert(results).returning(results.c.id, sort_by_parameter_order=True)
    ids = connection.scalars(asked, [_row(record, wanted) for record, wanted in batch]).all()
    found = [row for key, (record, _) in zip(ids, batch, strict=True) for row in _defect_rows(key, record)]
    if found:
        connection.execute(insert(defects), found)
    _count(connection, [record for record, _ in batch])


def attach(connection: Connection, record: ResultRecord, outcome: int, files: Sequence[StoredPicture]) -> bool:
    """Say what became of a result's pictures: KEPT with the files, DROPPED or ABSENT. False where the result is
    unknown; what is kept stays kept, as an answer may have been lost."""
    asked = select(results.c.id, results.c.picture_state).where(results.c.uid == record.uid).with_for_update()
    row = connection.execute(asked).first()
    if row is None:
        return False
    if row.picture_state == KEPT or outcome != KEPT and row.picture_state != PENDING:
        return True
    changes: dict[str, Any] = {"picture_state": outcome}
    if outcome == KEPT:
        about = {"result_id": row.id, "time_ns": record.time_ns}
        kept = [{**about, "kind": p.kind, "path": p.path, "bytes": p.size, "unit": p.unit} for p in files]
        connection.execute(insert(pictures), kept)
        if record.verdict is Verdict.PASS:  # now there is something to judge it by
            changes["queue"] = case((results.c.queue == DONE, SAMPLE), else_=results.c.queue)
    connection.execute(update(results).where(results.c.id == row.id).values(**changes))
    return True


def report_cell(connection: Connection, name: str, seen_ns: int, state: dict[str, Any]) -> None:
    """What a cell's recorder says of it, in place of what it said before."""
    values = {"seen_ns": seen_ns, "state": json.dumps(state)}
    statement = _upsert(connection, cells).values(name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=[cells.c.name], set_=values))


def _row(record: ResultRecord, wanted: bool) -> dict[str, Any]:
    localize, render, score, total = record.latencies_ms
    return {
        **{name: getattr(record, name) for name in (*Texts, *Numbers)},
        "verdict": int(record.verdict), "localize_ms": localize, "render_ms": render, "score_ms": score,
        "total_ms": total, "pose": None if record.pose is None else json.dumps(record.pose),
        "queue": DONE if record.verdict is Verdict.PASS else FIRST, "picture_state": PENDING if wanted else UNWANTED,
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
