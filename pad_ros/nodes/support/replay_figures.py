"""What the answers to a replay say about the model: the figures of `pad evaluate` and `pad bag`, printed at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image as ImageMsg

from pad_ros.msg import InspectionResult

from ...decision.inspection import AnomalyMap, Inspection
from ...decision.result_message import STAGES
from ...imaging import images
from ...reporting.gallery import GalleryEntry
from ...verdicts import Reason, Verdict
from .convert import image_to_floats
from .qos import reliable, result_qos
from .replay_source import ReplayFrame
from .stages import stamp_ns

if TYPE_CHECKING:
    from ...evaluation.evaluate import Outcome


@dataclass(frozen=True)
class Sent:
    """One published image. size: (height, width)."""

    name: str
    label: str
    mask: Path | None
    size: tuple[int, int]


class ReplayFigures:
    """Collects `result` and `heatmap` by the stamp of the image. Anomaly maps are kept for images with labels alone."""

    def __init__(self, node: Node) -> None:
        self._sent: dict[int, Sent] = {}
        self._results: dict[int, InspectionResult] = {}
        self._maps: dict[int, np.ndarray] = {}
        node.create_subscription(InspectionResult, "result", self._on_result, result_qos())
        node.create_subscription(ImageMsg, "heatmap", self._on_heatmap, reliable(20))

    def sent(self, stamp: int, frame: ReplayFrame, size: tuple[int, int]) -> None:
        self._sent[stamp] = Sent(frame.name, frame.label, frame.mask, size)

    def complete(self) -> bool:
        """Whether all images have their answer, and the labelled ones that were judged their map."""
        return all(
            stamp in self._results
            and (not sent.label or np.isnan(self._results[stamp].score) or stamp in self._maps)
            for stamp, sent in self._sent.items()
        )  # fmt: skip

    def text(self) -> str:
        """The figures with their intervals where all images are labelled, else what can be said without labels."""
        # Late, for what reports need takes seconds to load.
        from ...evaluation.evaluate import metrics_table, summarise
        from ...evaluation.metrics import percentiles

        if not self._sent:
            return "no image was published"
        found = list(self._results.values())
        lines = [f"{len(self._sent)} images, {len(found)} results"]
        if found and all(sent.label for sent in self._sent.values()):
            outcomes = [self._outcome(stamp, sent) for stamp, sent in self._sent.items()]
            figures = {"method": found[0].model_name or "pad", "baselines": {}, **summarise(outcomes)[0]}
            lines += [metrics_table(figures)]
        elif found:
            counts = Counter(Verdict(msg.verdict).name for msg in found)
            lines += [", ".join(f"{count} {name}" for name, count in sorted(counts.items()))]
            total = percentiles([msg.total_ms for msg in found])
            lines += [f"Time per image    {total['p50']:.0f} ms (median), {total['p95']:.0f} ms (p95)"]
        return "\n".join(lines)

    def _outcome(self, stamp: int, sent: Sent) -> Outcome:
        """An image without an answer counts as HOLD (TIMEOUT), as on the line."""
        from ...evaluation.evaluate import Outcome
        from ...evaluation.metrics import Judged

        found = inspection_of(self._results.get(stamp), self._maps.get(stamp))
        mask = None if sent.mask is None else images.load(sent.mask)[..., 0] > 127
        localized = stamp in self._results and self._results[stamp].pose.covariance[0] != -1
        record = {
            "label": sent.label, "rotation_deg": None, "translation_percent": None,
            "latency_ms": {stage: found.timings_ms.get(stage) for stage in STAGES},
        }  # fmt: skip
        judged = Judged.of(found, sent.label != "good", mask, sent.size)
        entry = GalleryEntry(sent.name, found.verdict, found.reason_text, found.score, found.threshold, {}, sent.label)
        return Outcome(judged, localized, record, entry)

    def _on_result(self, msg: InspectionResult) -> None:
        stamp = stamp_ns(msg.header.stamp)
        if stamp in self._sent:
            self._results.setdefault(stamp, msg)

    def _on_heatmap(self, msg: ImageMsg) -> None:
        stamp = stamp_ns(msg.header.stamp)
        if stamp in self._sent and self._sent[stamp].label:
            self._maps[stamp] = image_to_floats(msg)


def inspection_of(msg: InspectionResult | None, values: np.ndarray | None) -> Inspection:
    """What a message says of an inspection, for the metrics; None: HOLD."""
    if msg is None:
        return Inspection.hold(Reason.TIMEOUT, "no result")
    anomaly_map = None if values is None else AnomalyMap(values)
    times = {stage: getattr(msg, f"{stage}_ms") for stage in STAGES if getattr(msg, f"{stage}_ms") > 0}
    return Inspection(
        Verdict(msg.verdict), Reason(msg.reason), msg.reason_text, msg.score, msg.threshold, (), None, None,
        anomaly_map, None, times,
    )  # fmt: skip
