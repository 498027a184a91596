"""Progress of long work on stderr: a bar on a terminal, a plain line now and then otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

LINE_EVERY_SECONDS = 10.0


def say(text: str) -> None:
    """A line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


class Progress(AbstractContextManager["Progress"]):
    """`with Progress("fit", 1000) as p: ... p.update(3, "31.2 dB")`; `total` in any unit."""

    def __init__(self, title: str, total: float) -> None:
        self.title, self.total, self.done = title, total, 0.0
        self._started = self._last_line = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
            self._bar = tqdm(total=total, desc=title, bar_format=layout, leave=True)
        else:
            say(f"{title} ...")

    def update(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(min(amount, self._bar.total - self._bar.n))
        elif time.monotonic() - self._last_line > LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            share = 100 * self.done / max(self.total, 1e-9)
            say(f"{self.title}: {min(share, 100):.0f} % {note}")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif kind is None:
            say(f"{self.title}: done in {time.monotonic() - self._started:.1f} s")


def progress(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """Iterate over `items` while showing how far it is."""
    with Progress(title, total) as shown:
        for item in items:
            yield item
            shown.update()
