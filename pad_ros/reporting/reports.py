"""What `pad inspect`, `pad bag` and `pad info` print and leave on disk."""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from ..decision.calibration import Calibration
from ..decision.inspection import Inspection
from ..decision.result_message import plain_result
from ..decision.threshold import choose_threshold
from ..imaging import images
from ..localization.sfm_map import SfmMap
from ..model import ReferenceModel
from ..verdicts import Verdict
from .gallery import GalleryEntry, write_gallery
from .output import write_json
from .part_pictures import region_text
from .pictures import heatmap_image, heatmap_overlay

BARS, BAR_WIDTH = 10, 40


class InspectionWriter(AbstractContextManager["InspectionWriter"]):
    """Collects inspections in a folder: pictures per image, results.json, and index.html to look at.

    Prints a line (or a JSON object) per image as it comes.
    """

    def __init__(self, folder: Path, model: ReferenceModel, json_lines: bool = False) -> None:
        self.folder = folder
        self.model = model
        self.json_lines = json_lines
        self.all_passed = True
        self._results: list[dict[str, Any]] = []
        self._entries: list[GalleryEntry] = []
        self._stems: set[str] = set()  # of picture files
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, result: Inspection) -> None:
        """Record one inspection under a name unique in this run."""
        stem = self._stem(name)
        values = {"image": name, **plain_result(result)}
        self._results.append(values)
        self._entries.append(GalleryEntry.of(name, result))
        self.all_passed &= result.verdict is Verdict.PASS
        if result.image is not None and result.anomaly_map is not None and result.rendering is not None:
            heat = result.anomaly_map.values
            images.save(self.folder / f"{stem}_heatmap.png", heatmap_image(heat, result.threshold))
            overlay = heatmap_overlay(result.image, heat, result.threshold, result.defects)
            images.save(self.folder / f"{stem}_overlay.png", overlay)
            images.save(self.folder / f"{stem}_reference.png", result.rendering.rgb8)
        if self.json_lines:
            print(json.dumps(values), flush=True)
        else:
            total = result.timings_ms.get("total", 0.0)
            print(f"{name:<32} {result.verdict.name:<7} {result.reason_text}  [{total:.0f} ms]", flush=True)

    def _stem(self, name: str) -> str:
        stem = wanted = Path(name).stem
        number = len(self._results)
        while stem in self._stems:
            stem = f"{number:04d}_{wanted}"
            number += 1
        self._stems.add(stem)
        return stem

    def __exit__(self, *_: object) -> None:
        document = {"model": self.model.name, "model_hash": self.model.hash, "results": self._results}
        write_json(self.folder / "results.json", document)
        write_gallery(self._entries, self.folder / "index.html", f"Inspection with {self.model.name}")


def _landmarks(sfm_map: SfmMap) -> str:
    count, on_part = len(sfm_map.points), len(sfm_map.of_part().points)
    return f"{count} landmarks" if count == on_part else f"{count} landmarks, {on_part} of them of the part"


def model_summary(model: ReferenceModel) -> list[str]:
    """A few lines that say what a reference model knows and promises."""
    training, calibration = model.training, model.calibration
    quality = training.get("held_out", {})
    lines = [
        f"model       {model.name} (method {model.method}, {model.created})",
        f"hash        {model.hash or 'not saved yet'}",
        f"camera      {model.camera.width}x{model.camera.height}, f = {model.camera.fx:.1f} px",
        f"map         {len(model.sfm_map.view_names)} views, {_landmarks(model.sfm_map)}",
        f"gaussians   {len(model.gaussians)}, SH degree {model.gaussians.sh_degree}",
    ]
    if part := region_text(model):
        lines.append(f"part        {part}")
    for network in model.networks:
        lines.append(f"network     {network.name} ({network.licence}, commercial use: {network.commercial})")
    if quality:
        lines.append(
            f"rendering   {quality['psnr']:.1f} dB on {quality['views']} held-out views "
            f"({quality['psnr_part']:.1f} dB on the part), SSIM {quality['ssim']:.3f}"
        )
    if calibration is None or not math.isfinite(calibration.threshold):
        lines.append("threshold   none: every verdict will be HOLD")
    else:
        chosen = choose_threshold(calibration.scores, calibration.reference_scores, calibration.false_reject_rate)
        rests_on = f"enough to promise {100 * chosen.promised_rate:.1f} %"
        if math.isfinite(chosen.error):
            rests_on = f"an estimate, standard error {chosen.error:.2f}"
        what = "good units" if len(calibration.reference_scores) else "reference views"
        lines.append(
            f"threshold   {calibration.threshold:.3f} for {100 * calibration.false_reject_rate:g} % false rejects, "
            f"from {len(calibration.scores)} {what} ({rests_on})"
        )
        lines += [f"            {line}" for line in score_lines(calibration)]
    lines += [
        f"calibrated  from {entry['units']} good units of {entry['source']} (newest image {entry['newest_image']})"
        for entry in training.get("line_calibrations", [])
    ]
    if "seconds" in training:
        lines.append(f"training    {training['seconds']} s on {training.get('device', '?')}")
    return lines


def score_lines(calibration: Calibration) -> list[str]:
    """A histogram of the scores of good parts, the threshold in it, and what other thresholds would reject."""
    scores, threshold = calibration.scores, calibration.threshold
    edges = np.linspace(0, max(float(scores.max()), threshold) * 1.001, BARS + 1)
    counts = np.histogram(scores, edges)[0]
    lines = ["scores of good parts:"]
    for count, low, high in zip(counts, edges, edges[1:]):
        bar = "#" * math.ceil(BAR_WIDTH * count / max(int(counts.max()), 1))
        mark = "  <- threshold" if low <= threshold < high else ""
        lines.append(f"{low:6.2f} to {high:5.2f} {count:5d} {bar}{mark}")
    rates = ", ".join(f"{100 * rate:g} %: {value:.2f}" for rate, value in calibration.thresholds())
    return [*lines, f"threshold by false rejects: {rates}"]
