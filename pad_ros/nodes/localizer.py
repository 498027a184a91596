"""localizer: images in, localized views out."""

from __future__ import annotations

import sys
from typing import Any

from ..verdicts import Reason
from .support.base import StageNode
from .support.intake import Intake
from .support.outputs import NEXT_STAGE_PATIENCE, LocalizerOutput
from .support.spin import run
from .support.stages import Query, localize, rejected
from .support.tracking import Tracking


class LocalizerNode(StageNode):
    """First of the three stages: a localized view for each accepted image or trigger."""

    def __init__(self, **options: Any) -> None:
        super().__init__("localizer", **options)
        self._tracking = Tracking(self.parameters)
        self._intake = Intake(self, self.parameters, self._localize, self._hold)
        self.start()

    def open_outputs(self) -> None:
        self._output = LocalizerOutput(self, self.parameters["part_frame"], self.depth)

    def open_inputs(self) -> None:
        self._intake.open()

    def close_inputs(self) -> None:
        self._intake.close()

    def _hold(self, query: Query, reason: Reason, text: str) -> None:
        self._output.publish(rejected(query, reason, text))
        self.health.ran({}, f"{reason.name}: {text}")

    def _localize(self, query: Query) -> None:
        inspector = self.inspector  # once: load_model may change it meanwhile
        prior = self._tracking.guess(inspector)
        frame = localize(inspector, query, lambda: self._intake.camera(query.header), prior)
        self._tracking.learn(inspector, frame)
        self._output.publish(frame, NEXT_STAGE_PATIENCE)
        self.health.ran({"localize": frame.localize_ms}, frame.why_held)


def main() -> int:
    return run(LocalizerNode)


if __name__ == "__main__":
    sys.exit(main())
