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

from ..decision.inspection import Inspection
from ..imaging.background import Mask, mask_box
from ..imaging.images import Image
from ..verdicts import Verdict
from . import pictures
from .output import write_text

Window = tuple[slice, slice]

_WHOLE: Window = np.s_[:, :]
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
            tiles=data_uris(tiles, window),
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
        return _WHOLE
    height, width = inspection.image.shape[:2]  # the rendering may be smaller
    shown = cv2.resize(inspection.rendering.alpha, (width, height), interpolation=cv2.INTER_LINEAR) > 0.3
    if mask is not None:
        shown = shown | mask
    for defect in inspection.defects:
        x, y, w, h = defect.box
        shown[y : y + h, x : x + w] = True
    if (box := mask_box(shown)) is None:
        return _WHOLE
    height, width = (max((side - 1) * (1 + 2 * _MARGIN), _MIN_WINDOW) for side in (box.height, box.width))
    height, width = max(height, width / _ASPECTS[1]), max(width, height * _ASPECTS[0])
    return _span(box.y0 + box.y1, height, shown.shape[0]), _span(box.x0 + box.x1, width, shown.shape[1])


def _span(ends: int, length: float, limit: int) -> slice:
    """`length` pixels around the middle of two ends, given as their sum, moved and cut to lie in 0..limit."""
    size = min(round(length), limit)
    start = min(max(round((ends - size) / 2), 0), limit - size)
    return slice(start, start + size)


def data_uris(tiles: Sequence[tuple[str, Image]], window: Window = _WHOLE) -> dict[str, str]:
    """{caption: the picture, cut to `window`, as a data URI}, in the same order."""
    return {caption: _data_uri(picture, window) for caption, picture in tiles}


def _data_uri(picture: Image, window: Window) -> str:
    crop = picture[window]
    height, width = crop.shape[:2]
    scale = TILE_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(resized, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
