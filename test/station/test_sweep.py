"""What a killed recorder left behind goes; what belongs to somebody stays."""

import pytest
from sqlalchemy import select, update
from station_records import NOON, make_pictures, make_record, write_history

from pad_ros.station.picture_store import KINDS, Keeping, PictureSettings, PictureStore
from pad_ros.station.schema import DROPPED, KEPT, PENDING, pictures, results
from pad_ros.station.storing import DAY
from pad_ros.station.sweep import give_up, swept
from pad_ros.verdicts import Verdict


@pytest.fixture
def history(tmp_path):
    records = [make_record(Verdict.REJECT, time_ns=NOON + i, cell=("left", "right")[i % 2]) for i in range(4)]
    place, engine = write_history(tmp_path, records, lambda record: make_pictures())
    return records, place, engine, PictureStore(place.pictures)


def sweep(engine, store, days: float = 90.0, now: int = NOON + DAY) -> int:
    return sum(swept(engine, store, PictureSettings(keeping=dict.fromkeys(KINDS, Keeping(days))), now))


def files(place) -> set[str]:
    return {path.relative_to(place.pictures).as_posix() for path in place.pictures.rglob("*") if path.is_file()}


def rows(engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(select(pictures.c.path)))


def set_state(engine, record, state) -> None:
    with engine.begin() as connection:
        of_it = select(results.c.id).where(results.c.uid == record.uid).scalar_subquery()
        connection.execute(update(results).where(results.c.uid == record.uid).values(picture_state=state))
        if state != KEPT:
            connection.execute(pictures.delete().where(pictures.c.result_id == of_it))


def test_only_the_cell_that_starts_gives_up_what_it_waited_for(history):
    records, _, engine, _ = history
    for record in records[:2]:
        set_state(engine, record, PENDING)
    give_up(engine, "left")
    with engine.connect() as connection:
        asked = select(results.c.uid, results.c.picture_state)
        states = {row.uid: row.picture_state for row in connection.execute(asked)}
    assert [states[record.uid] for record in records] == [DROPPED, PENDING, KEPT, KEPT]


def test_files_without_rows_go_unless_their_result_waits_for_them(history):
    records, place, engine, store = history
    assert sweep(engine, store) == 0
    set_state(engine, records[0], DROPPED)
    set_state(engine, records[1], PENDING)
    begun = place.pictures / "2026-06-01/12" / f".{records[2].uid}_query.png.partial"
    begun.write_bytes(b"half")
    assert sweep(engine, store) == 5
    awaited = {path for path in files(place) if records[1].uid in path}
    assert len(awaited) == 4 and files(place) == rows(engine) | awaited


def test_rows_without_files_go_and_a_folder_that_is_not_there_is_left(history):
    _, place, engine, store = history
    lost = sorted(files(place))[0]
    (place.pictures / lost).unlink()
    assert sweep(engine, store) == 1 and lost not in rows(engine) and len(rows(engine)) == 15
    place.pictures.rename(place.folder / "unmounted")
    assert sweep(engine, store) == 0 and len(rows(engine)) == 15


def test_files_of_another_database_stay_as_long_as_any(history, tmp_path):
    _, place, _, store = history
    _, engine = write_history(tmp_path / "other", [make_record()])
    assert sweep(engine, store) == 0 and sweep(engine, store, days=0, now=NOON + 999 * DAY) == 0
    assert sweep(engine, store, now=NOON + 91 * DAY) == 16 and not files(place)


def test_folders_and_files_of_others_stay(history):
    _, place, engine, store = history
    for name in ("notes/a/b.txt", "2026-06-01/99/x.png"):
        (place.pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (place.pictures / name).write_text("mine")
    assert sweep(engine, store) == 0
    assert (place.pictures / "notes/a/b.txt").exists() and (place.pictures / "2026-06-01/99/x.png").exists()
