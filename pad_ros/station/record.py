"""What is kept of one result, with every value checked: records come from any peer of the graph."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Any

from ..decision.inspection import DefectKind, Inspection
from ..decision.result_message import STAGES
from ..verdicts import Reason, Verdict

MAX_TEXT = 1000  # characters
MAX_DEFECTS = 100  # of one result; they come with the largest evidence first
SECOND = 10**9  # ns
LATEST_NS = 2**63 - 1

Quantities = tuple[float | None, ...]


@dataclass(frozen=True)
class DefectRecord:
    """box: (x, y, width, height) in query pixels; area: px; place: on the part, part frame, None where unknown; kind: a
    name of DefectKind, or "UNKNOWN"."""

    box: tuple[int, int, int, int]
    area: int
    peak_score: float | None
    place: tuple[float, float, float] | None
    kind: str


@dataclass(frozen=True)
class ResultRecord:
    """One result. uid: unique among all stations; time_ns: Unix time of the verdict; image_ns, trigger_ns: stamps as
    they came, 0 without; pose: of the part in the camera's frame, (x, y, z, qx, qy, qz, qw), None without; source: the
    file or topic of the image. Numbers that are unknown are None.
    """

    time_ns: int
    cell: str
    part_id: str
    model_name: str
    model_hash: str
    verdict: Verdict
    reason: int
    reason_text: str
    score: float | None = None
    threshold: float | None = None
    p_value: float | None = None
    view_share: float | None = None
    light_change: float | None = None
    sharpness: float | None = None
    latencies_ms: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)  # STAGES
    image_ns: int = 0
    trigger_ns: int = 0
    pose: Quantities | None = None
    source: str = ""
    defects: tuple[DefectRecord, ...] = ()
    uid: str = ""

    @property
    def reason_name(self) -> str:
        return reason_name(self.reason)


def reason_name(number: int) -> str:
    """The name of a reason; its number where this version knows none."""
    return Reason(number).name if number in set(Reason) else str(number)


def record_of_inspection(
    inspection: Inspection, *, time_ns: int, cell: str, part_id: str, model_name: str, model_hash: str, source: str
) -> ResultRecord:  # parameters: what an inspection does not know of itself
    """The record of an inspection in this process."""
    pose = None if inspection.localization is None else inspection.localization.pose
    w, x, y, z = (0.0,) * 4 if pose is None else pose.quaternion()
    kept = None if pose is None else tuple(number(v) for v in (*pose.translation, x, y, z, w))
    return ResultRecord(
        time_ns=nanoseconds(time_ns), cell=text(cell), part_id=text(part_id), model_name=text(model_name),
        model_hash=text(model_hash), verdict=inspection.verdict, reason=int(inspection.reason),
        reason_text=text(inspection.reason_text), score=number(inspection.score),
        threshold=number(inspection.threshold), p_value=number(inspection.p_value),
        view_share=number(inspection.conditions.view_share), light_change=number(inspection.conditions.light),
        sharpness=number(inspection.conditions.sharpness), latencies_ms=_latencies(inspection.timings_ms), pose=kept,
        source=text(source), uid=new_uid(),
        defects=tuple(
            DefectRecord(d.box, int(d.area), number(d.peak_score), _place(d.centroid), d.kind.name)
            for d in inspection.defects[:MAX_DEFECTS]
        ),
    )  # fmt: skip


def record_of_message(msg: Any, *, time_ns: int, cell: str, uid: str = "") -> ResultRecord:
    """The record of an InspectionResult, of rclpy or of a bag; uid: "" for a new one. A verdict that is none of ours
    is HOLD."""
    verdict = Verdict(msg.verdict) if msg.verdict in set(Verdict) else Verdict.HOLD
    p, q = msg.pose.pose.position, msg.pose.pose.orientation
    known = msg.pose.covariance[0] != -1 or any((p.x, p.y, p.z))
    times = {stage: getattr(msg, f"{stage}_ms") for stage in STAGES}
    return ResultRecord(
        time_ns=nanoseconds(time_ns), cell=text(cell), part_id=text(msg.part_id), model_name=text(msg.model_name),
        model_hash=text(msg.model_hash), verdict=verdict, reason=int(msg.reason), reason_text=text(msg.reason_text),
        score=number(msg.score), threshold=number(msg.threshold), p_value=number(msg.p_value),
        view_share=number(msg.view_share), light_change=number(msg.light_change), sharpness=number(msg.sharpness),
        latencies_ms=_latencies(times), image_ns=_stamp(msg.header.stamp), trigger_ns=_stamp(msg.trigger_stamp),
        pose=tuple(number(v) for v in (p.x, p.y, p.z, q.x, q.y, q.z, q.w)) if known else None,
        source=text(msg.header.frame_id), uid=uid or new_uid(),
        defects=tuple(_defect(defect) for defect in msg.defects[:MAX_DEFECTS]),
    )  # fmt: skip


def new_uid() -> str:
    return uuid.uuid4().hex


def text(value: object) -> str:
    """Text that every database takes: without NUL and lone surrogates, and not too long."""
    return str(value)[:MAX_TEXT].replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def number(value: float) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None


def nanoseconds(value: int) -> int:
    """A time that fits into 64 bits."""
    return max(0, min(int(value), LATEST_NS))


def _latencies(times: dict[str, float]) -> tuple[float | None, float | None, float | None, float | None]:
    localize, render, score, total = (number(times[s]) if times.get(s) else None for s in STAGES)
    return localize, render, score, total


def _place(point: Any) -> tuple[float, float, float] | None:
    if point is None:
        return None
    x, y, z = (float(v) for v in point)
    return (x, y, z) if all(map(math.isfinite, (x, y, z))) else None


def _defect(msg: Any) -> DefectRecord:
    box, at = msg.box, msg.centroid
    kind = DefectKind(msg.kind).name if msg.kind in {k.value for k in DefectKind} else "UNKNOWN"
    pixels = tuple(min(int(v), 2**31 - 1) for v in (box.x_offset, box.y_offset, box.width, box.height))
    x, y, width, height = pixels
    area = min(int(msg.area), 2**31 - 1)
    return DefectRecord((x, y, width, height), area, number(msg.peak_score), _place((at.x, at.y, at.z)), kind)


def _stamp(stamp: Any) -> int:
    return nanoseconds(int(stamp.sec) * SECOND + int(stamp.nanosec))
