"""camera_replay: publishes the images of a folder, data set or bag as a camera would."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMsg
from std_msgs.msg import Header, String

from pad_ros.msg import Trigger

from ..errors import ImageError
from ..reporting.bag_writer import BagWriter
from ..reporting.output import written
from .support.convert import camera_to_info, compressed_to_rgb
from .support.parameter_tables import NODES
from .support.parameters import Parameters, as_parameters
from .support.qos import reliable
from .support.replay_figures import ReplayFigures
from .support.replay_source import ReplayFrame, open_source
from .support.spin import run
from .support.stages import stamp_ns

SETTLE = 1.0  # seconds after the first subscriber of the images: RViz may be known before the cell is


class CameraReplayNode(Node):
    """Publishes `image_raw` (or `image_raw/compressed`), `camera_info`, on `image_name` the file of each image, and
    with `part_views` a `trigger` before each.

    Waits for a subscriber; ends after the last image unless `loop` is set, with `figures` when all answers are there.
    InputError for a wrong parameter, and where log or bag cannot be written on.
    """

    def __init__(self, *, overrides: dict[str, object] | None = None, namespace: str = "") -> None:
        super().__init__("camera_replay", parameter_overrides=as_parameters(overrides), namespace=namespace)
        self.parameters = parameters = Parameters(self, NODES["camera_replay"])
        self._loop, self._part_views = parameters["loop"], parameters["part_views"]
        self._frame = parameters["camera_frame"]
        self._source = open_source(parameters["images"], parameters["camera"], parameters["labels"])
        self._frames = self._source.frames()
        log = parameters["log"]
        # What cannot be written ends the node with one line: the rest of the record would be missing.
        with written(Path(log)):
            self._log = open(log, "w", buffering=1) if log else None  # noqa: SIM115  (open as long as the node)
        self._bag = BagWriter(Path(record)) if (record := parameters["record"]) else None
        self._sent, self._heard = 0, 0.0
        self._compressed = parameters["image_transport"] == "compressed"
        topic, kind = ("image_raw/compressed", CompressedImage) if self._compressed else ("image_raw", ImageMsg)
        self._images = self.create_publisher(kind, topic, reliable(5))
        # Only where there is something to say: the line waits for a camera_info that is announced.
        self._infos = self.create_publisher(CameraInfo, "camera_info", reliable(1)) if self._source.has_camera else None
        self._names = self.create_publisher(String, "image_name", reliable(5))
        self._triggers = self.create_publisher(Trigger, "trigger", reliable(10)) if self._part_views else None
        self._figures = ReplayFigures(self) if parameters["figures"] else None
        self._patience, self._ended = parameters["figures_wait"], 0.0
        self.create_timer(1.0 / parameters["rate"], self._tick)

    def describe(self) -> str:
        return f"{self._source.count} images"

    def close(self) -> None:
        """InputError where not all that was to be recorded is on the disk."""
        self.destroy_node()
        outputs = [output for output in (self._log, self._bag) if output is not None]
        with written(Path(self.parameters["log"])), ExitStack() as closing:  # each, whatever another raises
            for output in outputs:
                closing.callback(output.close)

    def _tick(self) -> None:
        if self._images.get_subscription_count() == 0:
            return
        self._heard = self._heard or time.monotonic()
        if time.monotonic() - self._heard < SETTLE:
            return
        frame = next(self._frames, None)
        if frame is None:
            if not self._loop:
                self._end()
                return
            self._frames = self._source.frames()
            frame = next(self._frames)
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame)
        try:
            message = frame.message(header, self._compressed)
        except (ImageError, OSError) as error:
            self.get_logger().error(f"left out: {error}")
            return
        self._send(self._names, String(data=frame.name))
        if self._triggers is not None:
            part = f"part_{self._sent // self._part_views + 1}"
            self._send(self._triggers, Trigger(header=header, part_id=part))
        if self._infos is not None and frame.camera is not None:
            self._send(self._infos, camera_to_info(frame.camera, header))
        self._send(self._images, message)
        self._sent += 1
        if self._figures is not None:
            size = (message.height, message.width) if isinstance(message, ImageMsg) else decoded_size(message)
            self._figures.sent(stamp_ns(header.stamp), frame, size)
        self._write_log(frame, stamp_ns(header.stamp))

    def _end(self) -> None:
        """After the last image: with `figures` once all are answered, or nothing more comes."""
        now = time.monotonic()
        self._ended = self._ended or now
        if self._figures is not None and not self._figures.complete() and now - self._ended < self._patience:
            return
        self._images.wait_for_all_acked(Duration(seconds=5))
        if self._figures is not None:
            print(self._figures.text(), flush=True)
        self.context.try_shutdown()  # ends `run`

    def _send(self, publisher: Publisher, message: Any) -> None:
        publisher.publish(message)
        if self._bag is not None:
            kind = message.__class__
            name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
            self._bag.write(publisher.topic_name, name, serialize_message(message), time.time_ns())

    def _write_log(self, frame: ReplayFrame, stamp: int) -> None:
        self.get_logger().info(f"{stamp} {frame.name}")
        if self._log is not None:
            line = {"stamp": stamp, "image": frame.name}
            line |= {"label": frame.label} if frame.label else {}
            line |= {"mask": str(frame.mask.resolve())} if frame.mask else {}
            with written(Path(self._log.name)):
                self._log.write(json.dumps(line) + "\n")


def decoded_size(message: CompressedImage) -> tuple[int, int]:
    """(height, width); (0, 0) for what cannot be decoded."""
    try:
        height, width = compressed_to_rgb(message).shape[:2]
    except ImageError:
        return 0, 0
    return height, width


def main() -> int:
    return run(CameraReplayNode)


if __name__ == "__main__":
    sys.exit(main())
