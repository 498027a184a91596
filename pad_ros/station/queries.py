"""Questions to the history: which results, by time, cell, part, verdict, reason, model and opinion."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, select

from ..errors import InputError
from ..verdicts import Reason, Verdict
from .record import SECOND, reason_name
from .schema import PICTURE_STATES, defects, results, reviews

OPINIONS = ("good", "defect", "unsure")
UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
AT_ONCE = 1000  # rows

COLUMNS = (
    "time", "cell", "part_id", "verdict", "reason", "reason_text", "score", "threshold", "p_value", "view_share",
    "light_change", "sharpness", "localize_ms", "render_ms", "score_ms", "total_ms", "model_name", "model_hash",
    "source", "opinion", "defects", "pictures", "uid",
)  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """Which results. Times are Unix ns, until is left out; model: the hash's beginning, or a name; limit 0: all."""

    since_ns: int = 0
    until_ns: int | None = None
    cell: str = ""
    part_id: str = ""
    verdict: Verdict | None = None
    reason: Reason | None = None
    model: str = ""
    opinion: str = ""
    limit: int = 0

    def conditions(self) -> list[ColumnElement[bool]]:
        """For a WHERE on the results."""
        r = results.c
        found: list[ColumnElement[bool]] = [r.time_ns >= self.since_ns]
        if self.until_ns is not None:
            found.append(r.time_ns < self.until_ns)
        if self.verdict is not None:
            found.append(r.verdict == int(self.verdict))
        if self.reason is not None:
            found.append(r.reason == int(self.reason))
        found += [column == value for column, value in ((r.cell, self.cell), (r.part_id, self.part_id)) if value]
        if self.model:
            found.append(r.model_hash.startswith(self.model, autoescape=True) | (r.model_name == self.model))
        if self.opinion:
            given = exists().where(and_(reviews.c.result_id == r.id, reviews.c.opinion == self.opinion))
            found.append(given)
        return found


def rows(connection: Connection, asked: Filter) -> Iterator[dict[str, Any]]:
    """COLUMNS of the results, the newest first; opinion: what all reviewers agree on, "disputed" where they do not."""
    statement: Select[Any] = select(results).where(*asked.conditions()).order_by(results.c.time_ns.desc())
    if asked.limit:
        statement = statement.limit(asked.limit)
    for part in connection.execute(statement).partitions(AT_ONCE):
        keys = [row.id for row in part]
        opinions = opinions_of(connection, keys)
        found = defects_of(connection, keys)
        for row in part:
            values = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
            yield {
                **values, "time": time_text(row.time_ns), "verdict": Verdict(row.verdict).name,
                "reason": reason_name(row.reason), "opinion": opinions.get(row.id, ""),
                "pictures": PICTURE_STATES[row.picture_state],
                "defects": json.dumps(found[row.id]) if row.id in found else "",
            }  # fmt: skip


def opinions_of(connection: Connection, keys: list[int]) -> dict[int, str]:
    """What the reviewers of each result agree on; "disputed" where they do not."""
    asked = select(reviews.c.result_id, func.min(reviews.c.opinion), func.max(reviews.c.opinion))
    asked = asked.where(reviews.c.result_id.in_(keys)).group_by(reviews.c.result_id)
    return {key: one if one == other else "disputed" for key, one, other in connection.execute(asked)}


def defects_of(connection: Connection, keys: list[int]) -> dict[int, list[dict[str, Any]]]:
    """The defects of each result, as plain values."""
    found: dict[int, list[dict[str, Any]]] = {}
    asked = select(defects).where(defects.c.result_id.in_(keys)).order_by(defects.c.id)
    for d in connection.execute(asked):
        place = None if d.place_x is None else [d.place_x, d.place_y, d.place_z]
        values = {"box": [d.x, d.y, d.width, d.height], "area": d.area, "kind": d.kind, "place": place}
        found.setdefault(d.result_id, []).append({**values, "peak_score": d.peak_score})
    return found


def known_cells(connection: Connection) -> list[str]:
    """All cells of which there is a result, by name; as quick with a million results, by jumps over the index."""
    found: list[str] = []
    while True:
        after = results.c.cell > found[-1] if found else results.c.cell.is_not(None)
        following = connection.scalar(select(func.min(results.c.cell)).where(after))
        if following is None:
            return found
        found.append(following)


def time_text(time_ns: int) -> str:
    """Local time with its offset, to the millisecond."""
    return datetime.fromtimestamp(time_ns / SECOND).astimezone().isoformat(timespec="milliseconds")


def read_time(text: str, now_ns: int | None = None) -> int:
    """Unix ns of "2026-06-01", "2026-06-01T14:00" (local time), or "8h" and the like before now; InputError."""
    now = time.time_ns() if now_ns is None else now_ns
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text.strip()):
        return max(0, now - int(found[1]) * UNITS[found[2]] * SECOND)
    try:
        return max(0, int(datetime.fromisoformat(text.strip()).timestamp() * 1e6) * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise InputError(
            f"{text!r}: expected a time as 2026-06-01T14:00, or 30m, 8h, 7d, 4w for so long ago"
        ) from error
