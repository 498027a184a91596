"""renderer: localized views in, reference views out."""

from __future__ import annotations

import sys

from pad_ros.msg import LocalizedView

from ..verdicts import Reason
from .support.base import StageNode
from .support.messages import frame_from_localized, header_only
from .support.outputs import NEXT_STAGE_PATIENCE, RendererOutput
from .support.qos import reliable
from .support.spin import run
from .support.stages import render


class RendererNode(StageNode):
    """Second of the three stages. Views without a pose pass through, so that each ends in a result."""

    node_name = "renderer"

    def open_outputs(self) -> None:
        self._output = RendererOutput(self, self.depth)

    def open_inputs(self) -> None:
        self.create_subscription(LocalizedView, "localized_view", self._on_view, reliable(self.depth))

    def _on_view(self, msg: LocalizedView) -> None:
        worker = self.worker
        if worker is None or not worker.offer(lambda: self._render(msg)):
            text = f"renderer: {self.queue_size} views were waiting"
            self._output.publish(header_only(msg, Reason.DROPPED, text))

    def _render(self, msg: LocalizedView) -> None:
        try:
            frame = frame_from_localized(msg)
        except Exception as error:  # a message from elsewhere may hold anything
            frame = header_only(msg, Reason.INTERNAL_ERROR, f"localized view: {error}")
        frame = render(self.inspector, frame)
        self._output.publish(frame, NEXT_STAGE_PATIENCE)
        self.health.ran({"render": frame.render_ms}, frame.why_held)


def main() -> int:
    return run(RendererNode)


if __name__ == "__main__":
    sys.exit(main())
