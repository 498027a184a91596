"""scorer: reference views in, verdicts out."""

from __future__ import annotations

import sys

from pad_ros.msg import ReferenceView

from ..verdicts import Reason
from .support.base import StageNode
from .support.messages import frame_from_reference, header_only
from .support.outputs import ScorerOutput
from .support.qos import reliable
from .support.spin import run
from .support.stages import Frame, score


class ScorerNode(StageNode):
    """Last of the three stages: exactly one result for each view that comes in."""

    node_name = "scorer"

    def open_outputs(self) -> None:
        self._deadline = self.parameters["deadline"]
        self._output = ScorerOutput(self, self.parameters["part_frame"], self.depth, self._deadline)

    def open_inputs(self) -> None:
        self.create_subscription(ReferenceView, "reference_view", self._on_view, reliable(self.depth))

    def _on_view(self, msg: ReferenceView) -> None:
        worker = self.worker
        if worker is None or not worker.offer(lambda: self._score(msg)):
            self._publish(header_only(msg.view, Reason.DROPPED, f"scorer: {self.queue_size} views were waiting"))

    def _score(self, msg: ReferenceView) -> None:
        try:
            frame = frame_from_reference(msg)
        except Exception as error:  # a message from elsewhere may hold anything
            frame = header_only(msg.view, Reason.INTERNAL_ERROR, f"reference view: {error}")
        self._publish(frame)

    def _publish(self, frame: Frame) -> None:
        inspector = self.inspector
        inspection = score(inspector, frame, self._deadline)
        self._output.publish(frame, inspection, None if inspector is None else inspector.model)
        self.health.answered(inspection, frame.model_hash)


def main() -> int:
    return run(ScorerNode)


if __name__ == "__main__":
    sys.exit(main())
