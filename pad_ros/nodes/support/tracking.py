"""Where the part was in the frame before, as a guess for the next one."""

from __future__ import annotations

from ...inspector import Inspector
from ...localization.result import Localization
from .parameters import Parameters
from .stages import Frame


class Tracking:
    """Remembers where the part was, with the parameter `tracking`; a frame without a pose ends the track."""

    def __init__(self, parameters: Parameters) -> None:
        self._on = parameters["tracking"]
        self._last: tuple[Inspector, Localization] | None = None

    def guess(self, inspector: Inspector | None) -> Localization | None:
        """Where `inspector` may look first; poses found by another model are worth nothing."""
        if self._last is None or self._last[0] is not inspector:
            return None
        return self._last[1]

    def learn(self, inspector: Inspector | None, frame: Frame) -> None:
        found = frame.localization
        self._last = (inspector, found) if self._on and inspector is not None and found.localized else None
