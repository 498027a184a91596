"""Writes benchmarks/RESULTS.md from the files in benchmarks/results/.

    python benchmarks/report_results.py
    python benchmarks/SCRIPT ... | python benchmarks/report_results.py --add NAME --title TITLE --command COMMAND
        [--text TEXT]

--add keeps the last Markdown table of what a script prints as benchmarks/results/NAME.json, with today's date, the
commit and this machine, and then writes the page. A file holds {"title", "date", "commit", "machine", "command",
"columns": [...], "rows": [[...], ...], "text"}; cells are texts or numbers, null is an empty cell. The page shows the
tables in the order of the names of their files.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "RESULTS.md"
RESULTS = FOLDER / "results"
FIELDS = {"title": str, "date": str, "commit": str, "machine": str, "command": str, "columns": list, "rows": list,
          "text": str}  # fmt: skip

HEAD = """# Results

This page is written by `python benchmarks/report_results.py` from the files in `benchmarks/results/`. Do not edit it by
hand. Every figure that a document of this project claims is here. The line above each table names the command, the day,
the commit that recorded the figures, and the machine.

How to read it: times depend on the machine and on what else runs on it. Where a training is cut off by time, rates and
errors depend on the machine too. AUROC, AP and AUPRO lie between 0 and 1, and 1 is best. AUPRO is integrated up to a
false positive rate of 0.3. "Escapes" are defective images that pass, "false rejects" are good images that are rejected,
both at the model's own threshold. "Loader" is a brick-built vehicle in the layout of the MAD data set (20 good and 36
defective test images). The other parts come from the generator of `pad demo`.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", metavar="NAME", help="keep the last table on standard input under this name")
    parser.add_argument("--title", default="")
    parser.add_argument("--command", default="", help="what printed the table")
    parser.add_argument("--text", default="", help="what the table shows, in short sentences")
    arguments = parser.parse_args()
    if arguments.add:
        columns, rows = last_table(sys.stdin.read())
        found = {"title": arguments.title, "date": date.today().isoformat(), "commit": commit(), "machine": machine(),
                 "command": arguments.command, "columns": columns, "rows": rows, "text": arguments.text}  # fmt: skip
        (RESULTS / f"{arguments.add}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(document(read_results()), encoding="utf-8")
    return 0


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The results in the order of their files; ValueError where a field is missing or a row does not fit."""
    found = []
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        if {name: type(value) for name, value in result.items()} != FIELDS:
            raise ValueError(f"{path}: expected the fields {', '.join(FIELDS)}")
        if not result["rows"] or any(len(row) != len(result["columns"]) for row in result["rows"]):
            raise ValueError(f"{path}: expected rows of {len(result['columns'])} cells")
        found.append(result)
    return found


def document(results: list[dict[str, Any]]) -> str:
    """The text of RESULTS.md."""
    parts = [HEAD]
    for result in results:
        rows = [result["columns"], ["---"] * len(result["columns"]), *result["rows"]]
        table = "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows)
        source = f"`{result['command']}` · {result['date']} · commit {result['commit']} · {result['machine']}"
        parts.append("\n\n".join(part for part in (f"## {result['title']}", source, table, result["text"]) if part))
        parts[-1] += "\n"
    return "\n".join(parts)


def last_table(text: str) -> tuple[list[str], list[list[str]]]:
    """(columns, rows) of the last Markdown table in `text`; ValueError without one."""
    table: list[list[str]] = []
    current: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            current.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif current:
            table, current = current, []
    if len(table) < 3:
        raise ValueError("no table on standard input: expected lines of the form | a | b |")
    return table[0], table[2:]


def commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=FOLDER, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def machine() -> str:
    from pad_ros.evaluation.machine import describe_machine, machine_line

    return machine_line(describe_machine())


if __name__ == "__main__":
    sys.exit(main())
