"""recorder: keeps every result of a cell in the station's history, with pictures by a rule. No cell waits for it."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMsg

from pad_ros.msg import InspectionResult

from ..errors import InputError
from ..station.picture_store import HEATMAP, KINDS, QUERY, REFERENCE, Keeping, PictureRule, PictureSettings
from ..station.place import Place
from ..station.record import SECOND, ResultRecord, record_of_message
from ..station.writer import HistoryWriter, WriterSettings
from .support.convert import camera_from_info
from .support.gathering import Gatherer
from .support.health import Reporter, graded
from .support.limits import usable_info
from .support.model_loader import ModelLoader
from .support.parameter_tables import NODES
from .support.parameters import Parameters, as_parameters
from .support.qos import image_topic, latched, reliable, watched_subscription
from .support.spin import run
from .support.stages import stamp_ns
from .support.station_link import StationLink

CHECK = 0.1  # seconds between looks at results that wait for pictures
NICE = 5  # of the process: on a machine that is busy the cell goes first
MEGABYTE, GIGABYTE = 10**6, 10**9
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)  # goes with whatever a driver offers


class RecorderNode(Node):
    """Listens to `result`, and for the pictures to the images, `reference` and `heatmap`. Results that a cell kept for
    late subscribers are recognised, so a recorder that was restarted misses none of the last hundred and doubles none.

    InputError for a wrong parameter or a station that cannot be opened at all.
    """

    def __init__(self, *, overrides: dict[str, object] | None = None, namespace: str = "") -> None:
        super().__init__("recorder", parameter_overrides=as_parameters(overrides), namespace=namespace)
        self.parameters = p = Parameters(self, NODES["recorder"])
        if not p["station"]:
            raise InputError("parameter station: the folder of the station is needed")
        self.cell = p["cell"] or self.get_namespace().strip("/") or "cell"
        self.place = Place(Path(p["station"]), p["database"]).make()
        self.health = RecorderHealth(self)
        self.others: dict[str, dict[str, Any]] = {}  # what /diagnostics says of the cell's nodes
        self._facts: dict[str, Any] = {}
        self._camera: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self.writer = HistoryWriter(self.place, self._writer_settings(), state=self._state)
        self._link = StationLink(self.place, self.cell, Path(p["model"]) if p["model"] else None)
        self._gatherer = Gatherer(p["picture_memory"] * MEGABYTE, p["picture_wait"], self.writer.add_pictures)
        services = [name.strip() for name in p["load_model"].split(",") if name.strip()]
        self._loader = ModelLoader(self, self._link, services)
        self.create_subscription(InspectionResult, "result", self._on_result, latched(200))
        if p["pictures"]:
            kind, topic, qos = image_topic(p, 10)
            watched_subscription(self, kind, topic, self._keeper(QUERY), qos, "image")
            self.create_subscription(ImageMsg, "reference", self._keeper(REFERENCE), reliable(10))
            self.create_subscription(ImageMsg, "heatmap", self._keeper(HEATMAP), reliable(10))
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, BEST_EFFORT)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=20))
        self.create_timer(CHECK, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def describe(self) -> str:
        return f"keeps the results of {self.cell} in {self.place.folder}"

    def close(self) -> None:
        self._gatherer.check(float("inf"))
        self._link.close()
        status = self.writer.close()
        self.destroy_node()
        if status.lost or status.refused:
            raise InputError(
                f"{self.place.folder}: {status.lost + status.refused} results were not kept: "
                f"{status.problem or 'the database refused them'}"
            )

    def _writer_settings(self) -> WriterSettings:
        p = self.parameters
        rule = PictureRule(
            p["keep_rejected"], p["keep_held"], p["keep_every"], p["keep_lowest_p"], p["keep_random"]
        )  # fmt: skip
        keeping = {kind: Keeping(p[f"{kind}_days"], int(p[f"{kind}_gigabytes"] * GIGABYTE)) for kind in KINDS}
        pictures = PictureSettings(rule, keeping, p["query_format"])
        return WriterSettings(self.cell, p["queue_size"], p["picture_memory"] * MEGABYTE, pictures)

    def _keeper(self, kind: str) -> Callable[[Any], None]:
        return lambda msg: self._gatherer.picture(kind, msg)

    def _on_result(self, msg: InspectionResult, info: dict[str, Any]) -> None:
        sent_ns = int(info["source_timestamp"]) or time.time_ns()
        parts = (self.cell, sent_ns, msg.part_id, stamp_ns(msg.header.stamp), msg.verdict)
        uid = blake2b(repr(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()
        record = record_of_message(msg, time_ns=sent_ns, cell=self.cell, uid=uid)
        self._note(record)
        self.health.count(record.verdict.name)
        wanted = self.parameters["pictures"] and self.writer.wants_pictures(record)
        if self.writer.offer(record, later=wanted) and wanted:
            self._gatherer.want(record, time.monotonic())

    def _note(self, record: ResultRecord) -> None:
        """For the cell's state: when its clock and ours disagree, the image's age is not what the cell took."""
        took = (record.latencies_ms[3] or 0.0) / 1000
        age = (record.time_ns - record.image_ns) / SECOND - took if record.image_ns else None
        with self._lock:
            self._facts = {
                "model_hash": record.model_hash, "model_name": record.model_name,
                "image_age": None if age is None else round(age, 3),
                "clock": round(time.time() - record.time_ns / SECOND, 3),
            }  # fmt: skip

    def _on_camera_info(self, msg: CameraInfo) -> None:
        """Who calibrates from the kept images needs their camera."""
        if usable_info(msg):
            with suppress(InputError), self._lock:
                camera = camera_from_info(msg)
                self._camera = None if camera is None else asdict(camera)

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        """The nodes of this namespace; the recorder itself knows better."""
        prefix = self.get_namespace().rstrip("/") + "/"
        for status in array.status[:50]:
            name = status.name.split(":")[0].strip()
            if name.rpartition("/")[0] + "/" == prefix and name != self.get_fully_qualified_name():
                level = int.from_bytes(status.level, "little")
                with self._lock:
                    if len(self.others) < 50 or name in self.others:
                        self.others[name] = {
                            "level": level, "message": status.message[:300], "seen_ns": time.time_ns()
                        }  # fmt: skip

    def _state(self) -> dict[str, dict[str, Any]]:
        """What the station's pages show of the cell; called in the writer's thread."""
        status = self.writer.status()
        with self._lock:
            return {
                self.cell: {
                    **self._facts, "camera": self._camera, "nodes": dict(self.others),
                    **{name: getattr(status, name) for name in STATUS},
                    "disk_free": shutil.disk_usage(self.place.folder).free,
                }
            }  # fmt: skip

    def _check(self) -> None:
        self._gatherer.check(time.monotonic())
        self._loader.check()


STATUS = (
    "committed", "waiting", "lost", "refused", "waiting_pictures", "lost_pictures", "swept", "reopened", "problem",
    "picture_problem",
)  # fmt: skip


class RecorderHealth(Reporter):
    """/diagnostics of the recorder."""

    def __init__(self, node: RecorderNode) -> None:
        self._recorder = node
        super().__init__(node, "history")

    def status(self) -> tuple[bytes, str, dict[str, Any]]:
        found = self._recorder.writer.status()
        values = {**self._counts, **{name: getattr(found, name) for name in STATUS}}
        errors = [found.problem] if found.problem else []
        if found.lost:
            errors.append(f"{found.lost} results are lost: no room in memory")
        warnings = [*self.warnings(), *([found.picture_problem] if found.picture_problem else [])]
        return *graded(errors, warnings, "all results are kept"), values


def main() -> int:
    os.nice(NICE)
    return run(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())
