"""The same history in PostgreSQL; skips where no server is installed."""

import pytest
from benchmark_modules import benchmark
from sqlalchemy import select
from station_records import make_pictures, make_record, uids, wait_for

from pad_ros.errors import InputError
from pad_ros.station import reviews, statistics
from pad_ros.station import writer as module
from pad_ros.station.database import open_history
from pad_ros.station.place import Place
from pad_ros.station.queries import Filter, known_cells, rows
from pad_ros.station.schema import metadata, periods, results
from pad_ros.station.writer import HistoryWriter
from pad_ros.verdicts import Verdict

postgres = benchmark("postgres")


@pytest.fixture(scope="module")
def server():
    if postgres.programs() is None:
        pytest.skip("no PostgreSQL server (initdb, postgres) is installed")
    with postgres.server() as running:
        yield running


@pytest.fixture
def place(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.2)
    place = Place(tmp_path, server.url)
    engine = open_history(place)
    metadata.drop_all(engine)
    engine.dispose()
    return place


def test_results_are_kept_and_asked_for(place):
    writer = HistoryWriter(place, state=lambda: {"/cell": {"committed": 1}})
    records = [make_record(verdict) for verdict in Verdict for _ in range(150)]
    for record in records:
        writer.offer(record, make_pictures() if record.verdict is Verdict.REJECT else None)
    writer.offer(records[0])  # a second time
    assert writer.close(60).committed == 451
    engine = open_history(place)
    assert uids(engine) == {record.uid for record in records}
    with engine.connect() as connection:
        assert sum(connection.scalars(select(periods.c.count))) == 450
        assert known_cells(connection) == ["/cell"]
        assert len(list(rows(connection, Filter(verdict=Verdict.REJECT, model="aaaa")))) == 150
        found = statistics.summary(connection, Filter(), "shift")
        assert found["reasons"] == {"ANOMALY": 150, "BLUR": 150} and found["places"][0]["parts"] == 150
        key = reviews.next_for(connection, "eva")
    reviews.give(engine, key, "eva", "good")
    with engine.connect() as connection:
        assert reviews.waiting(connection)[1] == 299
        assert len(list(rows(connection, Filter(opinion="good")))) == 1


def test_texts_that_the_server_cannot_keep_are_refused_alone(place):
    writer = HistoryWriter(place)
    fine = [make_record(), make_record()]
    for record in (fine[0], make_record(part_id="a\0b"), make_record(image_ns=2**80), fine[1]):
        writer.offer(record)
    status = writer.close(60)
    assert (status.committed, status.refused, status.lost) == (2, 2, 0), status


def test_a_server_that_goes_and_comes_back(place, server):
    writer = HistoryWriter(place)
    writer.offer(first := make_record())
    assert writer.flush(30)
    server.stop()
    try:
        writer.offer(second := make_record())
        wait_for(lambda: writer.status().problem, "the problem to be said")
        assert writer.status().committed == 1
        with pytest.raises(InputError, match="the history cannot be opened") as error:
            open_history(Place(place.folder, server.url.replace("tester", "tester:secret")))
        assert "secret" not in str(error.value)
    finally:
        server.start()
    assert writer.close(60).committed == 2
    engine = open_history(place)
    assert uids(engine) == {first.uid, second.uid}
    with engine.connect() as connection:
        assert len(connection.execute(select(results.c.id)).all()) == 2
