"""/diagnostics of a stage: state, model, rates, latencies, share of HOLD, drift of the score."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

from ...decision.inspection import Inspection
from ...evaluation.metrics import auroc
from ...verdicts import Verdict

if TYPE_CHECKING:
    from ...inspector import Inspector
    from .model_cache import ModelCache

REPORT = 1.0  # seconds between reports
WINDOW = 10.0  # seconds over which rates are counted
RECENT = 200  # frames that percentiles, share of HOLD and drift are taken over
FEWEST = 20  # scores before drift is judged
DRIFTED = 0.9  # chance that a present score exceeds one of the calibration: 0.5 where nothing has changed
TOO_MANY_HOLDS = 0.5


def _threshold(inspector: Inspector | None) -> dict[str, Any]:
    calibration = None if inspector is None else inspector.model.calibration
    if calibration is None:
        return {}
    return {"threshold": round(calibration.threshold, 4), "false_reject_rate": calibration.false_reject_rate}


class Stage(Protocol):
    """What the health of a stage shows of it."""

    state: str
    inspector: Inspector | None
    models: ModelCache
    problem: str  # why there is no model, or why the last transition failed


def graded(errors: list[str], warnings: list[str], fine: str) -> tuple[bytes, str]:
    """Level and message of a DiagnosticStatus."""
    level = DiagnosticStatus.ERROR if errors else DiagnosticStatus.WARN if warnings else DiagnosticStatus.OK
    return level, "; ".join(errors + warnings) or fine


class Reporter:
    """Publishes one DiagnosticStatus a second (steady clock) where somebody listens. Safe to use from all threads."""

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._name = name
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._warnings: dict[str, str] = {}
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=10))
        node.create_timer(REPORT, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def warn(self, topic: str, text: str) -> None:
        """Show a standing warning about a topic; "" ends it."""
        with self._lock:
            self._warnings[topic] = text

    def warnings(self) -> list[str]:
        with self._lock:
            return [text for text in self._warnings.values() if text]

    def status(self) -> tuple[bytes, str, dict[str, Any]]:
        """(level, message, values)"""
        raise NotImplementedError

    def _report(self) -> None:
        if self._publisher.get_subscription_count() == 0:
            return
        level, message, values = self.status()
        name = f"{self._node.get_fully_qualified_name()}: {self._name}"
        status = DiagnosticStatus(level=level, name=name, message=message, hardware_id="pad_ros")
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)


class Health(Reporter):
    """Counts what a stage does."""

    def __init__(self, node: Node, stage: Stage) -> None:
        self._stage = stage
        self._times: dict[str, deque[float]] = {}
        self._arrivals: deque[float] = deque()
        self._held: deque[bool] = deque(maxlen=RECENT)
        self._scores: deque[float] = deque(maxlen=RECENT)
        self._model_hash = ""
        self._last_hold = ""
        super().__init__(node, "stage")

    def ran(self, times_ms: dict[str, float], held: str = "") -> None:
        """A frame left the stage; `held`: why it will be HOLD."""
        with self._lock:
            self._counts["frames"] += 1
            self._arrivals.append(time.monotonic())
            self._held.append(bool(held))
            self._last_hold = held or self._last_hold
            for name, value in times_ms.items():
                if value > 0:
                    self._times.setdefault(name, deque(maxlen=RECENT)).append(value)

    def answered(self, inspection: Inspection, model_hash: str) -> None:
        """A result left the stage. The scores of another model say nothing about this one's drift."""
        held = inspection.verdict is Verdict.HOLD
        self.ran(inspection.timings_ms, f"{inspection.reason.name}: {inspection.reason_text}" if held else "")
        with self._lock:
            self._counts[inspection.verdict.name] += 1
            if model_hash != self._model_hash:
                self._scores.clear()
                self._model_hash = model_hash
            if np.isfinite(inspection.score):
                self._scores.append(inspection.score)

    def drift(self) -> float:
        """Chance that a score of today exceeds one of the calibration's good views; NaN where too few are known."""
        inspector = self._stage.inspector
        calibration = None if inspector is None else inspector.model.calibration
        with self._lock:
            recent = np.array(self._scores, np.float64)
        if calibration is None or len(recent) < FEWEST:
            return float("nan")
        return auroc(np.asarray(calibration.scores, np.float64), recent)

    def status(self) -> tuple[bytes, str, dict[str, Any]]:
        stage, drift, now, warnings = self._stage, self.drift(), time.monotonic(), self.warnings()
        inspector = stage.inspector
        with self._lock:
            while self._arrivals and now - self._arrivals[0] > WINDOW:
                self._arrivals.popleft()
            held = float(np.mean(self._held)) if self._held else 0.0
            values: dict[str, Any] = {
                "state": stage.state,
                "model": "" if inspector is None else inspector.model.name,
                "model_hash": "" if inspector is None else inspector.model.hash,
                "device": "" if inspector is None else inspector.device,
                "models_loaded": stage.models.describe(),
                **_threshold(inspector),
                "problem": stage.problem,
                "rate_hz": round(len(self._arrivals) / WINDOW, 2),
                **self._counts,
                "hold_rate": round(held, 3),
                "last_hold": self._last_hold,
                "score_drift": round(drift, 3),
            }
            for name, times in self._times.items():
                p50, p95 = np.percentile(times, [50, 95])
                values[f"{name}_ms_p50"], values[f"{name}_ms_p95"] = round(float(p50), 1), round(float(p95), 1)
        if stage.problem:
            return *graded([stage.problem], [], ""), values
        if held > TOO_MANY_HOLDS:
            warnings.append(f"{100 * held:.0f} % of the last frames are HOLD, last: {self._last_hold}")
        if drift > DRIFTED:
            warnings.append(
                f"the scores have risen ({100 * drift:.0f} % chance to exceed one of the calibration, 50 % is normal): "
                "light, focus or surface differ from the training's"
            )
        return *graded([], warnings, stage.state), values
