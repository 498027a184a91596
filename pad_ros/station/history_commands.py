"""`pad history list`, `stats` and `export`."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ..errors import InputError, MissingDependencyError
from ..reporting.output import make_folder, plain, written
from ..verdicts import Reason, Verdict
from . import statistics
from .database import open_history
from .export import export
from .place import Place
from .queries import COLUMNS, Filter, read_time, rows

ON_SCREEN = 50
PARQUET_ROWS = 50_000  # in one group
BAR = 40
NUMBERS = (
    "score", "threshold", "p_value", "view_share", "light_change", "sharpness", "localize_ms", "render_ms", "score_ms",
    "total_ms",
)  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """The exit status; InputError for a station without history, or options that contradict each other."""
    place = Place(arguments.station, arguments.database).existing()
    asked = _filter(arguments)
    action = {"list": _list, "stats": _stats, "export": _export}[arguments.action]
    engine = open_history(place)
    with engine.connect() as connection:
        action(connection, place, asked, arguments)
    engine.dispose()
    return 0


def _filter(arguments: argparse.Namespace) -> Filter:
    reason = None
    if arguments.reason is not None:
        if arguments.reason.upper() not in Reason.__members__:
            raise InputError(f"--reason {arguments.reason}: none of {', '.join(Reason.__members__)}")
        reason = Reason[arguments.reason.upper()]
    return Filter(
        since_ns=0 if arguments.since is None else read_time(arguments.since),
        until_ns=None if arguments.until is None else read_time(arguments.until),
        cell=arguments.cell, part_id=arguments.part, model=arguments.model, reason=reason, opinion=arguments.opinion,
        verdict=None if arguments.verdict is None else Verdict[arguments.verdict],
        limit=max(0, getattr(arguments, "limit", 0)),
    )  # fmt: skip


def _list(connection: Connection, place: Place, asked: Filter, arguments: argparse.Namespace) -> None:
    found = rows(connection, asked)
    if arguments.out is None:
        shown = list(islice(found, asked.limit or ON_SCREEN))
        print("\n".join(_table(shown)))
        if not asked.limit and len(shown) == ON_SCREEN:
            print(f"(the newest {ON_SCREEN}; --limit shows more, --out writes all)")
        return
    make_folder(arguments.out.parent)
    writers = {".csv": _write_csv, ".parquet": _write_parquet}
    if arguments.out.suffix.lower() not in writers:
        raise InputError(f"{arguments.out}: --out ends in .csv or .parquet")
    count = writers[arguments.out.suffix.lower()](arguments.out, found)
    print(f"{count} results: {arguments.out}")


def _table(found: Sequence[dict[str, Any]]) -> list[str]:
    head = f"{'time':<20}{'cell':<12}{'part':<20}{'verdict':<8}{'reason':<17}{'score':>7}{'limit':>7}{'ms':>7}  opinion"
    lines = [head]
    for row in found:
        score, threshold, total = (_short(row[name]) for name in ("score", "threshold", "total_ms"))
        lines.append(
            f"{row['time'][:19]:<20}{row['cell'][:11]:<12}{row['part_id'][:19]:<20}{row['verdict']:<8}"
            f"{row['reason'][:16]:<17}{score:>7}{threshold:>7}{total.split('.')[0]:>7}  {row['opinion']}".rstrip()
        )
    return lines if found else ["no results"]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _write_csv(path: Path, found: Iterator[dict[str, Any]]) -> int:
    count = 0
    with written(path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in found:
            writer.writerow({key: _defused(value) for key, value in row.items()})
            count += 1
    return count


def _defused(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe: a part_id comes from anybody."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _write_parquet(path: Path, found: Iterator[dict[str, Any]]) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow is missing: pip install 'pad_ros[parquet]', or write .csv") from error
    schema = pa.schema([(name, pa.float64() if name in NUMBERS else pa.string()) for name in COLUMNS])
    count = 0
    with written(path), parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(found, PARQUET_ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema))
            count += len(group)
    return count


def _stats(connection: Connection, place: Place, asked: Filter, arguments: argparse.Namespace) -> None:
    shifts = statistics.read_shifts(arguments.shifts)
    if asked.part_id or asked.reason is not None or asked.opinion:
        raise InputError("stats: --part, --reason and --opinion are for list and export")
    if arguments.json:
        print(json.dumps(plain(statistics.summary(connection, asked, arguments.by, shifts)), indent=1))
        return
    print(f"{arguments.by:<18}{'results':>9}{'PASS':>9}{'REJECT':>9}{'HOLD':>9}   rejected  held")
    for one in statistics.rates(connection, asked, arguments.by, shifts):
        counts = "".join(f"{one.counts[name]:>9}" for name in ("PASS", "REJECT", "HOLD"))
        shares = f"{100 * one.share('REJECT'):>9.2f} %{100 * one.share('HOLD'):>7.2f} %"
        print(f"{one.start:%Y-%m-%d %H:%M}  {one.total:>9}{counts}{shares}")
    _pareto("reasons", statistics.reasons(connection, asked))
    places = [
        (f"({x:.3g}, {y:.3g}, {z:.3g}) {', '.join(place.kinds)}", place.parts)
        for place in statistics.defect_places(connection, asked)[:10]
        for x, y, z in [place.centre]
    ]
    _pareto("places of defects on the part: results", places)
    for name, values in statistics.latencies(connection, asked).items():
        p50, p95, p99 = values
        print(f"{name.removesuffix('_ms'):<10} p50 {p50:8.1f} ms   p95 {p95:8.1f} ms   p99 {p99:8.1f} ms")
    for cell, found in statistics.drifts(connection, asked).items():
        for drift in found:
            mark = "   <- has drifted" if drift.drifted else ""
            print(f"{cell}: {drift.name}: {drift.before:.3g} at first, {drift.now:.3g} now{mark}")


def _pareto(title: str, counts: Sequence[tuple[str, int]]) -> None:
    if not counts:
        return
    print(f"{title}")
    total, running = sum(count for _, count in counts), 0
    for name, count in counts:
        running += count
        bar = "#" * max(1, round(BAR * count / counts[0][1]))
        print(f"  {name:<34}{count:>8}{100 * running / total:>7.1f} %  {bar}")


def _export(connection: Connection, place: Place, asked: Filter, arguments: argparse.Namespace) -> None:
    print("\n".join(export(connection, place, asked, arguments.out)))
