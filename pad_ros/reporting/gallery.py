"""One HTML page, in one file, of inspected images: query, reference rendering, heatmap, verdict, reason."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from ..decision.inspection import Inspection
from ..imaging.images import Image
from ..verdicts import Verdict
from . import pictures
from .output import write_text

Mask = NDArray[np.bool_]
Window = tuple[slice, slice]

TILE_SIDE = 320  # px, longest side of a picture in a page
JPEG_QUALITY = 82
_MARGIN = 0.12  # around the part, share of its size
_ASPECTS = (1.0, 1.5)  # width / height of a picture, where the image allows it
_MIN_WINDOW = 96  # px, so that a speck is not blown up to a page


@dataclass(frozen=True, eq=False)
class GalleryEntry:
    """One inspected image in a page. tiles: caption -> picture as data URI, in order.

    label: what the image truly shows ("good" or a kind of defect), None where nobody knows.
    """

    name: str
    verdict: Verdict
    reason_text: str
    score: float
    threshold: float
    tiles: dict[str, str]
    label: str | None = None

    @staticmethod
    def of(name: str, inspection: Inspection, label: str | None = None, mask: Mask | None = None) -> GalleryEntry:
        """The pictures of an inspection, cropped to the part; `mask` [H, W] is the ground truth, if known."""
        tiles = pictures.inspection_tiles(inspection)
        if mask is not None and inspection.image is not None:
            tiles.append(("truth", pictures.mask_overlay(inspection.image, mask)))
        window = _part_window(inspection, mask)
        return GalleryEntry(
            name=name, verdict=inspection.verdict, reason_text=inspection.reason_text, label=label,
            score=float(inspection.score), threshold=float(inspection.threshold),
            tiles={caption: _data_uri(picture, window) for caption, picture in tiles},
        )  # fmt: skip

    @staticmethod
    def of_pictures(
        name: str,
        verdict: Verdict,
        reason_text: str,
        score: float,
        threshold: float,
        tiles: Sequence[tuple[str, Image]],
        label: str | None = None,
    ) -> GalleryEntry:
        """An entry from whole pictures, for results that came as messages."""
        whole = np.s_[:, :]
        return GalleryEntry(
            name, verdict, reason_text, score, threshold,
            {caption: _data_uri(picture, whole) for caption, picture in tiles}, label,
        )  # fmt: skip

    @property
    def wrong(self) -> bool:
        """A good image rejected, or a defective one passed."""
        return self.label is not None and self.verdict == (Verdict.REJECT if self.label == "good" else Verdict.PASS)

    @property
    def caption(self) -> str:
        """Score and threshold as text, empty without a score."""
        if math.isnan(self.score):
            return ""
        limit = "" if math.isnan(self.threshold) else f", threshold {self.threshold:.3g}"
        return f"score {self.score:.3g}{limit}"


def write_gallery(entries: Sequence[GalleryEntry], out: Path, title: str, subtitle: str = "") -> None:
    """Write one self-contained HTML page with every entry to the file `out`."""
    counts = {verdict.name: sum(entry.verdict == verdict for entry in entries) for verdict in Verdict}
    write_text(out, page("gallery.html.j2", title=title, subtitle=subtitle, entries=entries, counts=counts))


def page(template: str, **values: object) -> str:
    """A page of this package's templates; text is escaped."""
    environment = Environment(
        loader=PackageLoader("pad_ros.reporting"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(**values)


def _part_window(inspection: Inspection, mask: Mask | None) -> Window:
    """Where the part, the defects and their ground truth are, with a margin; all without a rendering."""
    if inspection.rendering is None or inspection.image is None:
        return np.s_[:, :]
    shown = inspection.rendering.alpha > 0.3
    if mask is not None:
        shown = shown | mask
    for defect in inspection.defects:
        x, y, w, h = defect.box
        shown[y : y + h, x : x + w] = True
    if not shown.any():
        return np.s_[:, :]
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    height, width = (max(np.ptp(found) * (1 + 2 * _MARGIN), _MIN_WINDOW) for found in (rows, columns))
    height, width = max(height, width / _ASPECTS[1]), max(width, height * _ASPECTS[0])
    return _span(rows, height, shown.shape[0]), _span(columns, width, shown.shape[1])


def _span(found: NDArray[np.intp], length: float, limit: int) -> slice:
    """`length` pixels around the middle of what was found, moved and cut to lie in 0..limit."""
    size = min(round(length), limit)
    start = min(max(round((found[0] + found[-1] + 1 - size) / 2), 0), limit - size)
    return slice(start, start + size)


def _data_uri(picture: Image, window: Window) -> str:
    crop = picture[window]
    height, width = crop.shape[:2]
    scale = TILE_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(resized, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
