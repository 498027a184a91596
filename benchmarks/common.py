"""What all benchmarks share: options, the folder of shared data, tables, and results that are kept."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from pad_ros.evaluation.machine import describe_machine, machine_line
from pad_ros.imaging import images
from pad_ros.reporting.output import write_json

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"


def option_parser(description: str | None, *positional: str) -> argparse.ArgumentParser:
    """A parser with the text of a script. `positional` are paths; "images..." takes one or more."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in positional:
        parser.add_argument(name.removesuffix("..."), type=Path, nargs="+" if name.endswith("...") else None)
    return parser


def add_training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--budget", type=float, default=420.0, metavar="SECONDS", help="of each training")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")


def add_shared(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("PAD_SHARED", REPOSITORY.parent / "shared")
    parser.add_argument("--shared", type=Path, default=Path(default), help="default: PAD_SHARED, else ../shared")


def chosen(parser: argparse.ArgumentParser, text: str, names: Sequence[str]) -> list[str]:
    """The names in a comma-separated option; a usage error for one that is not among `names`."""
    found = text.split(",")
    if unknown := [name for name in found if name not in names]:
        parser.error(f"no {unknown[0]!r}; there are: {', '.join(names)}")
    return found


def loader(shared: Path) -> Path:
    """The MAD-like data set of a toy wheel loader."""
    return shared / "data" / "mad_like" / "loader"


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table: None is "-", floats get four digits."""

    def cell(value: object) -> str:
        return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)

    return [f"| {' | '.join(map(cell, row))} |" for row in (columns, ["---"] * len(columns), *rows)]


def write_result(
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    text: str = "",
    folder: Path = RESULTS,
) -> Path:
    """Print a table and keep it in folder/<name>.json, from which RESULTS.md is made.

    {"title", "date", "commit", "machine", "command", "columns", "rows", "text"}: rows hold text, numbers and null;
    text explains the table to its reader; a "+" after the commit stands for changes that were not committed.
    """
    if wrong := [row for row in rows if len(row) != len(columns)]:
        raise ValueError(f"{name}: {len(wrong[0])} cells for {len(columns)} columns")
    document: dict[str, Any] = {
        "title": title,
        "date": date.today().isoformat(),
        "commit": _commit(),
        "machine": machine_line(describe_machine()),
        "command": _command(sys.argv),
        "columns": columns,
        "rows": rows,
        "text": text,
    }
    write_json(folder / f"{name}.json", document)
    print("\n".join(["", title, "", *table_lines(columns, rows), "", text]).rstrip())
    return folder / f"{name}.json"


def _commit() -> str:
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _command(argv: Sequence[str]) -> str:
    """The command line without the folders of this machine; of several images in a row only the first."""
    words = [f"benchmarks/{Path(argv[0]).name}"]
    for before, word in zip(argv, argv[1:]):
        if not all(Path(one).suffix.lower() in images.SUFFIXES for one in (before, word)):
            words.append(Path(word).name if word.startswith("/") else word)
        elif words[-1] != "...":
            words.append("...")
    return shlex.join(["python", *words])
