"""Servers and clients of OPC UA for the tests."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("asyncua", reason="asyncua is not installed (pip install 'pad_ros[opcua]')")
pytest.importorskip("argon2", reason="argon2-cffi is not installed (pip install 'pad_ros[opcua]')")

from opcua_servers import PASSWORDS, SETTINGS, started  # noqa: E402
from plant_cell import PretendedCell  # noqa: E402

from pad_ros.plant.opcua.records import Refused, Settings  # noqa: E402
from pad_ros.plant.opcua.server import OpcuaServer  # noqa: E402
from pad_ros.plant.opcua.users import Role, Users  # noqa: E402


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """With users and certificate."""
    folder = tmp_path_factory.mktemp("opcua")
    users = Users(folder)
    users.put("plc", Role.OPERATOR, PASSWORDS["plc"])
    users.put("visitor", Role.VIEWER, PASSWORDS["visitor"])
    return folder


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., OpcuaServer]]:
    """Starts servers of pretended cells; `Access` and `Settings` may be changed."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    running = []

    def start(settings: Settings = SETTINGS, **access: object) -> OpcuaServer:
        running.append(started(folder, settings, **access))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture(scope="session")
def _running(folder: Path) -> Iterator[OpcuaServer]:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    server = started(folder)
    yield server
    server.close()


@pytest.fixture
def server(_running: OpcuaServer) -> OpcuaServer:
    """One for all tests, as if just begun: a start takes seconds."""
    _running._cell.__dict__.update({**PretendedCell().__dict__, "hear": _running.hear})

    async def begin_anew() -> None:
        with contextlib.suppress(Refused):
            _running.system.reset()
        _running.system.results.clear()
        _running.system.tick()
        await _running._happenings.join()

    asyncio.run_coroutine_threadsafe(begin_anew(), _running._loop).result()
    return _running


@pytest.fixture
def cell(server: OpcuaServer) -> PretendedCell:
    """That of `server`."""
    return server._cell
