"""Writes benchmarks/RESULTS.md from the files in benchmarks/results/.

    python benchmarks/report_results.py

The benchmark scripts write these files. Each holds {"title", "date", "commit", "machine", "command", "columns": [...],
"rows": [[...], ...], "text"}. Cells are texts, numbers or null.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "RESULTS.md"
RESULTS = FOLDER / "results"
FIELDS = {"title": str, "date": str, "commit": str, "machine": str, "command": str, "columns": list, "rows": list,
          "text": str}  # fmt: skip
# The page begins with these, the first name first; then come all others.
ORDER = (
    "accuracy", "fox_part", "calibrated", "ablation", "fitting", "fit_settings", "fewer_gaussians", "clutter", "light",
    "robustness", "latency", "start", "paired", "scaling", "rasterizer", "gpu", "ros", "localization", "mapping",
    "methods",
)  # fmt: skip

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
    argparse.ArgumentParser(description="Writes RESULTS.md from the results in JSON.").parse_args()
    PAGE.write_text(document(read_results()), encoding="utf-8")
    return 0


def read_results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The results in the order of the page; ValueError where a field is missing or a row does not fit."""
    found = []
    for path in sorted(folder.glob("*.json"), key=_place):
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
        table = "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)
        source = f"`{result['command']}` · {result['date']} · commit {result['commit']} · {result['machine']}"
        parts.append("\n\n".join(part for part in (f"## {result['title']}", source, table, result["text"]) if part))
        parts[-1] += "\n"
    return "\n".join(parts)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _place(path: Path) -> tuple[int, str]:
    places = [place for place, name in enumerate(ORDER) if path.stem.startswith(name)]
    return min(places, default=len(ORDER)), path.stem


if __name__ == "__main__":
    sys.exit(main())
