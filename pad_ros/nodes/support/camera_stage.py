"""What the nodes share that images come in to: the intake, and the guess where the part is."""

from __future__ import annotations

from ...inspector import Inspector
from ...localization.result import Localization
from ...verdicts import Reason
from .base import StageNode
from .intake import Intake
from .stages import Frame, Query, localize


class CameraStage(StageNode):
    """A stage that localizes images. Each accepted one comes to `inspect`, what cannot be judged to `hold`.

    With the parameter `tracking` the part is looked for first where it was in the frame before. A frame without a pose
    ends the track, and poses found by another model are worth nothing.
    """

    def set_up(self) -> None:
        self._tracking = self.parameters["tracking"]
        self._last: tuple[Inspector, Localization] | None = None
        self._intake = Intake(self, self.parameters, self.inspect, self.hold)

    def inspect(self, query: Query) -> None:
        """Runs in the worker's thread."""
        raise NotImplementedError

    def hold(self, query: Query, reason: Reason, text: str) -> None:
        """Answer a query that is not looked at."""
        raise NotImplementedError

    def open_inputs(self) -> None:
        self._intake.open()

    def close_inputs(self) -> None:
        self._intake.close()

    def localize(self, inspector: Inspector | None, query: Query) -> Frame:
        """Localize in the track; `inspector` is given, because load_model may change the node's own meanwhile."""
        prior = self._last[1] if self._last is not None and self._last[0] is inspector else None
        frame = localize(inspector, query, lambda: self._intake.camera(query.header), prior)
        found = frame.localization
        self._last = (inspector, found) if self._tracking and inspector is not None and found.localized else None
        return frame
