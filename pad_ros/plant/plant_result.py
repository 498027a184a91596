"""What the plant is told of a result: one mapping for OPC UA and MQTT. Only a PASS that is believed is told as good.

docs/plant.md has the table; result.schema.json describes `content`.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ..decision.inspection import DefectKind
from ..verdicts import Reason, Verdict

SCHEMA = "pad_ros/result/1"
MAX_TEXT = 1000  # characters of a part_id, a name or a text; what is longer is cut
MAX_DEFECTS = 32  # that are listed, the largest evidence first; `defects_found` counts all
STAGES = ("localize", "render", "score", "total")
NAMESPACE = uuid.UUID("6f0e2c0a-2d0b-4f39-9b5f-6f7a1c9d5a31")  # of result ids; made once, by chance


@dataclass(frozen=True)
class PlantResult:
    """One result. Stamps in ns since 1970, 0: none; received_ns: when it was heard. `defects` as in `content`."""

    part_id: str
    trigger_ns: int
    image_ns: int
    received_ns: int
    verdict: Verdict
    reason: Reason
    reason_text: str
    model_name: str = ""
    model_hash: str = ""
    score: float = math.nan
    threshold: float = math.nan
    view_share: float = math.nan
    light_change: float = math.nan
    timings_ms: tuple[float, ...] = (0.0,) * len(STAGES)
    defects: tuple[dict[str, Any], ...] = ()
    defects_found: int = 0

    @property
    def good(self) -> bool:
        return self.verdict is Verdict.PASS

    @property
    def key(self) -> tuple[str, int, int]:
        """What ties it to its question: part and trigger where there is one, else the image's stamp."""
        return (self.part_id, self.trigger_ns, 0) if self.part_id or self.trigger_ns else ("", 0, self.image_ns)

    def held(self, reason: Reason, why: str) -> PlantResult:
        """The same as HOLD."""
        return replace(self, verdict=Verdict.HOLD, reason=reason, reason_text=why[:MAX_TEXT])

    def result_id(self, cell: str) -> str:
        """The same wherever this result of the cell is told; another for every other result."""
        when = () if self.trigger_ns or self.image_ns else (self.received_ns,)
        parts = (cell, self.part_id, self.trigger_ns, self.image_ns, self.verdict.name, *when)
        return str(uuid.uuid5(NAMESPACE, "\x1f".join(str(part) for part in parts)))


def from_message(msg: Any, received_ns: int) -> PlantResult:
    """Of an InspectionResult, or what has its fields. A message that contradicts itself is HOLD, INTERNAL_ERROR."""
    defects = tuple(_defect(defect) for defect in msg.defects[:MAX_DEFECTS])
    result = PlantResult(
        part_id=text(msg.part_id),
        trigger_ns=_nanoseconds(msg.trigger_stamp),
        image_ns=_nanoseconds(msg.header.stamp),
        received_ns=received_ns,
        verdict=_known(Verdict, msg.verdict, Verdict.HOLD),
        reason=_known(Reason, msg.reason, Reason.INTERNAL_ERROR),
        reason_text=text(msg.reason_text),
        model_name=text(msg.model_name),
        model_hash=text(msg.model_hash),
        score=float(msg.score),
        threshold=float(msg.threshold),
        view_share=float(msg.view_share),
        light_change=float(msg.light_change),
        timings_ms=tuple(float(getattr(msg, f"{stage}_ms")) for stage in STAGES),
        defects=defects,
        defects_found=len(msg.defects),
    )
    problem = _contradiction(msg, result)
    return result.held(Reason.INTERNAL_ERROR, problem) if problem else result


def no_result(part_id: str, trigger_ns: int, now_ns: int, reason: Reason, why: str) -> PlantResult:
    """Stands for the result of a part that was asked for and not answered: HOLD."""
    return PlantResult(text(part_id), trigger_ns, 0, now_ns, Verdict.HOLD, reason, text(why))


def believed(result: PlantResult, problem: str, wanted_hash: str = "") -> PlantResult:
    """The result; HOLD for a PASS that may not count: because of `problem`, or by another model than the wanted."""
    if not result.good:
        return result
    if problem:
        return result.held(Reason.INTERNAL_ERROR, problem)
    if wanted_hash and result.model_hash != wanted_hash:
        why = f"judged by model {result.model_hash[:12]}, {wanted_hash[:12]} is the one to be used"
        return result.held(Reason.NO_MODEL, why)
    return result


def content(result: PlantResult, cell: str, result_id: str, job_id: str = "") -> dict[str, Any]:
    """Plain values for JSON (result.schema.json); numbers that are not finite are None."""
    return {
        "schema": SCHEMA,
        "result_id": result_id,
        "job_id": job_id,
        "cell": cell,
        "part_id": result.part_id,
        "verdict": result.verdict.name,
        "good": result.good,
        "reason": result.reason.name,
        "reason_text": result.reason_text,
        "told_at": iso_time(result.received_ns),
        "trigger_time": iso_time(result.trigger_ns) if result.trigger_ns else None,
        "image_time": iso_time(result.image_ns) if result.image_ns else None,
        "model_name": result.model_name,
        "model_hash": result.model_hash,
        "score": number(result.score),
        "threshold": number(result.threshold),
        "view_share": number(result.view_share),
        "light_change": number(result.light_change),
        "timings_ms": dict(zip(STAGES, (number(ms, 2) for ms in result.timings_ms), strict=True)),
        "defects": list(result.defects),
        "defects_found": result.defects_found,
    }


def iso_time(nanoseconds: int) -> str:
    """UTC, to the microsecond."""
    return as_utc(nanoseconds).isoformat(timespec="microseconds").replace("+00:00", "Z")


def as_utc(nanoseconds: int) -> datetime:
    """Of a time since 1970; a stamp that no calendar has becomes 1970."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, timezone.utc)


def text(value: str) -> str:
    """Cut, and without what no UTF-8 has."""
    return value[:MAX_TEXT].encode(errors="replace").decode()


def number(value: float, digits: int = 6) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None


def _contradiction(msg: Any, result: PlantResult) -> str:
    """Why a message cannot be what its sender means; "" for most."""
    if msg.verdict not in tuple(Verdict):
        return f"the result has the unknown verdict {msg.verdict}"
    if result.verdict is Verdict.HOLD and result.reason in (Reason.NONE, Reason.ANOMALY):
        return f"HOLD with reason {result.reason.name}"
    if not result.good:
        return ""
    if msg.reason != Reason.NONE:
        return f"PASS with reason {msg.reason}"
    if not (math.isfinite(result.score) and math.isfinite(result.threshold) and result.score <= result.threshold):
        return f"PASS with score {result.score:g} and threshold {result.threshold:g}"
    if not result.model_hash:
        return "PASS without a model"
    return f"PASS with {result.defects_found} defects" if result.defects_found else ""


def _defect(msg: Any) -> dict[str, Any]:
    """Under the names of `pad inspect --json`."""
    box, place = msg.box, (msg.centroid.x, msg.centroid.y, msg.centroid.z)
    return {
        "box": [int(v) for v in (box.x_offset, box.y_offset, box.width, box.height)],
        "area": int(msg.area),
        "peak_score": number(msg.peak_score, 4),
        "centroid": [number(v) for v in place] if all(math.isfinite(v) for v in place) else None,
        "kind": DefectKind(msg.kind).name if msg.kind in _values(DefectKind) else "CHANGED",
    }


def _known(kind: Any, value: int, otherwise: Any) -> Any:
    return kind(value) if value in _values(kind) else otherwise


def _values(kind: Any) -> Sequence[int]:
    return [member.value for member in kind]


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
