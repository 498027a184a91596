"""Results into a rosbag2, without ROS."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer

from ..decision.inspection import Inspection
from ..decision.result_message import result_message
from ..errors import InputError
from ..io.bags import typestore
from .output import written
from .pictures import heatmap_overlay

if TYPE_CHECKING:
    from ..model import ReferenceModel


class BagWriter(AbstractContextManager["BagWriter"]):
    """Serialized messages into a new mcap bag, in the order of writing. InputError where it cannot be written."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise InputError(f"{path}: exists already; name a new bag")
        self.types = typestore()
        self._path = path
        with written(path, "made a bag"):
            self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
        self._connections: dict[str, Any] = {}
        self._last_ns = 0

    def write(self, topic: str, kind: str, data: bytes, time_ns: int) -> None:
        """One message of type `kind` (e.g. "std_msgs/msg/String") as CDR; times that do not rise are moved on."""
        with written(self._path):
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self.types)
            self._last_ns = max(time_ns, self._last_ns + 1)
            self._writer.write(self._connections[topic], self._last_ns, data)

    def close(self) -> None:
        with written(self._path):
            self._writer.close()

    def __exit__(self, *_: object) -> None:
        self.close()


class ResultWriter:
    """`result`, and where there is a map `heatmap` and `heatmap_overlay`, for each inspected image."""

    def __init__(self, bag: BagWriter, model: ReferenceModel, namespace: str) -> None:
        self._bag, self._model, self._namespace = bag, model, namespace

    def add(self, inspection: Inspection, stamp_ns: int, time_ns: int, frame_id: str) -> None:
        """stamp_ns: of the image; time_ns: when it was recorded."""
        header = self._header(stamp_ns, frame_id)
        message = result_message(
            self._make, inspection, header=header, part_id="", model_name=self._model.name,
            model_hash=self._model.hash, trigger_stamp=self._time(0),
        )  # fmt: skip
        self._write("result", message, time_ns)
        if inspection.anomaly_map is None or inspection.image is None:
            return
        values = inspection.anomaly_map.values
        self._write("heatmap", self._image(values, "32FC1", header), time_ns)
        overlay = heatmap_overlay(inspection.image, values, inspection.threshold, inspection.defects)
        self._write("heatmap_overlay", self._image(overlay, "rgb8", header), time_ns)

    def _write(self, name: str, message: Any, time_ns: int) -> None:
        kind = message.__msgtype__
        data = bytes(self._bag.types.serialize_cdr(message, kind))
        self._bag.write(f"{self._namespace}/{name}", kind, data, time_ns)

    def _make(self, name: str, /, **values: Any) -> Any:
        return self._bag.types.types[name](**values)

    def _time(self, stamp_ns: int) -> Any:
        return self._make("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        return self._make("std_msgs/msg/Header", stamp=self._time(stamp_ns), frame_id=frame_id)

    def _image(self, pixels: NDArray[Any], encoding: str, header: Any) -> Any:
        pixels = np.ascontiguousarray(pixels)
        height, width = pixels.shape[:2]
        return self._make(
            "sensor_msgs/msg/Image", header=header, height=height, width=width, encoding=encoding, is_bigendian=0,
            step=pixels.nbytes // height, data=pixels.view(np.uint8).ravel(),
        )  # fmt: skip
