"""The report of `pad evaluate`: one HTML file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ..decision.calibration import Calibration
from ..model import ReferenceModel
from ..reporting.charts import Marker, curve_chart, histogram_chart
from ..reporting.gallery import GalleryEntry, data_uris, page
from ..reporting.output import write_text
from ..reporting.part_pictures import part_pictures, region_text
from ..verdicts import Verdict
from .machine import machine_line
from .metrics import FPR_LIMIT, Judged, PixelCounts, roc_curve

WORST = 6  # examples per kind
PART_PICTURES = 4  # reference photographs with the part outlined

# (key in metrics.json, name, what it is, smaller is better)
FIGURES = (
    ("image_auroc", "Image AUROC", "good and defective images separated by score; no score counts as wrong", False),
    ("pixel_auroc", "Pixel AUROC", "good and defect pixels separated", False),
    ("pixel_ap", "Pixel AP", "average precision over all pixels", False),
    ("aupro", "AUPRO", f"share of each defect region found, false positive rate up to {FPR_LIMIT:g}", False),
    ("f1_localization", "F1 localization", "defects hit against false regions, at the best image-level F1", False),
    ("false_reject_rate", "False rejects", "good images with REJECT", True),
    ("escape_rate", "Escapes", "defective images with PASS", True),
    ("hold_rate", "Holds", "images with HOLD: a line treats them as rejects", True),
    ("localized", "Localized", "images with a camera pose", False),
)


def write_report(
    metrics: Mapping[str, Any],
    judged: Sequence[Judged],
    counts: PixelCounts,
    entries: Sequence[GalleryEntry],
    model: ReferenceModel,
    out: Path,
) -> None:
    """Write the report to the file `out`.

    metrics: as in metrics.json (NaN allowed); judged and entries: one per test image, in the same order;
    counts: the pooled pixel counts of `count_pixels`.
    """
    write_text(
        out,
        page(
            "report.html.j2",
            title=f"{metrics['model']} on {metrics['dataset']}",
            metrics=metrics,
            machine=machine_line(metrics["machine"]),
            systems=[(f"{metrics['method']}", metrics), *metrics["baselines"].items()],
            figures=FIGURES,
            charts=[*_charts(metrics, judged, counts), *_calibration_chart(model.calibration)],
            pose_charts=_pose_charts(metrics),
            timing_chart=_timing_chart(metrics),
            part=region_text(model),
            part_pictures=data_uris(list(part_pictures(model, PART_PICTURES))),
            worst=_worst(entries),
            entries=entries,
            verdicts=[verdict.name for verdict in (Verdict.PASS, Verdict.REJECT, Verdict.HOLD)],
            number=_number,
            interval=_interval,
            milliseconds=lambda value: "–" if value is None else f"{value:.0f}",
        ),
    )


def _charts(metrics: Mapping[str, Any], judged: Sequence[Judged], counts: PixelCounts) -> list[tuple[str, str, Markup]]:
    """(title, explanation, SVG) of the accuracy charts that the data allow."""
    charts = []
    if not np.isnan(metrics["image_auroc"]):
        roc = curve_chart([("", *roc_curve(judged))], ("false positive rate", "true positive rate"), diagonal=True)
        charts.append(("ROC of images", f"area {_number(metrics['image_auroc'])}", roc))
    if not np.isnan(metrics["aupro"]):
        fpr, tpr, pro = (curve[0] for curve in counts.curves())
        label = ("false positive rate of pixels", "share found")
        lines = [("per region (PRO)", fpr, pro), ("per pixel (ROC)", fpr, tpr)]
        text = f"PRO area {_number(metrics['aupro'])} of 1"
        charts.append(("PRO curve of regions", text, curve_chart(lines, label, (0.0, FPR_LIMIT))))
        found, wrong = counts.at[1, 0], counts.at[0, 0]
        recall = np.concatenate([[0.0], found / counts.total[1, 0]])
        precision = found / np.maximum(found + wrong, 1)
        curve = curve_chart([("", recall, np.concatenate([precision[:1], precision]))], ("recall", "precision"))
        charts.append(("Precision and recall of pixels", f"average precision {_number(metrics['pixel_ap'])}", curve))
    groups = [
        (name, np.array([j.score for j in judged if j.defective == flag], np.float64))
        for name, flag in (("good", False), ("defective", True))
    ]
    marker = Marker(metrics["threshold"], "threshold")
    charts.append(("Scores", "images left of the threshold pass", histogram_chart(groups, "image score", marker)))
    return [chart for chart in charts if chart[2]]


def _calibration_chart(calibration: Calibration | None) -> list[tuple[str, str, Markup]]:
    """Where the threshold comes from, and what others would do."""
    if calibration is None or not (thresholds := calibration.thresholds()):
        return []
    groups = [("good parts", calibration.scores.astype(np.float64))]
    chart = histogram_chart(groups, "image score", Marker(calibration.threshold, "threshold"))
    rates = ", ".join(f"{100 * rate:g} % at {value:.2f}" for rate, value in thresholds)
    return [
        (
            "Calibration",
            f"scores that the threshold comes from; good parts rejected at other thresholds: {rates}",
            chart,
        )
    ]


def _pose_charts(metrics: Mapping[str, Any]) -> list[tuple[str, str, Markup]]:
    error = metrics["pose_error"]
    if error is None:
        return []
    charts = []
    for key, title, unit in (
        ("rotation_deg", "Rotation error", "degrees"),
        ("translation_percent", "Translation error", "% of the camera's distance"),
    ):
        values = np.array([r[key] for r in metrics["per_image"] if r[key] is not None], np.float64)
        figures = ", ".join(f"{name} {error[key][name]:.3g}" for name in ("median", "p95", "max"))
        charts.append((title, figures, histogram_chart([("", values)], unit)))
    return charts


def _timing_chart(metrics: Mapping[str, Any]) -> Markup:
    values = np.array([record["latency_ms"]["total"] for record in metrics["per_image"]], np.float64)
    return histogram_chart([("", values)], "ms per image, decoding to verdict")


def _worst(entries: Sequence[GalleryEntry]) -> list[tuple[str, str, list[GalleryEntry]]]:
    """(title, explanation, entries): false alarms, escapes, images held; the worst first."""

    def chosen(good: bool, verdict: Verdict, sign: float) -> list[GalleryEntry]:
        found = [e for e in entries if (e.label == "good") == good and e.verdict == verdict]
        return sorted(found, key=lambda e: sign * np.nan_to_num(e.score))

    alarms, escapes = chosen(True, Verdict.REJECT, -1), chosen(False, Verdict.PASS, 1)
    held = [entry for entry in entries if entry.verdict == Verdict.HOLD]
    sections = []
    for title, text, found in (
        ("False alarms", "good images that were rejected, highest score first", alarms),
        ("Escapes", "defective images that passed, lowest score first", escapes),
        ("Held", "images without a trustworthy answer", held),
    ):
        shown = f"; {WORST} of {len(found)} shown" if len(found) > WORST else ""
        sections.append((f"{title}: {len(found)}", text + shown, found[:WORST]))
    return sections


def _in_digits(value: float) -> str:
    """A figure with three digits, or four where three would round it to 1."""
    return f"{value:.4f}" if 0.99 <= value < 1 else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else _in_digits(value)


def figure_text(value: float, bounds: Sequence[float]) -> str:
    """A figure and its interval for a line of text; "-" for one that is undefined."""
    interval = _interval(bounds)
    return f"{'-' if np.isnan(value) else _in_digits(value)}{f'  ({interval})' if interval else ''}"


def _interval(bounds: Sequence[float] | None) -> str:
    if bounds is None or np.isnan(bounds[0]):
        return ""
    return f"{_in_digits(bounds[0])} to {_in_digits(bounds[1])}"
