"""OPC UA servers of pretended cells for the tests."""

from dataclasses import replace
from pathlib import Path

from plant_cell import PretendedCell

from pad_ros.plant.opcua.records import Settings
from pad_ros.plant.opcua.server import Access, OpcuaServer

PASSWORDS = {"plc": "a long password", "visitor": "another password"}
SETTINGS = Settings(job_timeout=1000.0, prepare_wait=100.0, patience=0.3)


def started(folder: Path, settings: Settings = SETTINGS, **access: object) -> OpcuaServer:
    cell = PretendedCell()
    server = OpcuaServer(cell, replace(Access(folder, port=0), **access), settings)
    cell.hear = server.hear
    server.start()
    return server
