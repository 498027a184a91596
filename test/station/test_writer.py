"""The writer: nothing that was acknowledged is lost, and whoever offers a result never waits or fails."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import select
from station_records import make_pictures, make_record, uids, wait_for, write_history

from pad_ros.errors import InputError
from pad_ros.station import writer as module
from pad_ros.station.database import open_history
from pad_ros.station.picture_store import PictureSet, PictureStore
from pad_ros.station.place import Place
from pad_ros.station.schema import (
    ABSENT,
    DROPPED,
    KEPT,
    PENDING,
    SAMPLE,
    UNWANTED,
    defects,
    periods,
    pictures,
    results,
    score_days,
)
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


def picture_states(place) -> dict[str, int]:
    with open_history(place).connect() as connection:
        found = connection.execute(select(results.c.uid, results.c.picture_state))
        return {row.uid: row.picture_state for row in found}


def test_records_do_not_wait_for_their_pictures(tmp_path, monkeypatch):
    encoding = threading.Event()
    original = PictureStore.write

    def slow(self, record, found):
        assert encoding.wait(30)
        return original(self, record, found)

    monkeypatch.setattr(PictureStore, "write", slow)
    writer = HistoryWriter(Place(tmp_path))
    records = [make_record(Verdict.REJECT) for _ in range(5)]
    for record in records:
        writer.offer(record, make_pictures())
    wait_for(lambda: writer.status().committed == 5, "the records")
    assert set(picture_states(Place(tmp_path)).values()) == {PENDING}
    assert writer.status().waiting_pictures == 5
    encoding.set()
    assert writer.close().lost_pictures == 0
    assert set(picture_states(Place(tmp_path)).values()) == {KEPT}
    with open_history(Place(tmp_path)).connect() as connection:
        assert len(connection.execute(select(pictures)).all()) == 20


def test_what_became_of_the_pictures_stands_in_the_record(tmp_path):
    writer = HistoryWriter(Place(tmp_path), WriterSettings(max_picture_bytes=make_pictures().size))
    unwanted, kept, absent, dropped = records = [make_record(Verdict.PASS) for _ in range(4)]
    for record in records:
        writer.offer(record, later=record is not unwanted)
    writer.add_pictures(kept, make_pictures())
    writer.add_pictures(absent, PictureSet())
    writer.add_pictures(dropped, make_pictures(size=300))
    status = writer.close()
    assert (status.committed, status.lost_pictures) == (4, 1) and "no room in memory" in status.picture_problem
    assert picture_states(Place(tmp_path)) == {
        unwanted.uid: UNWANTED, kept.uid: KEPT, absent.uid: ABSENT, dropped.uid: DROPPED
    }  # fmt: skip
    with open_history(Place(tmp_path)).connect() as connection:
        samples = set(connection.scalars(select(results.c.uid).where(results.c.queue == SAMPLE)))
    assert samples == {kept.uid}, "only what can be looked at is a sample of what passed"


def test_pictures_that_wait_when_the_writer_is_closed_are_given_up_in_the_record(tmp_path, monkeypatch):
    monkeypatch.setattr("pad_ros.station.picture_writer.AT_ONCE", 1)
    original = PictureStore.write

    def slow(self, record, found):
        time.sleep(0.3)
        return original(self, record, found)

    monkeypatch.setattr(PictureStore, "write", slow)
    writer = HistoryWriter(Place(tmp_path))
    for record in (records := [make_record(Verdict.REJECT) for _ in range(5)]):
        writer.offer(record, make_pictures())
    wait_for(lambda: writer.status().committed == 5, "the records")
    status = writer.close(timeout=0.1)
    states = list(picture_states(Place(tmp_path)).values())
    assert status.committed == len(records) and status.lost_pictures == states.count(DROPPED) >= 1
    assert states.count(DROPPED) + states.count(KEPT) == 5


def test_pictures_of_a_history_that_was_deleted_meanwhile_go(tmp_path, monkeypatch):
    place = Place(tmp_path / "station")
    writer = HistoryWriter(place)
    writer.offer(record := make_record(Verdict.REJECT), later=True)
    assert writer.flush(30)
    for file in place.folder.glob("history*"):
        file.unlink()
    writer.offer(make_record())
    wait_for(lambda: writer.status().reopened == 1, "a new history")
    writer.add_pictures(record, make_pictures())
    status = writer.close()
    assert status.lost_pictures == 1 and not list(place.pictures.rglob("*.*"))


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import time
from station_records import make_pictures, make_record
from pad_ros.station.place import Place
from pad_ros.station.writer import HistoryWriter, WriterSettings
from pad_ros.verdicts import Verdict
told = lambda done: print(*(r.uid for r in done), flush=True)
writer = HistoryWriter(Place(Path(sys.argv[1])), WriterSettings("/cell"), told)
while True:
    writer.offer(make_record(time_ns=time.time_ns()))
    writer.offer(make_record(Verdict.REJECT, time_ns=time.time_ns()), make_pictures(size=400))
    while writer.status().waiting > 500 or writer.status().waiting_pictures > 20:
        time.sleep(0.01)
"""


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_and_what_was_left_behind_is_swept(tmp_path):
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
    place = Place(tmp_path)
    assert PENDING in picture_states(place).values()
    writer = HistoryWriter(place, WriterSettings("/cell"))
    wait_for(lambda: writer._pictures._sweep is None, "the sweep")
    assert writer.close().lost == 0
    with open_history(place).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        named = set(connection.scalars(select(pictures.c.path)))
    there = {path.relative_to(place.pictures).as_posix() for path in place.pictures.rglob("*") if path.is_file()}
    assert there == named and PENDING not in picture_states(place).values()
