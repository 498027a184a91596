"""localizer: images in, localized views out."""

from __future__ import annotations

import sys

from ..verdicts import Reason
from .support.camera_stage import CameraStage
from .support.outputs import NEXT_STAGE_PATIENCE, LocalizerOutput
from .support.spin import run
from .support.stages import Query, rejected


class LocalizerNode(CameraStage):
    """First of the three stages: a localized view for each accepted image or trigger."""

    node_name = "localizer"

    def open_outputs(self) -> None:
        self._output = LocalizerOutput(self, self.parameters["part_frame"], self.depth)

    def hold(self, query: Query, reason: Reason, text: str) -> None:
        self._output.publish(rejected(query, reason, text))
        self.health.ran({}, f"{reason.name}: {text}")

    def inspect(self, query: Query) -> None:
        frame = self.localize(self.inspector, query)
        self._output.publish(frame, NEXT_STAGE_PATIENCE)
        self.health.ran({"localize": frame.localize_ms}, frame.why_held)


def main() -> int:
    return run(LocalizerNode)


if __name__ == "__main__":
    sys.exit(main())
