"""`pad station`: serves the pages of a station, or sets its users."""

from __future__ import annotations

import argparse
import getpass
import ipaddress
import os
import secrets
import sys

import uvicorn

from ...errors import InputError
from ..accounts import anybody, set_user
from ..database import open_history
from ..place import Place
from ..statistics import read_shifts
from .app import create_app
from .context import Station
from .jobs import Jobs

FIRST_USER = "engineer"
VARIABLE = "PAD_STATION_PASSWORD"  # of the environment, that may hold the password
HERE = ("127.0.0.1", "localhost", "::1", "[::1]")


def run(arguments: argparse.Namespace) -> int:
    """The exit status. InputError for a station that cannot be opened, or a port that is taken."""
    place = Place(arguments.station, arguments.database).make()
    engine = open_history(place)
    if arguments.add_user:
        set_user(engine, arguments.add_user, arguments.role, _password(arguments.add_user), by="pad station")
        print(f"{arguments.add_user} is {arguments.role} now")
        return 0
    with engine.connect() as connection:
        known = anybody(connection)
    if not known:
        password = secrets.token_urlsafe(12)
        set_user(engine, FIRST_USER, "engineer", password, by="pad station")
        print(f"first start: sign in as {FIRST_USER} with the password {password} and change it", flush=True)
    tls = arguments.tls_cert is not None
    if not tls and not _local(arguments.host):
        print(
            "pad: warning: passwords and pictures cross the network unencrypted; give --tls-cert and --tls-key, or a "
            "reverse proxy with TLS", file=sys.stderr,
        )  # fmt: skip
    station = Station(place, engine, Jobs(place, engine), read_shifts(arguments.shifts), secure=tls)
    app = create_app(station, [*HERE, arguments.host, *arguments.allowed_host])
    print(f"station: http{'s' if tls else ''}://{arguments.host}:{arguments.port}/ (ends with Ctrl-C)", flush=True)
    try:
        uvicorn.run(
            app, host=arguments.host, port=arguments.port, log_level="warning", server_header=False,
            ssl_certfile=arguments.tls_cert, ssl_keyfile=arguments.tls_key,
        )  # fmt: skip
    except SystemExit as error:  # uvicorn's way of saying that it could not start
        raise InputError(f"{arguments.host}:{arguments.port}: cannot be served there; choose another --port") from error
    return 0


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _password(name: str) -> str:
    if given := os.environ.get(VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise InputError(f"no terminal to ask for the password of {name}: give it in {VARIABLE}")
    first = getpass.getpass(f"password of {name}: ")
    if first != getpass.getpass("again: "):
        raise InputError("the two passwords differ")
    return first
