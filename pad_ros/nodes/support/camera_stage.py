"""What the nodes share that images come in to: the intake, and the guess where the part is."""

from __future__ import annotations

from ...errors import InputError
from ...inspector import Inspector
from ...localization.result import Localization
from ...verdicts import Reason
from .base import StageNode
from .frames import Frames
from .intake import Intake
from .stages import Frame, Query, localize


class CameraStage(StageNode):
    """A stage that localizes images. Each accepted one comes to `inspect`, what cannot be judged to `hold`.

    With the parameter `tracking` the part is looked for first where it was in the frame before. A frame without a pose
    ends the track, and poses found by another model are worth nothing. With `pose_prior` tf it is looked for first
    where the robot has the camera, for models that were taught in a frame of the robot.
    """

    def set_up(self) -> None:
        self._tracking = self.parameters["tracking"]
        self._last: tuple[Inspector, Localization] | None = None
        self._frames = Frames(self, self.parameters["part_frame"]) if self.parameters["pose_prior"] == "tf" else None
        self._intake = Intake(self, self.parameters, self.inspect, self.hold)

    def inspect(self, query: Query) -> None:
        """Runs in the worker's thread."""
        raise NotImplementedError

    def hold(self, query: Query, reason: Reason, text: str) -> None:
        """Answer a query that is not looked at."""
        raise NotImplementedError

    def open_inputs(self) -> None:
        if self._frames is not None:
            self._frames.open()
        self._intake.open()

    def close_inputs(self) -> None:
        self._intake.close()

    def localize(self, inspector: Inspector | None, query: Query) -> Frame:
        """Localize in the track; `inspector` is given, because load_model may change the node's own meanwhile."""
        prior = self._measured(inspector, query)
        if prior is None and self._last is not None and self._last[0] is inspector:
            prior = self._last[1]
        frame = localize(inspector, query, lambda: self._intake.camera(query.header), prior)
        found = frame.localization
        self._last = (inspector, found) if self._tracking and inspector is not None and found.localized else None
        return frame

    def _measured(self, inspector: Inspector | None, query: Query) -> Localization | None:
        """Where /tf has the part; None where it does not say."""
        if self._frames is None or inspector is None:
            return None
        try:
            if not (frame := inspector.model.training.get("part_frame")):
                raise InputError("the model was taught without --part-frame: nothing in /tf says where its part is")
            pose = self._frames.pose(str(frame), query.header)
        except InputError as error:
            self.health.warn("pose_prior", f"pose_prior: {error}")
            return None
        self.health.warn("pose_prior", "")
        return Localization(pose, Reason.NONE, "from /tf")
