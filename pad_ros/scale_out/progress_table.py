"""How far all parts are: a table that is drawn anew on a terminal, a line for each change otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ..progress import say
from .task import FAILED, Outcome

SHOWN = 12  # parts at most, of those at work and those that ended last


def row(outcome: Outcome) -> str:
    """One part as a line."""
    figures = ", ".join(f"{title} {value:.4g}" for title, value in outcome.figures.items() if value is not None)
    tries = f" try {outcome.tries}" if outcome.tries > 1 else ""
    return f"{outcome.name:<24} {outcome.state:<7}{outcome.seconds:>8.1f} s{tries}  {outcome.why or figures}"


class ProgressTable:
    """Knows what began and what came of it."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._began: dict[str, tuple[float, int]] = {}
        self._ended: list[Outcome] = []
        self._drawn = 0

    def start(self, name: str, tries: int) -> None:
        self._began[name] = time.monotonic(), tries
        if tries > 1:
            self._show(f"{name}: its worker was lost, try {tries}")
        else:
            self._show("")

    def end(self, outcome: Outcome) -> None:
        self._began.pop(outcome.name, None)
        self._ended.append(outcome)
        self._show(f"[{len(self._ended)}/{self._total}] {row(outcome)}")

    def lines(self) -> list[str]:
        """The table as it is now."""
        failed = sum(outcome.state == FAILED for outcome in self._ended)
        head = f"{self._title}: {len(self._ended)} of {self._total} parts, {failed} failed, {len(self._began)} at work"
        now = time.monotonic()
        running = [f"{name:<24} at work{now - at:>7.1f} s" for name, (at, _) in list(self._began.items())[:SHOWN]]
        last: Sequence[Outcome] = self._ended[len(running) - SHOWN :] if len(running) < SHOWN else ()
        return [head, *running, *map(row, last)]

    def _show(self, line: str) -> None:
        if sys.stderr.isatty():
            up = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
            lines = self.lines()
            self._drawn = len(lines)
            say(up + "\n".join(text[:160] for text in lines))
        elif line:
            say(line)
