"""`pad evaluate`: a model on a labelled data set gives metrics.json and report.html."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..decision.inspection import Inspection
from ..decision.result_message import STAGES
from ..errors import ImageError
from ..imaging.geometry import Camera, rotation_angle, translation_error
from ..imaging.images import Image
from ..progress import progress
from ..reporting.gallery import GalleryEntry
from ..reporting.output import make_folder, write_json
from ..verdicts import Reason, Verdict
from . import metrics as m
from .confidence import LEVEL, RESAMPLES, intervals, wilson
from .dataset import GOOD, Dataset, LabelledImage
from .machine import describe_machine
from .metrics import Judged, PixelCounts
from .report import FIGURES, figure_text, write_report

if TYPE_CHECKING:
    from ..inspector import Inspector

OnInspection = Callable[[Any, Inspection], None]  # called with each image and the answer


class Inspects(Protocol):
    """What is evaluated: the Inspector, or a baseline that knows no pose (its results carry none)."""

    def inspect(self, image: Image, camera: Camera | None = None) -> Inspection: ...


@dataclass(frozen=True, eq=False)
class Outcome:
    """What is kept of one inspected test image. record: its entry under "per_image" in metrics.json."""

    judged: Judged
    localized: bool
    record: dict[str, Any]
    entry: GalleryEntry


def evaluate(
    inspector: Inspector,
    dataset: Dataset,
    out: Path,
    baselines: Mapping[str, Inspects] | None = None,
    on_inspection: OnInspection | None = None,
) -> dict[str, Any]:
    """Inspect every test image and write out/metrics.json and out/report.html, each in one step.

    Returns what metrics.json holds; undefined figures are NaN, and null in the file. `baselines` are judged on the same
    images. Time per image runs from reading the file to the verdict; the inspector is warmed up before, so that no
    kernel is compiled in it. InputError where a ground truth does not fit or nothing can be written.
    """
    make_folder(out)
    inspector.warm_up()
    model = inspector.model
    outcomes = run(inspector, dataset, model.name, on_inspection)
    summary, pooled = summarise(outcomes)
    found = {
        "method": model.method,
        "model": model.name,
        "dataset": dataset.name,
        "device": inspector.device,
        **summary,
        "baselines": {name: summarise(run(baseline, dataset, name))[0] for name, baseline in (baselines or {}).items()},
        "threshold": float("nan") if model.calibration is None else model.calibration.threshold,
        "model_hash": model.hash,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": describe_machine(),
    }
    judged, entries = [o.judged for o in outcomes], [o.entry for o in outcomes]
    write_report(found, judged, pooled, entries, model, out / "report.html")
    write_json(out / "metrics.json", found)
    return found


def run(inspector: Inspects, dataset: Dataset, title: str, on_inspection: OnInspection | None = None) -> list[Outcome]:
    """Every test image inspected, in order."""
    items = progress(dataset.images, title, len(dataset.images))
    return [_inspect_one(inspector, item, on_inspection) for item in items]


def summarise(outcomes: Sequence[Outcome]) -> tuple[dict[str, Any], PixelCounts]:
    """(the figures of metrics.json that depend on the outcomes alone, the pooled pixel counts)."""
    judged = [outcome.judged for outcome in outcomes]
    pooled, each = m.count_pixels(judged)
    f1, f1_threshold = m.localization_f1(judged)
    localized = sum(outcome.localized for outcome in outcomes)
    confidence: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, **intervals(judged, each)}
    confidence["localized"] = wilson(localized, len(outcomes))
    return {
        "images": len(outcomes),
        "localized": localized / len(outcomes),
        **m.ranking_figures(judged, pooled),
        "f1_localization": f1,
        **m.rates(judged),
        "pose_error": _pose_error(outcomes),
        "latency_ms": _latency(outcomes),
        "per_image": [outcome.record for outcome in outcomes],
        "confidence": confidence,
        "verdicts": m.verdict_counts(judged),
        "per_defect": _per_defect(outcomes),
        "f1_threshold": f1_threshold,
    }, pooled


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """The figures with their intervals as lines of text, one column for the method and for each baseline."""
    systems = {metrics["method"]: metrics, **metrics["baselines"]}
    lines = [f"{'':<18}" + "".join(f"{name:<26}" for name in systems)]
    for key, name, *_ in FIGURES:
        cells = [figure_text(system[key], system["confidence"][key]) for system in systems.values()]
        lines.append(f"{name:<18}" + "".join(f"{cell:<26}" for cell in cells))
    if metrics["pose_error"] is not None:
        rotation, translation = (metrics["pose_error"][key] for key in ("rotation_deg", "translation_percent"))
        lines.append(
            f"{'Pose error':<18}{rotation['median']:.3f} deg, {translation['median']:.3f} % (median); "
            f"{rotation['p95']:.3f} deg, {translation['p95']:.3f} % (p95)"
        )
    total = metrics["latency_ms"]["total"]
    lines.append(f"{'Time per image':<18}{total['p50']:.0f} ms (median), {total['p95']:.0f} ms (p95)")
    return "\n".join(line.rstrip() for line in lines)


def _inspect_one(inspector: Inspects, item: LabelledImage, on_inspection: OnInspection | None) -> Outcome:
    began = time.perf_counter()
    image = None
    try:
        image, camera = item.load()
        result = inspector.inspect(image, camera)
    except ImageError as error:
        result = Inspection.hold(Reason.BAD_IMAGE, str(error))
    total = item.read_ms + 1000 * (time.perf_counter() - began)
    if on_inspection is not None:
        on_inspection(item, result)
    mask = item.load_mask(None if image is None else image.shape)
    if image is not None and result.image is None:
        result = replace(result, image=image)
    # Without an image the ground truth says how many pixels were missed.
    shape = image.shape if image is not None else (0, 0) if mask is None else mask.shape
    return Outcome(
        Judged.of(result, item.defective, mask, shape),
        result.localization is not None and result.localization.localized,
        _record(item, result, total),
        GalleryEntry.of(item.name, result, item.label, mask),
    )


def _record(item: LabelledImage, result: Inspection, total_ms: float) -> dict[str, Any]:
    localization = result.localization
    rotation = translation = None
    if localization is not None and localization.pose is not None and item.pose is not None:
        rotation = float(np.degrees(rotation_angle(localization.pose, item.pose)))
        translation = 100 * translation_error(localization.pose, item.pose)
    ran = {"localize": localization, "render": result.rendering, "score": result.rendering}
    return {
        "image": item.name,
        "label": item.label,
        "verdict": result.verdict.name,
        "score": float(result.score),
        "threshold": float(result.threshold),
        "p_value": result.p_value,
        "reason": result.reason.name,
        "reason_text": result.reason_text,
        "defects": len(result.defects),
        "inliers": 0 if localization is None else localization.inliers,
        "rotation_deg": rotation,
        "translation_percent": translation,
        "latency_ms": {
            **{stage: None if done is None else result.timings_ms.get(stage) for stage, done in ran.items()},
            "total": total_ms,
        },
    }


def _pose_error(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]] | None:
    """Over the localized images whose true pose is known; None where there are none."""
    found = {}
    for key in ("rotation_deg", "translation_percent"):
        values = [outcome.record[key] for outcome in outcomes if outcome.record[key] is not None]
        if not values:
            return None
        median, p95, largest = np.percentile(values, [50, 95, 100])
        found[key] = {"median": float(median), "p95": float(p95), "max": float(largest)}
    return found


def _latency(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float | None]]:
    """Percentiles over the images that went through a stage."""
    times = {stage: [outcome.record["latency_ms"][stage] for outcome in outcomes] for stage in STAGES}
    return {stage: m.percentiles([t for t in values if t is not None]) for stage, values in times.items()}


def _per_defect(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """For each label the verdicts, and how well its images are separated from the good ones."""
    table = {}
    labels = dict.fromkeys(str(outcome.record["label"]) for outcome in outcomes)
    good = [outcome.judged for outcome in outcomes if outcome.record["label"] == GOOD]
    for label in labels:
        own = [outcome.judged for outcome in outcomes if outcome.record["label"] == label]
        both = own if label == GOOD else good + own
        table[label] = {
            "images": len(own),
            **{verdict.name: sum(image.verdict == verdict for image in own) for verdict in Verdict},
            **m.ranking_figures(both, m.count_pixels(both)[0]),
        }
    return table
