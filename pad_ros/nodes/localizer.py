"""localizer: images in, localized views out."""

from __future__ import annotations

import sys
from typing import Any

from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header

from ..reasons import Reason
from .base import StageNode, run
from .intake import Intake
from .outputs import NEXT_STAGE_PATIENCE, LocalizerOutput
from .stages import Query, localize, rejected


class LocalizerNode(StageNode):
    """First of the three stages; see DESIGN's table of topics."""

    def __init__(self, **options: Any) -> None:
        super().__init__("localizer", **options)
        part_frame = self.parameters.declare("part_frame", "part", "frame of the part, child in the transform")
        self._output = LocalizerOutput(self, part_frame, self.depth)
        self._intake = Intake(self, self.parameters, self._accept, self._missing)

    def _accept(self, message: ImageMsg | CompressedImage, part_id: str, accepted_ns: int) -> None:
        query = Query(message, message.header, part_id, accepted_ns)
        if not self.worker.offer(lambda: self._localize(query)):
            self._output.publish(rejected(query, Reason.DROPPED, f"localizer: {self.queue_size} images were waiting"))

    def _missing(self, header: Header, part_id: str, since_ns: int, reason: Reason, text: str) -> None:
        self._output.publish(rejected(Query(None, header, part_id, since_ns), reason, text))

    def _localize(self, query: Query) -> None:
        self._output.publish(localize(self.inspector, query, self._intake.camera), NEXT_STAGE_PATIENCE)


def main() -> int:
    return run(LocalizerNode)


if __name__ == "__main__":
    sys.exit(main())
