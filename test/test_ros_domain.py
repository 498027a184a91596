"""Each process that runs tests has a ROS domain of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ros_domain
from ros_domain import DOMAINS, take_domain

SCRIPT = "import conftest, os; print(os.environ['ROS_DOMAIN_ID'], flush=True); input()"


def start(folder: Path, **variables: str) -> "subprocess.Popen[str]":
    """A process that loads conftest.py, prints its domain, and ends when its input does."""
    environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
    environment |= {"TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parent), **variables}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_have_two_domains_and_a_given_one_is_kept(tmp_path: Path) -> None:
    processes = [start(tmp_path), start(tmp_path), start(tmp_path, ROS_DOMAIN_ID="77")]
    try:
        assert all(process.stdout is not None for process in processes)
        first, second, given = (int(process.stdout.readline()) for process in processes if process.stdout)
    finally:
        for process in processes:
            process.communicate("\n", timeout=60)
    assert first in DOMAINS and second in DOMAINS and first != second
    assert given == 77
    assert len(list(tmp_path.glob("*.lock"))) == 2


def test_all_domains_are_given_out_and_one_that_is_released_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ros_domain, "DOMAINS", range(1, 5))
    taken = [take_domain(tmp_path) for _ in range(4)]
    assert sorted(domain for domain, _ in taken) == [1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="all ROS domains are taken"):
        take_domain(tmp_path)
    domain, lock = taken.pop(2)
    os.close(lock)
    taken.append(take_domain(tmp_path))
    assert taken[-1][0] == domain
    for _, lock in taken:
        os.close(lock)


def test_a_lock_that_cannot_be_opened_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ros_domain, "DOMAINS", range(1, 3))
    (tmp_path / "pad_ros_domain_1.lock").symlink_to(tmp_path / "elsewhere")
    domain, lock = take_domain(tmp_path)
    os.close(lock)
    assert domain == 2 and not (tmp_path / "elsewhere").exists()
