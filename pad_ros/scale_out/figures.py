"""The figures of a finished part that a report over many is about, and which parts are the worst."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """path: where it is in the JSON file of the command; worse: 1 where larger is worse, -1 smaller, 0 neither."""

    title: str
    path: tuple[str | int, ...]
    worse: int = 0


_LINE = ("training", "line_calibrations", -1)
# Command -> the JSON file in its output, and the figures in it; parts are compared by the first that differs.
FIGURES: Mapping[str, tuple[str, tuple[Figure, ...]]] = {
    "train": (
        "manifest.json",
        (
            Figure("dB on the part", ("training", "held_out", "psnr_part"), -1),
            Figure("SSIM", ("training", "held_out", "ssim"), -1),
            Figure("threshold", ("calibration", "threshold")),
            Figure("views", ("training", "views")),
            Figure("Gaussians", ("gaussians",)),
        ),
    ),
    "calibrate": (
        "manifest.json",
        (
            Figure("images left out", (*_LINE, "left_out"), 1),
            Figure("images", (*_LINE, "images")),
            Figure("units", (*_LINE, "units"), -1),
            Figure("threshold", ("calibration", "threshold")),
            Figure("threshold before", (*_LINE, "before", "threshold")),
        ),
    ),
    "evaluate": (
        "metrics.json",
        (
            Figure("escapes", ("escape_rate",), 1),
            Figure("false rejects", ("false_reject_rate",), 1),
            Figure("holds", ("hold_rate",), 1),
            Figure("image AUROC", ("image_auroc",), -1),
            Figure("pixel AP", ("pixel_ap",), -1),
            Figure("images", ("images",)),
        ),
    ),
}


def titles(command: str) -> list[str]:
    return [figure.title for figure in FIGURES[command][1]]


def read_figures(command: str, folder: Path) -> dict[str, float | None]:
    """Title -> value; None for what the output does not say."""
    name, figures = FIGURES[command]
    document = json.loads((folder / name).read_text(encoding="utf-8"))
    return {figure.title: _value(document, figure.path) for figure in figures}


def badness(command: str, found: Mapping[str, float | None]) -> tuple[float, ...]:
    """Larger for worse parts; a figure that is missing, as of escapes where no image is defective, says nothing."""
    compared = [figure for figure in FIGURES[command][1] if figure.worse]
    values = [(figure.worse, found.get(figure.title)) for figure in compared]
    return tuple(-math.inf if value is None else worse * value for worse, value in values)


def _value(document: Any, path: tuple[str | int, ...]) -> float | None:
    try:
        for key in path:
            document = document[key]
    except (LookupError, TypeError):
        return None
    return document if isinstance(document, int | float) else None
