"""A PostgreSQL server of one's own in a temporary folder, for benchmarks and tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = ("/usr/local/bin", *(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"))))


def programs() -> tuple[str, str] | None:
    """(initdb, postgres); None where they are not installed."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *PLACES))
    found = shutil.which("initdb", path=path), shutil.which("postgres", path=path)
    return (found[0], found[1]) if found[0] and found[1] else None


class Server:
    """url: of a database in it; `stop` and `start` take it away and bring it back with what it holds."""

    def __init__(self, folder: Path) -> None:
        found = programs()
        assert found is not None
        self._initdb, self._postgres = found
        self._folder = folder
        # The server refuses to run as root.
        self._options = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://tester@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            [self._initdb, "-D", str(folder / "data"), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-locale"]
        )

    def _run(self, command: list[str]) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._options)

    def start(self) -> None:
        options = ["-k", str(self._folder), "-h", "127.0.0.1", "-p", str(self.port)]
        log = (self._folder / "log.txt").open("ab")
        command = [self._postgres, "-D", str(self._folder / "data"), *options]
        self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._options)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    time.sleep(0.3)
                    return
            time.sleep(0.05)
        raise RuntimeError((self._folder / "log.txt").read_text()[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: fast shutdown
            self._process.wait(timeout=30)
            self._process = None


@contextmanager
def server() -> Iterator[Server]:
    """A running server; its folder goes at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pad_postgres_"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    running = Server(folder)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)
