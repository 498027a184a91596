"""One report over all parts: parts.json, and report.html with the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ..reporting.gallery import page
from . import places
from .figures import badness, titles
from .task import DONE, FAILED, KEPT, Outcome

PAGES = {"evaluate": "report.html"}  # of a single part, in its output


def worst_first(command: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What failed, then by the figures, then by name."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.name)
    return sorted(ordered, key=lambda o: (o.state == FAILED, badness(command, o.figures)), reverse=True)


def write_parts_report(command: str, outcomes: Sequence[Outcome], out: str) -> None:
    """Write out/parts.json and out/report.html; `out` is a URL."""
    ordered = worst_first(command, outcomes)
    counts = {state: sum(outcome.state == state for outcome in ordered) for state in (DONE, KEPT, FAILED)}
    places.write_json(f"{out}/parts.json", {"command": command, **counts, "parts": [asdict(o) for o in ordered]})
    columns = titles(command)
    rows = [
        {
            "outcome": outcome,
            "link": f"{outcome.name}/{PAGES[command]}" if command in PAGES and outcome.state != FAILED else "",
            "cells": ["–" if (value := outcome.figures.get(title)) is None else f"{value:.4g}" for title in columns],
        }
        for outcome in ordered
    ]
    text = page(
        "parts.html.j2", title=f"pad {command}: {len(ordered)} parts", counts=counts, columns=columns, rows=rows
    )
    places.write_text(f"{out}/report.html", text)
