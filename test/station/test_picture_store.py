"""Which pictures are kept, how exactly, and for how long."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select
from station_records import NOON, make_pictures, make_record, write_history

from pad_ros.errors import ImageError
from pad_ros.imaging import images
from pad_ros.station.picture_store import (
    COUNTS_PER_THRESHOLD,
    KINDS,
    QUERY,
    Keeping,
    PictureRule,
    PictureSettings,
    PictureStore,
    decode_heatmap,
    encode_heatmap,
)
from pad_ros.station.retention import DAY, remove_old
from pad_ros.station.schema import pictures, results, reviews
from pad_ros.verdicts import Verdict


def test_rejected_and_held_results_keep_their_pictures_and_a_share_of_the_others():
    rule = PictureRule(random_share=0.1, lowest_p=0.0)
    assert rule.keeps(make_record(Verdict.REJECT), 1) and rule.keeps(make_record(Verdict.HOLD), 1)
    kept = sum(rule.keeps(make_record(), i) for i in range(2000))
    assert 120 < kept < 280
    record = make_record()
    assert rule.keeps(record, 1) == rule.keeps(record, 2)


def test_every_nth_and_the_lowest_p_values():
    rule = PictureRule(rejected=False, held=False, every=3, lowest_p=0.05, random_share=0.0)
    assert [rule.keeps(make_record(), i) for i in range(1, 7)] == [False, False, True, False, False, True]
    assert rule.keeps(make_record(p_value=0.05), 1) and not rule.keeps(make_record(p_value=0.06), 1)
    assert not rule.keeps(make_record(Verdict.REJECT), 1)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_pictures_are_written_and_read_back(tmp_path, form):
    found, record = make_pictures(), make_record(Verdict.REJECT)
    kept = PictureStore(tmp_path, form).write(record, found)
    assert [picture.kind for picture in kept] == list(KINDS)
    for picture in kept:
        assert (tmp_path / picture.path).stat().st_size == picture.size
        assert picture.path.startswith("2026-06-01/12/")
    query = images.load(tmp_path / kept[0].path)
    assert query.shape == found.query.shape
    if form == "png":
        assert np.array_equal(query, found.query), "what `pad calibrate` learns from must be what the camera gave"
    heatmap = decode_heatmap((tmp_path / kept[2].path).read_bytes(), kept[2].unit)
    assert np.abs(heatmap - found.heatmap).max() <= record.threshold / COUNTS_PER_THRESHOLD


@given(st.floats(width=32), st.sampled_from([None, 0.0, 1e-30, 1.5, 1e30]))
def test_any_heatmap_can_be_kept(value, threshold):
    data, unit = encode_heatmap(np.full((32, 32), value, np.float32), threshold)
    assert np.isfinite(decode_heatmap(data, unit)).all()


def test_what_is_no_heatmap_is_refused():
    for data in (b"", b"\x89PNG", b"x" * 100):
        with pytest.raises(ImageError):
            decode_heatmap(data, 1.0)


def test_no_file_is_left_where_one_cannot_be_written(tmp_path, file_size_limit):
    with file_size_limit(3000), pytest.raises(OSError):
        PictureStore(tmp_path).write(make_record(Verdict.REJECT), make_pictures())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def kinds(engine) -> dict[str, int]:
    with engine.connect() as connection:
        found = list(connection.scalars(select(pictures.c.kind)))
    return {kind: found.count(kind) for kind in KINDS}


def test_pictures_go_by_age_and_by_size_the_oldest_first(tmp_path):
    records = [make_record(Verdict.REJECT, time_ns=NOON + i * DAY) for i in range(10)]
    place, engine = write_history(tmp_path, records, lambda record: make_pictures())
    size = (place.pictures / "2026-06-10/12" / f"{records[9].uid}_reference.jpg").stat().st_size
    keeping = {"query": Keeping(days=5), "reference": Keeping(size=3 * size), "heatmap": Keeping()}
    store = PictureStore(place.pictures)
    remove_old(engine, store, PictureSettings(keeping=keeping), NOON + 9 * DAY)
    assert kinds(engine) == {"query": 6, "reference": 3, "heatmap": 10, "overlay": 10}
    files = sorted(path.name for path in place.pictures.rglob("*_reference.jpg"))
    assert files == sorted(f"{record.uid}_reference.jpg" for record in records[-3:])
    remove_old(engine, store, PictureSettings(keeping=dict.fromkeys(KINDS, Keeping(days=1))), NOON + 99 * DAY)
    assert not list(place.pictures.iterdir()), "empty folders go too"


def test_reviewed_queries_stay(tmp_path):
    records = [make_record(Verdict.REJECT, time_ns=NOON + i) for i in range(3)]
    place, engine = write_history(tmp_path, records, lambda record: make_pictures())
    with engine.begin() as connection:
        key = connection.scalar(select(results.c.id).where(results.c.uid == records[1].uid))
        connection.execute(insert(reviews).values(result_id=key, time_ns=1, user="eva", opinion="good", second=False))
    remove_old(engine, PictureStore(place.pictures), PictureSettings(), NOON + 999 * DAY)
    assert kinds(engine) == {"query": 1, "reference": 0, "heatmap": 0, "overlay": 0}
    assert [path.name for path in place.pictures.rglob(f"*_{QUERY}.png")] == [f"{records[1].uid}_query.png"]
