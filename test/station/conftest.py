"""Servers and clients of OPC UA for the tests."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed (pip install 'pad_ros[opcua]')")
pytest.importorskip("argon2", reason="argon2-cffi is not installed (pip install 'pad_ros[opcua]')")

from plant_cell import PretendedCell  # noqa: E402

from pad_ros.station.opcua.records import Settings  # noqa: E402
from pad_ros.station.opcua.server import Access, OpcuaServer  # noqa: E402
from pad_ros.station.opcua.users import Role, Users  # noqa: E402

PASSWORDS = {"plc": "a long password", "visitor": "another password"}
SETTINGS = Settings(job_timeout=5.0, prepare_wait=10.0, patience=0.3)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """With users and certificate."""
    folder = tmp_path_factory.mktemp("opcua")
    users = Users(folder)
    users.put("plc", Role.OPERATOR, PASSWORDS["plc"])
    users.put("visitor", Role.VIEWER, PASSWORDS["visitor"])
    return folder


@pytest.fixture
def cell() -> PretendedCell:
    return PretendedCell()


@pytest.fixture
def serve(cell: PretendedCell, folder: Path) -> Iterator[Callable[..., OpcuaServer]]:
    """Starts servers of the cell; `Access` and `Settings` may be changed."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    running = []

    def start(settings: Settings = SETTINGS, **access: object) -> OpcuaServer:
        server = OpcuaServer(cell, replace(Access(folder, port=0), **access), settings)
        cell.hear = server.hear
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.close()
