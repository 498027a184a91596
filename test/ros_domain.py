"""A ROS domain for each process that runs tests or benchmarks, so that nodes of two of them never meet."""

import fcntl
import os
import tempfile
from pathlib import Path

TEMPORARY = Path(tempfile.gettempdir())
DOMAINS = range(1, 101)  # 0 is everybody's; above 101 ports may clash


def own_graph() -> None:
    """Keep the graph of this process and its children on this machine and in a domain of its own; a given one is kept.

    Before anything imports rclpy. The lock ends with this process.
    """
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    if "ROS_DOMAIN_ID" not in os.environ:
        os.environ["ROS_DOMAIN_ID"] = str(take_domain()[0])


def take_domain(folder: Path = TEMPORARY) -> tuple[int, int]:
    """(domain, descriptor of its lock): one that no other process holds, from now on until the descriptor is closed.

    Processes agree by locks on files in `folder`; the system releases them when their holder ends, however it ends.
    """
    first = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[first:], *DOMAINS[:first]):
        try:
            lock = os.open(folder / f"pad_ros_domain_{domain}.lock", os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return domain, lock
        except OSError:
            os.close(lock)
    raise RuntimeError(f"all ROS domains are taken by the locks {folder}/pad_ros_domain_*.lock: set ROS_DOMAIN_ID")
