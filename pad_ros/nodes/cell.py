"""cell: all three stages in one process, handed over by reference."""

from __future__ import annotations

import sys
import time
from concurrent.futures import Future, wait
from pathlib import Path

from rclpy.parameter import Parameter

from pad_ros.msg import InspectionResult
from pad_ros.srv import Inspect

from ..inspector import Inspector
from ..verdicts import Reason
from .support.camera_stage import CameraStage
from .support.collecting import Collector
from .support.convert import camera_from_info
from .support.limits import shortened
from .support.messages import result_msg
from .support.outputs import LocalizerOutput, RendererOutput, ScorerOutput
from .support.spin import BlockingCallbacks, run
from .support.stages import Frame, Query, localize, rejected, render, score
from .support.worker import Worker

PROMPT = 0.02  # seconds of waiting that are none: the image is inspected whatever is usual
SHUTDOWN_CHECK = 0.2  # seconds between looks at whether the worker of a waiting call still runs
SMOOTHING = 0.2  # weight of the last inspection in the usual time


class CellNode(CameraStage):
    """One inspection cell: exactly one result for each accepted image or trigger, and the `inspect` service."""

    node_name, load_model_service = "cell", "load_model"

    def set_up(self) -> None:
        super().set_up()
        self._collector: Collector | None = None
        self._collect(self.parameters["collect"])
        self.add_post_set_parameters_callback(self._on_parameters)

    def close(self) -> None:
        self._collect("")
        super().close()

    def _on_parameters(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            if parameter.name == "collect":
                self._collect(parameter.value)

    def _collect(self, folder: str) -> None:
        """Keep the images from now on in this folder; "": none."""
        before, self._collector = self._collector, Collector(self, Path(folder)) if folder else None
        if before is not None:
            before.close()

    def open_outputs(self) -> None:
        part_frame, self._deadline = self.parameters["part_frame"], self.parameters["deadline"]
        self._localized = LocalizerOutput(self, part_frame, self.depth)
        self._rendered = RendererOutput(self, self.depth)
        self._scored = ScorerOutput(self, part_frame, self.depth, self._deadline)
        self._usual = 0.0  # seconds that an inspection has taken of late

    def open_inputs(self) -> None:
        super().open_inputs()
        # A group of its own: a call waits for the worker, and must not keep load_model waiting with it.
        self.create_service(Inspect, "inspect", self._on_inspect, callback_group=BlockingCallbacks())

    def hold(self, query: Query, reason: Reason, text: str) -> None:
        self._finish(self.inspector, rejected(query, reason, text))

    def inspect(self, query: Query) -> None:
        began = time.monotonic_ns()
        waited = (began - query.accepted_ns) / 1e9
        if 0 < self._deadline < waited + self._usual and waited > PROMPT:
            # What would come too late takes no time from those behind it: an overload must not make all late.
            text = f"waited {1000 * waited:.0f} ms for its turn, too long for the deadline"
            self.hold(query, Reason.TIMEOUT, text)
            return
        inspector = self.inspector  # once: load_model may change it meanwhile
        frame = self.localize(inspector, query)
        self._localized.publish(frame)
        frame = render(inspector, frame)
        self._finish(inspector, frame)
        self._rendered.publish(frame)  # after the verdict, which must not wait for who wants to look at something
        if (collector := self._collector) is not None:
            collector.offer(frame)
        self._usual += SMOOTHING * ((time.monotonic_ns() - began) / 1e9 - self._usual)

    def _finish(self, inspector: Inspector | None, frame: Frame) -> None:
        inspection = score(inspector, frame, self._deadline)
        self._scored.publish(frame, inspection, None if inspector is None else inspector.model)
        self.health.answered(inspection, frame.model_hash)

    def _on_inspect(self, request: Inspect.Request, response: Inspect.Response) -> Inspect.Response:
        query = Query(request.image, request.image.header, shortened(request.part_id), time.monotonic_ns())
        answer: Future[InspectionResult] = Future()

        def job() -> None:
            try:
                inspector = self.inspector
                frame = localize(inspector, query, lambda: camera_from_info(request.camera_info))
                answer.set_result(_result(inspector, render(inspector, frame)))
            except Exception as error:
                answer.set_exception(error)

        try:
            worker = self.worker
            if worker is not None and worker.offer(job):
                response.result = self._awaited(answer, worker, query)
            else:
                text = f"{self.queue_size} images were waiting" if worker else "the node is not active"
                response.result = _result(self.inspector, rejected(query, Reason.DROPPED, text))
        except Exception as error:  # the caller gets an answer whatever happens
            response.result = _result(None, rejected(query, Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}"))
        return response

    def _awaited(self, answer: Future[InspectionResult], worker: Worker, query: Query) -> InspectionResult:
        """What the worker answers, or that it was shut down before."""
        while worker.alive and not answer.done():
            wait([answer], SHUTDOWN_CHECK)
        if answer.done():
            return answer.result()
        return _result(self.inspector, rejected(query, Reason.DROPPED, "the node was shut down before its turn"))


def _result(inspector: Inspector | None, frame: Frame) -> InspectionResult:
    return result_msg(score(inspector, frame), frame, None if inspector is None else inspector.model)


def main() -> int:
    return run(CellNode)


if __name__ == "__main__":
    sys.exit(main())
