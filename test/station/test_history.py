"""`pad history`: lists, statistics and exports of a history."""

import csv
import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from station_records import MODEL, NOON, make_pictures, make_record, write_history

from pad_ros.cli import main
from pad_ros.errors import InputError
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.io.good_images import read_good_images
from pad_ros.station import reviews, statistics
from pad_ros.station.queries import COLUMNS, Filter, known_cells, read_time, rows
from pad_ros.station.record import DefectRecord
from pad_ros.station.schema import results
from pad_ros.station.statistics import shift_start
from pad_ros.verdicts import Reason, Verdict

HOUR = 3600 * 10**9
PASS, REJECT, HOLD = Verdict.PASS, Verdict.REJECT, Verdict.HOLD


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Two days of two cells: an hour per result; every third is rejected at one of two places, every seventh held."""
    records = []
    for i in range(48):
        verdict = REJECT if i % 3 == 0 else HOLD if i % 7 == 0 else PASS
        place = (0.0, 0.0, 0.0) if i % 2 else (1.0, 0.5, 0.0)
        found = (DefectRecord((1, 2, 3, 4), 9, 2.0, place, "MISSING"),) if verdict is REJECT else ()
        records.append(
            make_record(verdict, time_ns=NOON + i * HOUR, part_id=f"part-{i}", cell="left" if i < 40 else "right",
                        defects=found, score=1 + i / 48)
        )  # fmt: skip
    return write_history(tmp_path_factory.mktemp("history"), records)


def listed(history, **asked):
    with history[1].connect() as connection:
        return list(rows(connection, Filter(**asked)))


def test_filters(history):
    assert [row["part_id"] for row in listed(history, limit=2)] == ["part-47", "part-46"]
    assert {row["verdict"] for row in listed(history, verdict=REJECT)} == {"REJECT"}
    assert len(listed(history, cell="right")) == 8
    assert [row["part_id"] for row in listed(history, part_id="part-7")] == ["part-7"]
    assert {row["reason"] for row in listed(history, reason=Reason.BLUR)} == {"BLUR"}
    assert len(listed(history, since_ns=NOON + 10 * HOUR, until_ns=NOON + 12 * HOUR)) == 2
    assert len(listed(history, model=MODEL[:8])) == len(listed(history, model="bracket")) == 48
    assert not listed(history, model="%") and not listed(history, opinion="good")
    with history[1].connect() as connection:
        assert known_cells(connection) == ["left", "right"]


def test_rates_reasons_places_and_latencies(history):
    with history[1].connect() as connection:
        per_hour = statistics.rates(connection, Filter(), "hour")
        assert len(per_hour) == 48 and all(rate.total == 1 for rate in per_hour)
        per_shift = statistics.rates(connection, Filter(cell="left"), "shift")
        assert sum(rate.total for rate in per_shift) == 40 and {rate.start.hour for rate in per_shift} == {6, 14, 22}
        assert sum(rate.counts["REJECT"] for rate in statistics.rates(connection, Filter(), "day")) == 16
        assert statistics.reasons(connection, Filter()) == [("ANOMALY", 16), ("BLUR", 4)]
        places = statistics.defect_places(connection, Filter())
        assert sorted(place.centre for place in places) == [(0.0, 0.0, 0.0), (1.0, 0.5, 0.0)]
        assert sum(place.parts for place in places) == 16 and places[0].kinds == {"MISSING": places[0].defects}
        assert statistics.latencies(connection, Filter())["total_ms"] == (61.0, 61.0, 61.0)


def test_drift_is_told_by_what_drifted(tmp_path):
    rng = np.random.default_rng(0)
    records = [
        make_record(time_ns=NOON + i, light_change=0.1 * (i > 550) + 0.01 * rng.random(), score=1 + 0.1 * rng.random(),
                    view_share=0.99)
        for i in range(800)
    ]  # fmt: skip
    _, engine = write_history(tmp_path, records)
    with engine.connect() as connection:
        found = {one.name.split(":")[0]: one for one in statistics.drift(connection, "/cell")[::-1]}
    assert found["light"].drifted and found["light"].now > found["light"].before
    assert not found["model"].drifted and not found["pose"].drifted
    assert np.isnan(found["focus"].chance), "what is not known has not drifted"


def test_an_empty_history_has_no_statistics(tmp_path):
    _, engine = write_history(tmp_path, [])
    with engine.connect() as connection:
        found = statistics.summary(connection, Filter(cell="nowhere"), "shift")
    assert found == {"rates": [], "reasons": {}, "places": [], "latency_ms": {}, "drift": {"nowhere": []}}


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.sets(st.integers(0, 23), min_size=1))
def test_a_shift_begins_at_one_of_its_hours_and_less_than_a_day_before(moment, hours):
    start = shift_start(moment, sorted(hours))
    assert start.hour in hours and start <= moment < start + timedelta(days=1)


def test_times():
    assert read_time("8h", NOON) == NOON - 8 * HOUR and read_time("2w", NOON) == NOON - 14 * 24 * HOUR
    assert read_time("2026-06-01T12:00:00+00:00") == NOON
    for wrong in ("yesterday", "8", "h", "2026-13-01", "99999999d"):
        with pytest.raises(InputError, match="expected a time"):
            read_time(wrong)


def test_the_command_lists_and_writes(history, tmp_path, capsys):
    station = str(history[0].folder)
    assert main(["history", "list", station, "--verdict", "HOLD"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and "BLUR" in lines[1]
    assert main(["history", "list", station, "--out", str(tmp_path / "all.csv")]) == 0
    with (tmp_path / "all.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == 48 and tuple(found[0]) == COLUMNS
    assert json.loads(found[2]["defects"])[0]["kind"] == "MISSING"
    assert main(["history", "list", station, "--since", "5h", "--cell", "left"]) == 0
    assert "no results" in capsys.readouterr().out


def test_parquet(history, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (extra `parquet`) is not installed")
    assert main(["history", "list", str(history[0].folder), "--out", str(tmp_path / "all.parquet")]) == 0
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.num_rows == 48 and tuple(table.column_names) == COLUMNS
    assert table["score"].to_pylist()[0] == pytest.approx(1 + 47 / 48)


def test_a_part_id_is_no_formula_in_a_spreadsheet(tmp_path):
    place, _ = write_history(tmp_path / "s", [make_record(part_id="=cmd()")])
    assert main(["history", "list", str(place.folder), "--out", str(tmp_path / "all.csv")]) == 0
    assert "'=cmd()" in (tmp_path / "all.csv").read_text()


def test_the_command_tells_statistics(history, capsys):
    station = str(history[0].folder)
    assert main(["history", "stats", station, "--by", "day"]) == 0
    out = capsys.readouterr().out
    assert "ANOMALY" in out and "places of defects" in out and "p95" in out
    assert main(["history", "stats", station, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reasons"] == {"ANOMALY": 16, "BLUR": 4}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["list", "nowhere"], "no history"),
        (["list", "STATION", "--reason", "BAD_LUCK"], "none of"),
        (["list", "STATION", "--since", "noon"], "expected a time"),
        (["list", "STATION", "--out", "all.xls"], "ends in .csv or .parquet"),
        (["stats", "STATION", "--shifts", "25"], "hours from 0 to 23"),
        (["stats", "STATION", "--part", "7"], "--part"),
        (["export", "STATION", "--out", "NEW"], "no reviewed results"),
        (["export", "STATION", "--out", "STATION"], "not an empty folder"),
    ],
)
def test_bad_usage_is_one_line(history, tmp_path, capsys, arguments, words):
    names = {"STATION": str(history[0].folder), "NEW": str(tmp_path / "new")}
    assert main(["history", *(names.get(word, word) for word in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.fixture
def reviewed(tmp_path):
    """Six rejected parts: 0, 1 and 2 good (2 of the unit of 1), 3 a defect, 4 disputed, 5 not reviewed."""
    records = [make_record(REJECT, part_id=f"p/{min(i, 1) if i < 3 else i}", time_ns=NOON + i) for i in range(6)]
    number = {record.uid: i for i, record in enumerate(records)}
    place, engine = write_history(tmp_path / "station", records, lambda record: make_pictures(number[record.uid]))
    with engine.connect() as connection:
        keys = list(connection.scalars(select(results.c.id).order_by(results.c.time_ns)))
    for key, opinion in zip(keys, ("good", "good", "good", "defect", "good")):
        reviews.give(engine, key, "eva", opinion)
    reviews.give(engine, keys[4], "ali", "defect")
    return place, engine, keys


def test_an_export_is_a_data_set_for_evaluate_and_calibrate(reviewed, tmp_path, capsys):
    out = tmp_path / "set"
    assert main(["history", "export", str(reviewed[0].folder), "--out", str(out)]) == 0
    assert "3 images of 2 good units, 1 of defective ones" in capsys.readouterr().out
    dataset = read_dataset(out)
    assert [image.label for image in dataset.images] == ["good", "good", "good", "defect"]
    assert np.array_equal(dataset.images[0].load()[0], make_pictures(0).query)
    good = list(read_good_images(out))
    assert [image.unit for image in good] == ["p_0", "p_1", "p_1"]
    told = json.loads((out / "export.json").read_text())
    assert told["left_out"] == {"unsure or disputed": 1} and len(told["images"]) == 4


def test_reviews_wait_and_second_opinions_are_blind(reviewed):
    _, engine, keys = reviewed
    with engine.connect() as connection:
        assert reviews.next_for(connection, "eva") == keys[5]
        assert reviews.next_for(connection, "eva", after=keys[5]) is None
    reviews.give(engine, keys[5], "eva", "unsure", second_share=1.0)
    with engine.connect() as connection:
        assert reviews.waiting(connection)[reviews.SECOND_OPINION] >= 1
        assert reviews.next_for(connection, "eva") is None, "nobody gives a second opinion on their own"
        assert reviews.next_for(connection, "ali") == keys[5]
        before = reviews.agreement(connection).pairs
    reviews.give(engine, keys[5], "ali", "unsure")
    with engine.connect() as connection:
        found = reviews.agreement(connection)
        assert found.pairs == before + 1 and found.share > 0
    with pytest.raises(InputError, match="opinion"):
        reviews.give(engine, keys[5], "ali", "perfect")
    with pytest.raises(InputError, match="there is none"):
        reviews.give(engine, 999, "ali", "good")
