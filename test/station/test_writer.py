"""The writer: nothing that was acknowledged is lost, and whoever offers a result never waits or fails."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select
from station_records import make_pictures, make_record, uids, wait_for, write_history

from pad_ros.errors import InputError
from pad_ros.station import writer as module
from pad_ros.station.database import open_history
from pad_ros.station.place import Place
from pad_ros.station.schema import defects, periods, results, score_days
from pad_ros.station.writer import HistoryWriter, WriterSettings
from pad_ros.verdicts import Verdict


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr("pad_ros.station.database.BUSY_MS", 100)


def test_results_are_kept_with_defects_and_counts(tmp_path):
    records = [make_record(verdict) for verdict in (Verdict.PASS, Verdict.REJECT, Verdict.HOLD) for _ in range(70)]
    _, engine = write_history(tmp_path, records)
    assert uids(engine) == {record.uid for record in records}
    with engine.connect() as connection:
        assert sum(connection.scalars(select(periods.c.count))) == 210
        assert sum(connection.scalars(select(score_days.c.count))) == 140
        assert len(connection.execute(select(defects)).all()) == 70
        waiting = connection.execute(select(results.c.verdict).where(results.c.queue == 1)).all()
        assert len(waiting) == 140
        row = connection.execute(select(results).where(results.c.uid == records[70].uid)).one()
    assert (row.score, row.part_id, row.total_ms, row.reason) == (2.5, "part-1", 61.0, 1)


def test_a_locked_database_is_waited_for(tmp_path):
    place, engine = write_history(tmp_path, [make_record()])
    other = sqlite3.connect(place.database_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = HistoryWriter(place)
    records = [make_record() for _ in range(5)]
    for record in records:
        assert writer.offer(record)
    wait_for(lambda: "locked" in writer.status().problem, "the problem to be said")
    assert writer.status().committed == 0
    other.execute("ROLLBACK")
    assert writer.close().committed == 5
    assert {record.uid for record in records} <= uids(engine)


def test_a_database_that_is_deleted_is_begun_anew(tmp_path):
    place = Place(tmp_path / "station")
    writer = HistoryWriter(place)
    writer.offer(make_record())
    assert writer.flush(30)
    for file in place.folder.iterdir():
        file.unlink()
    record = make_record()
    writer.offer(record)
    status = writer.close()
    assert (status.committed, status.reopened, status.problem) == (2, 1, "")
    assert uids(open_history(place)) == {record.uid}


def test_a_folder_that_is_unmounted_is_waited_for_and_not_replaced(tmp_path):
    place = Place(tmp_path / "station")
    writer = HistoryWriter(place)
    writer.offer(first := make_record())
    assert writer.flush(30)
    place.folder.rename(tmp_path / "elsewhere")
    writer.offer(second := make_record())
    wait_for(lambda: writer.status().problem, "the problem to be said")
    assert not place.folder.exists()
    (tmp_path / "elsewhere").rename(place.folder)
    assert writer.close().committed == 2
    assert uids(open_history(place)) == {first.uid, second.uid}


def test_on_a_full_disk_results_wait_and_are_written_later(tmp_path, file_size_limit):
    place, engine = write_history(tmp_path, [make_record()])
    writer = HistoryWriter(place)
    records = [make_record(Verdict.REJECT, reason_text="x" * 900) for _ in range(300)]
    with file_size_limit(40_000):
        for record in records:
            assert writer.offer(record, make_pictures())
        wait_for(lambda: writer.status().problem, "the problem to be said")
        assert writer.status().committed < 300
    assert writer.close(30).committed == 300
    assert {record.uid for record in records} <= uids(engine)


def test_pictures_that_do_not_fit_on_the_disk_are_counted_and_their_results_kept(tmp_path):
    place, engine = write_history(tmp_path, [make_record()])
    place.pictures.write_text("no folder")
    writer = HistoryWriter(place)
    writer.offer(make_record(Verdict.REJECT), make_pictures())
    status = writer.close()
    assert (status.committed, status.lost_pictures) == (1, 1) and "pictures are not kept" in status.picture_problem
    assert len(uids(engine)) == 2


def test_what_does_not_fit_into_memory_is_counted(tmp_path):
    place, _ = write_history(tmp_path, [make_record()])
    other = sqlite3.connect(place.database_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = HistoryWriter(place, WriterSettings(max_results=10, max_picture_bytes=make_pictures().size))
    wait_for(lambda: writer.offer(make_record(), make_pictures()), "a writer")
    offered = [writer.offer(make_record(), make_pictures()) for _ in range(14)]
    assert offered == 9 * [True] + 5 * [False]
    status = writer.status()
    assert (status.waiting, status.lost) == (10, 5) and status.lost_pictures >= 8
    other.execute("ROLLBACK")
    assert writer.close().committed == 10


def test_a_result_that_the_database_refuses_does_not_keep_the_others(tmp_path):
    writer = HistoryWriter(Place(tmp_path))
    fine = [make_record() for _ in range(4)]
    for record in (*fine[:2], make_record(image_ns=2**70), make_record(cell=None), *fine[2:]):
        writer.offer(record)
    status = writer.close()
    assert (status.committed, status.refused, status.problem) == (4, 2, "")
    assert uids(open_history(Place(tmp_path))) == {record.uid for record in fine}


def test_an_attempt_whose_answer_was_lost_is_not_written_twice(tmp_path, monkeypatch):
    original, failed = HistoryWriter._done, []

    def lost(self, batch, refused):
        if not failed:
            failed.append(True)
            raise ConnectionError("the answer was lost")
        original(self, batch, refused)

    monkeypatch.setattr(HistoryWriter, "_done", lost)
    records = [make_record() for _ in range(5)]
    _, engine = write_history(tmp_path, records)
    with engine.connect() as connection:
        assert sorted(connection.scalars(select(results.c.uid))) == sorted(record.uid for record in records)
        assert sum(connection.scalars(select(periods.c.count))) == 5


def test_what_waits_when_the_writer_is_closed_counts_as_lost(tmp_path):
    place, _ = write_history(tmp_path, [make_record()])
    other = sqlite3.connect(place.database_file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = HistoryWriter(place)
    writer.offer(make_record(Verdict.REJECT), make_pictures())
    status = writer.close(timeout=0.3)
    assert (status.committed, status.lost) == (0, 1)
    assert not list(place.pictures.rglob("*.png")), "pictures of lost results go"
    assert not writer.offer(make_record())


def test_a_damaged_database_is_named_and_left_as_it_is(tmp_path):
    place = Place(tmp_path)
    place.database_file.write_bytes(b"no database at all" * 300)
    writer = HistoryWriter(place)
    writer.offer(make_record())
    wait_for(lambda: "not a database" in writer.status().problem, "the problem to be said")
    assert writer.close(timeout=0.1).lost == 1
    assert place.database_file.read_bytes().startswith(b"no database")
    with pytest.raises(InputError, match=r"history\.sqlite: the history cannot be opened"):
        open_history(place)


def test_wrong_urls_are_refused_at_once(tmp_path):
    for url in ("nonsense", "mysql://host/db", "sqlite+unknown:///x"):
        with pytest.raises(InputError, match="database URL"):
            HistoryWriter(Place(tmp_path, url))


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from station_records import make_record
from pad_ros.station.place import Place
from pad_ros.station.writer import HistoryWriter
writer = HistoryWriter(Place(Path(sys.argv[1])), on_committed=lambda done: print(*(r.uid for r in done), flush=True))
while True:
    writer.offer(make_record())
    if writer.status().waiting > 500:
        writer.flush(10)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    acknowledged: set[str] = set()
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        acknowledged |= set(child.stdout.readline().split())
        time.sleep(0.1)
        os.kill(child.pid, signal.SIGKILL)
        acknowledged |= {uid for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")
                         for uid in line.split()}  # fmt: skip
        child.wait()
    assert len(acknowledged) >= 3
    assert acknowledged <= uids(open_history(Place(tmp_path)))
