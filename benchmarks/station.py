"""The station: results at a line's rate into SQLite and PostgreSQL, kill -9 of the writer, pages with many results.

    python benchmarks/station.py write [--results 10000] [--rate 20] [--postgres]
    python benchmarks/station.py kill [--times 20]
    python benchmarks/station.py pages [--results 1000000]

--postgres starts a server of its own (initdb and postgres must be installed).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import common
import numpy as np
import postgres
from sqlalchemy import delete, func, insert, select

from pad_ros.station import accounts
from pad_ros.station.database import open_history, writing
from pad_ros.station.picture_store import KINDS, PictureRule, PictureSet, PictureSettings
from pad_ros.station.place import Place
from pad_ros.station.record import SECOND, DefectRecord, ResultRecord, new_uid
from pad_ros.station.schema import KEPT, PENDING, models, results
from pad_ros.station.schema import pictures as picture_table
from pad_ros.station.storing import StoredPicture, attach, store
from pad_ros.station.writer import HistoryWriter, WriterSettings
from pad_ros.verdicts import Reason, Verdict

MODEL = "b" * 64
SIDE = 800  # px of the pictures
DAYS = 60  # that the results of `pages` are spread over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    write = actions.add_parser("write")
    write.add_argument("--results", type=int, default=10_000)
    write.add_argument("--rate", type=float, default=20.0, help="per second")
    write.add_argument("--postgres", action="store_true")
    kill = actions.add_parser("kill")
    kill.add_argument("--times", type=int, default=20)
    pages = actions.add_parser("pages")
    pages.add_argument("--results", type=int, default=1_000_000)
    pages.add_argument("--station", type=Path, help="a folder to fill, or that was filled before")
    child = actions.add_parser("child")
    child.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pad_station_") as folder:
        if arguments.action == "write":
            measure_writing(Path(folder), arguments.results, arguments.rate, arguments.postgres)
        elif arguments.action == "kill":
            measure_kills(Path(folder), arguments.times)
        elif arguments.action == "pages":
            measure_pages(arguments.station or Path(folder), arguments.results)
        else:
            run_child(arguments.folder)
    return 0


def record(rng: random.Random, time_ns: int, cell: str = "line") -> ResultRecord:
    """5 % rejected at one of a few places, 1 % held; scores of good parts spread as those of a model."""
    chance = rng.random()
    verdict = Verdict.REJECT if chance < 0.05 else Verdict.HOLD if chance < 0.06 else Verdict.PASS
    score = None if verdict is Verdict.HOLD else rng.lognormvariate(0.0, 0.12) * (2 if verdict is Verdict.REJECT else 1)
    place = tuple(rng.choice((0.1, 0.4, 0.9)) + rng.gauss(0, 0.02) for _ in range(3))
    found = (DefectRecord((100, 120, 30, 20), 400, 2.0, place, rng.choice(("ADDED", "MISSING", "CHANGED"))),)
    reason = {Verdict.PASS: Reason.NONE, Verdict.REJECT: Reason.ANOMALY, Verdict.HOLD: Reason.BLUR}[verdict]
    return ResultRecord(
        time_ns, cell, f"part-{rng.randrange(10**9)}", "bracket", MODEL, verdict, int(reason), "score against limit",
        score, 1.5, rng.random(), 0.99, rng.gauss(0.02, 0.004), None, (60.0, 20.0, 40.0, rng.gauss(125, 6)), time_ns,
        defects=found if verdict is Verdict.REJECT else (), uid=new_uid(),
    )  # fmt: skip


def pictures(rng: np.random.Generator) -> PictureSet:
    """Smooth pictures with a little noise, as a camera's."""
    ramp = np.linspace(40, 200, SIDE)[:, None, None] + np.zeros((SIDE, SIDE, 3))
    query = np.clip(ramp + rng.normal(0, 3, ramp.shape), 0, 255).astype(np.uint8)
    heatmap = np.full((SIDE, SIDE), 0.3, np.float32)
    heatmap[100:130, 100:130] = 2.5
    return PictureSet(query, ramp.astype(np.uint8), heatmap)


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_writing(folder: Path, count: int, rate: float, with_postgres: bool) -> None:
    rows = []
    with ExitStack() as stack:
        url = stack.enter_context(postgres.server()).url if with_postgres else ""
        place = Place(folder / "station", url)
        offered: dict[str, float] = {}
        delays: list[float] = []

        def committed(done: Sequence[ResultRecord]) -> None:
            now = time.monotonic()
            delays.extend(now - offered.pop(one.uid) for one in done)

        settings = WriterSettings(pictures=PictureSettings(PictureRule(random_share=0.01, lowest_p=0.0)))
        writer = HistoryWriter(place, settings, committed, lambda: {"line": {"committed": len(delays)}})
        rng, shown, memory, kept, slowest = random.Random(0), pictures(np.random.default_rng(0)), [], 0, 0.0
        began = time.monotonic()
        for i in range(count):
            time.sleep(max(0.0, began + i / rate - time.monotonic()))
            one = record(rng, time.time_ns())
            wanted = writer.wants_pictures(one)
            kept += wanted
            offered[one.uid] = before = time.monotonic()
            writer.offer(one, shown if wanted else None)
            slowest = max(slowest, time.monotonic() - before)
            if i % max(count // 10, 1) == count // 20:
                memory.append(memory_mb())
        took = time.monotonic() - began
        status = writer.close(120)
        engine = open_history(place)
        with engine.connect() as connection:
            there = int(connection.scalar(select(func.count()).select_from(results)) or 0)
        engine.dispose()
        p50, p99 = np.percentile(delays, [50, 99])
        name = "PostgreSQL" if with_postgres else "SQLite"
        rows.append([name, count, round(count / took, 1), there, status.lost + status.refused, kept,
                     status.lost_pictures, round(1000 * p50), round(1000 * p99), round(1000 * slowest, 1),
                     round(memory[1]), round(memory[-1])])  # fmt: skip
    common.write_result(
        f"station_write_{name.lower()}", f"The station: results into {name}",
        ["database", "results", "per second", "in the database", "lost", "with pictures", "without theirs",
         "until committed, p50 ms", "p99 ms", "longest wait of who offers one, ms", "memory MB at 15 %", "at 95 %"],
        rows, "Results as of a line, 6 % of them not passed; these and 1 % of the others with pictures of "
        f"{SIDE}x{SIDE} px (query as PNG, reference and overlay as JPEG, heatmap as 16-bit PNG). All in one process. "
        f"Scheduling priority (nice) {os.nice(0)}, load average {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores.",
    )  # fmt: skip


def run_child(folder: Path) -> None:
    """Writes without end; prints what is committed."""
    settings = WriterSettings("line")
    writer = HistoryWriter(Place(folder), settings, lambda done: print(*(one.uid for one in done), flush=True))
    rng, shown = random.Random(os.getpid()), pictures(np.random.default_rng(0))
    while True:
        one = record(rng, time.time_ns())
        wanted = writer.wants_pictures(one) and writer.status().waiting_pictures < 20
        writer.offer(one, shown if wanted else None)
        while writer.status().waiting > 300:
            time.sleep(0.01)


def measure_kills(folder: Path, times: int) -> None:
    place, acknowledged, opened, rng = Place(folder), set[str](), 0, random.Random(1)
    for _ in range(times):
        child = subprocess.Popen([sys.executable, __file__, "child", str(folder)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        acknowledged |= set(child.stdout.readline().split())
        time.sleep(rng.uniform(0.0, 1.0))
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read()
        acknowledged |= {uid for line in rest.splitlines(keepends=True) if line.endswith("\n") for uid in line.split()}
        child.wait()
        engine = open_history(place)
        with engine.connect() as connection:
            opened += connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        engine.dispose()
    left = orphans(place)
    writer = HistoryWriter(place, WriterSettings("line"))
    while writer._pictures._sweep is not None:
        time.sleep(0.05)
    writer.close()
    engine = open_history(place)
    with engine.connect() as connection:
        there = set(connection.scalars(select(results.c.uid)))
        waiting = connection.scalar(select(func.count()).where(results.c.picture_state == PENDING))
    engine.dispose()
    common.write_result(
        "station_kills", "The station: kill -9 of the writer",
        ["kills", "acknowledged results", "of them lost", "times that the database opened and was whole",
         "files without rows after the last kill", "after the next start", "results that wait for pictures in vain"],
        [[times, len(acknowledged), len(acknowledged - there), opened, left, orphans(place), waiting]],
        "SQLite; a result is acknowledged when its transaction is committed. The process is killed up to a second "
        f"after its first commit, while it writes results as fast as it can, and pictures of {SIDE}x{SIDE} px by the "
        f"default rule. Load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores.",
    )  # fmt: skip


def orphans(place: Place) -> int:
    """Files that no row names, and rows without files."""
    engine = open_history(place)
    with engine.connect() as connection:
        named = set(connection.scalars(select(picture_table.c.path)))
    engine.dispose()
    there = {path.relative_to(place.pictures).as_posix() for path in place.pictures.rglob("*") if path.is_file()}
    return len(named ^ there)


def fill(place: Place, begin: int, end: int, total: int) -> None:
    engine, rng = open_history(place), random.Random(begin)
    step = DAYS * 86_400 * SECOND // total
    first = time.time_ns() - DAYS * 86_400 * SECOND
    for start in range(begin, end, 2000):
        batch = [record(rng, first + i * step) for i in range(start, min(start + 2000, end))]
        kept = {one.uid for one in batch if one.verdict is not Verdict.PASS}
        with writing(engine).begin() as connection:
            store(connection, [(one, one.uid in kept) for one in batch])
            for one in batch:
                if one.uid in kept:  # rows only: no page of these reads the files
                    files = [StoredPicture(kind, f"{one.uid}_{kind}", 300_000, None) for kind in KINDS]
                    attach(connection, one, KEPT, files)
    engine.dispose()


def measure_pages(folder: Path, most: int) -> None:
    from starlette.testclient import TestClient

    from pad_ros.station.web.app import create_app
    from pad_ros.station.web.context import Station
    from pad_ros.station.web.jobs import Jobs

    place = Place(folder)
    engine, done = open_history(place), 0
    with engine.connect() as connection:
        done = int(connection.scalar(select(func.count()).select_from(results)) or 0)
    accounts.set_user(engine, "bench", "engineer", "a long password", "bench")
    summary = json.dumps({"lines": [], "scores": [1.0] * 50, "calibrations": []})
    with engine.begin() as connection:
        connection.execute(delete(models))
        connection.execute(
            insert(models).values(hash=MODEL, name="bracket", folder=str(folder), added_ns=0, added_by="bench",
                                  threshold=1.5, rate=0.01, summary=summary)
        )  # fmt: skip
    station = Station(place, engine, Jobs(place, engine))
    client = TestClient(create_app(station, ["testserver"]), headers={"origin": "http://testserver"})
    client.post("/sign-in", data={"name": "bench", "password": "a long password"})
    paths = ["/live/fragment", "/review", "/threshold", "/models", "/part", "/health", "/changes"]
    rows: dict[str, list[object]] = {path: [path] for path in paths}
    columns = ["page"]
    for count in sorted({count for count in (most // 100, most // 10, most) if count >= done}):
        fill(place, done, count, most)
        done = count
        for path in paths:
            rows[path] += [round(1000 * v, 1) for v in timed(lambda path=path: client.get(path))]
        columns += [f"{count} results: p50 ms", "p95 ms", "CPU ms"]
    size = sum(path.stat().st_size for path in folder.glob("history.sqlite*")) / 1e6
    common.write_result(
        "station_pages", "The station: time of a page by the number of results", columns, list(rows.values()),
        f"SQLite, {size:.0f} MB at the end; results spread over {DAYS} days, 6 % not passed, each of these with four "
        "pictures, none reviewed. From request to whole answer within one process, 20 requests for each page after one "
        "that is not counted; CPU: processor time of one. Scheduling priority (nice) "
        f"{os.nice(0)}, load average {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores.",
    )  # fmt: skip


def timed(ask: Callable[[], object]) -> tuple[float, float, float]:
    """p50 and p95, and p50 of the processor time, which does not depend on what else runs; seconds."""
    times, processor = [], []
    for _ in range(21):
        before, spent = time.perf_counter(), time.process_time()
        answer = ask()
        times.append(time.perf_counter() - before)
        processor.append(time.process_time() - spent)
        assert getattr(answer, "status_code", 0) == 200
    p50, p95 = np.percentile(times[1:], [50, 95])
    return float(p50), float(p95), float(np.median(processor[1:]))


if __name__ == "__main__":
    sys.exit(main())
