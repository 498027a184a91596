"""The node processes of a line, for benchmarks: started, killed, stopped, and started again as `respawn` does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from common import REPOSITORY

sys.path.append(str(REPOSITORY / "test"))
from ros_domain import own_graph  # noqa: E402

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"
OUR_PROFILE = str(REPOSITORY / "config" / "fastdds.xml")  # that the launch files set

Parameters = Mapping[str, Mapping[str, object]]  # node -> its parameters


class Line:
    """The nodes that `parameters` names, each in a process of its own, with its log in `out`.

    script: runs a node (its name is the first argument); None: pad_ros.nodes.NODE itself.
    """

    def __init__(self, parameters: Parameters, namespace: str, out: Path, script: Path | None = None) -> None:
        self._parameters, self._namespace, self._out, self._script = parameters, namespace, out, script
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in parameters:
            self.start(name)

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", f"pad_ros.nodes.{name}"]
        if self._script is not None and name != "watchdog":
            command = [sys.executable, str(self._script), name]
        values = {key: str(v).lower() if isinstance(v, bool) else v for key, v in self._parameters[name].items()}
        words = [word for key, value in values.items() for word in ("-p", f"{key}:={value}")]
        with open(self._out / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                [*command, "--ros-args", "-r", f"__ns:={self._namespace}", *words], stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """SIGKILL, and a new process at once."""
        self.processes[name].kill()
        self.processes[name].wait()
        self.start(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def dead(self) -> list[str]:
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()


def launch_graph() -> None:
    """The middleware as the launch files set it up, and a graph of our own."""
    os.environ.setdefault(PROFILE, OUR_PROFILE)
    own_graph()


class Usage:
    """What a process uses, from /proc."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")

    def rss_mb(self) -> float:
        return self._status("VmRSS") / 1024

    def peak_mb(self) -> float:
        """Since the last `reset_peak`."""
        return self._status("VmHWM") / 1024

    def reset_peak(self) -> None:
        (self._folder / "clear_refs").write_text("5")

    def threads(self) -> int:
        return self._status("Threads")

    def handles(self) -> int:
        return len(os.listdir(self._folder / "fd"))

    def _status(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))
