"""A station with results, models and users, and its pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="the packages of the extra `station` are not installed")

from model_factory import make_model  # noqa: E402
from sqlalchemy import Engine, select  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402
from station_records import NOON, make_pictures, make_record, write_history  # noqa: E402

from pad_ros.model import ReferenceModel  # noqa: E402
from pad_ros.station import accounts, registry  # noqa: E402
from pad_ros.station.place import Place  # noqa: E402
from pad_ros.station.schema import results, sessions  # noqa: E402
from pad_ros.station.web.app import create_app  # noqa: E402
from pad_ros.station.web.context import Station  # noqa: E402
from pad_ros.station.web.jobs import Jobs  # noqa: E402
from pad_ros.verdicts import Verdict  # noqa: E402

PASSWORD = "correct horse battery"
HOST = "http://127.0.0.1:8090"


@dataclass
class Site:
    """keys: ids of the results, the oldest first."""

    place: Place
    engine: Engine
    station: Station
    app: object
    model: ReferenceModel
    keys: list[int]

    def client(self, name: str | None = None) -> "Browser":
        client = Browser(self)
        if name is not None:
            answer = client.post("/sign-in", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.text
        return client


class Browser(TestClient):
    """Sends what a browser sends: the origin, and in forms the session's token."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.app, base_url=HOST, follow_redirects=False, raise_server_exceptions=False)
        self.headers["origin"] = HOST
        self._site = site

    def submit(self, path: str, **data: str):
        with self._site.engine.connect() as connection:
            token = self.cookies.get("pad_station", "")
            asked = select(sessions.c.csrf).where(sessions.c.token == accounts._digest(token))
            csrf = connection.scalar(asked)
        return self.post(path, data={"csrf": csrf or "", **data})


@pytest.fixture(scope="session")
def quick_hasher():
    """argon2 at its weakest: hashing is not what these tests are about."""
    return accounts.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def site(tmp_path: Path, monkeypatch, quick_hasher) -> Iterator[Site]:
    monkeypatch.setattr(accounts, "_hasher", quick_hasher)
    model = make_model().save(tmp_path / "model")
    verdicts = [Verdict.PASS, Verdict.REJECT, Verdict.HOLD, Verdict.REJECT, Verdict.PASS, Verdict.REJECT]
    records = [
        make_record(verdict, time_ns=NOON + i, part_id=f"part-{i}", model_hash=model.hash, model_name="ball",
                    cell="left")
        for i, verdict in enumerate(verdicts)
    ]  # fmt: skip
    shown = {record.uid for record in records if record.verdict is not Verdict.PASS}
    place, engine = write_history(
        tmp_path / "station", records, lambda record: make_pictures() if record.uid in shown else None
    )
    registry.register(engine, model, tmp_path / "model", "pad")
    for role in accounts.ROLES:
        accounts.set_user(engine, role, role, PASSWORD, "test")
    station = Station(place, engine, Jobs(place, engine))
    with engine.connect() as connection:
        keys = list(connection.scalars(select(results.c.id).order_by(results.c.time_ns)))
    yield Site(place, engine, station, create_app(station, ["127.0.0.1", "localhost"]), model, keys)
    station.jobs.close()
    engine.dispose()
