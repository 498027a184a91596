"""Records and histories for the tests of the station."""

import time
from pathlib import Path

import numpy as np
from sqlalchemy import select

from pad_ros.station.database import open_history
from pad_ros.station.picture_store import PictureSet, PictureSettings
from pad_ros.station.place import Place
from pad_ros.station.record import DefectRecord, ResultRecord, new_uid
from pad_ros.station.schema import results
from pad_ros.station.writer import HistoryWriter, WriterSettings
from pad_ros.verdicts import Reason, Verdict

MODEL = "a" * 64
NOON = 1_780_315_200 * 10**9  # 2026-06-01 12:00 UTC


def make_record(verdict: Verdict = Verdict.PASS, **changes: object) -> ResultRecord:
    reason = {Verdict.PASS: Reason.NONE, Verdict.REJECT: Reason.ANOMALY, Verdict.HOLD: Reason.BLUR}[verdict]
    found = DefectRecord((10, 12, 8, 6), 40, 2.5, (0.1, 0.2, 0.3), "ADDED")
    values: dict[str, object] = {
        "time_ns": NOON, "cell": "/cell", "part_id": "part-1", "model_name": "bracket", "model_hash": MODEL,
        "verdict": verdict, "reason": int(reason), "reason_text": "score 1.00", "threshold": 1.5,
        "score": {Verdict.PASS: 1.0, Verdict.REJECT: 2.5, Verdict.HOLD: None}[verdict],
        "latencies_ms": (10.0, 20.0, 30.0, 61.0), "uid": new_uid(),
        "defects": (found,) if verdict is Verdict.REJECT else (),
    }  # fmt: skip
    return ResultRecord(**{**values, **changes})


def make_pictures(seed: int = 0, size: int = 48) -> PictureSet:
    rng = np.random.default_rng(seed)
    query = rng.integers(0, 256, (size, size, 3)).astype(np.uint8)
    return PictureSet(query, np.full_like(query, 128), rng.random((size, size)).astype(np.float32) * 3)


def write_history(folder: Path, records, pictures=None, settings: WriterSettings | None = None):
    """A history with these records; the place and an engine."""
    writer = HistoryWriter(Place(folder), settings or WriterSettings(pictures=PictureSettings(keeping={})))
    for record in records:
        assert writer.offer(record, pictures(record) if pictures else None)
    status = writer.close()
    assert status.committed == len(records), status
    return Place(folder), open_history(Place(folder))


def uids(engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(select(results.c.uid)))


def wait_for(condition, what: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)
