"""The options of commands that can do many parts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

ONLY_EACH = ("on", "workers", "cpus", "gpus", "retries")


def asks_for_each(argv: Sequence[str]) -> bool:
    """Whether these arguments ask for many parts: then the one part is no argument, and places are URLs."""
    return any(word == "--each" or word.startswith("--each=") for word in argv)


def add_each(command: argparse.ArgumentParser, part_argument: str) -> None:
    """part_argument: the argument in whose place --each stands."""
    command.set_defaults(part_argument=part_argument)
    group = command.add_argument_group("many parts", "OUT, and MODEL where there is one, are then folders of such")
    group.add_argument(
        "--each", metavar="FOLDER", help=f"in place of {part_argument.upper()}: each subfolder is a part"
    )
    group.add_argument("--on", type=_on, default="local", metavar="local|ray[://HOST:PORT]",
                       help="processes of this machine, or a Ray cluster (default: local)")  # fmt: skip
    group.add_argument("--workers", type=_count, metavar="N", help="processes (default: as many as there are CPUs for)")
    group.add_argument("--cpus", type=_count, default=1, metavar="N", help="CPUs of a task (default: 1)")
    group.add_argument("--gpus", type=_card_share, metavar="SHARE",
                       help="of a graphics card that a task takes (default: 1 where --device takes one)")  # fmt: skip
    group.add_argument("--retries", type=_count_or_none, default=2, metavar="N",
                       help="how often a task is done again whose worker died (default: 2)")  # fmt: skip


def _on(text: str) -> str:
    if text in ("local", "ray") or (text.startswith("ray://") and len(text) > len("ray://")):
        return text
    raise argparse.ArgumentTypeError(f"{text!r} is not local, ray, or ray://HOST:PORT")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 100_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _card_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share of a graphics card, 0 to 1")
    return share
