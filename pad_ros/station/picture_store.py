"""The pictures of a result: which results keep them, how they are written, and how long they stay."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from ..decision.inspection import DefectKind, DefectRegion, Inspection
from ..errors import ImageError
from ..imaging.images import Image
from ..reporting.pictures import heatmap_overlay
from ..verdicts import Verdict
from .record import SECOND, ResultRecord
from .storing import StoredPicture

QUERY, REFERENCE, HEATMAP, OVERLAY = KINDS = ("query", "reference", "heatmap", "overlay")
FORMATS = ("png", "jpeg", "webp")
COUNTS = 65535  # of a 16-bit heatmap
COUNTS_PER_THRESHOLD = 8192  # so that it saturates at eight times the threshold
QUALITY = 90


@dataclass(frozen=True, eq=False)
class PictureSet:
    """What there is to show of one result. heatmap: float32 [H, W], score per pixel."""

    query: Image | None = None
    reference: Image | None = None
    heatmap: NDArray[np.float32] | None = None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return sum(a.nbytes for a in (self.query, self.reference, self.heatmap) if a is not None)

    @staticmethod
    def of(inspection: Inspection) -> PictureSet:
        rendering, found = inspection.rendering, inspection.anomaly_map
        return PictureSet(
            inspection.image, None if rendering is None else rendering.rgb8, None if found is None else found.values
        )


@dataclass(frozen=True)
class PictureRule:
    """Of which results pictures are kept: all REJECT and HOLD, every Nth (0: none), those with a p-value of at most
    lowest_p, and a random share."""

    rejected: bool = True
    held: bool = True
    every: int = 0
    lowest_p: float = 0.02
    random_share: float = 0.01

    def keeps(self, record: ResultRecord, number: int) -> bool:
        """number: of the result, from 1. The same result is always decided the same."""
        if record.verdict is Verdict.REJECT and self.rejected or record.verdict is Verdict.HOLD and self.held:
            return True
        if self.every and number % self.every == 0:
            return True
        if record.p_value is not None and record.p_value <= self.lowest_p:
            return True
        return share_of(record.uid) < self.random_share


def share_of(uid: str, salt: str = "") -> float:
    """A number in [0, 1) that looks random and belongs to `uid`."""
    return zlib.crc32((salt + uid).encode()) / 2**32


@dataclass(frozen=True)
class Keeping:
    """How long pictures of one kind stay, at most: days, bytes; 0: without limit."""

    days: float = 0.0
    size: int = 0


@dataclass(frozen=True)
class PictureSettings:
    """query_format: png keeps exactly the pixels, as `pad calibrate` is to learn from them; the others are smaller."""

    rule: PictureRule = field(default_factory=PictureRule)
    keeping: Mapping[str, Keeping] = field(
        default_factory=lambda: dict.fromkeys(KINDS, Keeping(days=90.0, size=20 * 10**9))
    )
    query_format: str = "png"


class PictureStore:
    """Writes pictures below `folder`, one folder an hour."""

    def __init__(self, folder: Path, query_format: str = "png") -> None:
        self.folder = folder
        self._query_format = query_format

    def write(self, record: ResultRecord, found: PictureSet) -> list[StoredPicture]:
        """Files for all that there is. OSError or ImageError where one cannot be written; then none is left."""
        kept: list[StoredPicture] = []
        try:
            if found.query is not None:
                kept.append(self._write(record, QUERY, encoded(found.query, self._query_format), self._query_format))
            if found.reference is not None:
                kept.append(self._write(record, REFERENCE, encoded(found.reference, "jpeg"), "jpeg"))
            if found.heatmap is not None:
                data, unit = encode_heatmap(found.heatmap, record.threshold)
                kept.append(self._write(record, HEATMAP, data, "png", unit))
                if found.query is not None and found.query.shape[:2] == found.heatmap.shape:
                    overlay = heatmap_overlay(
                        found.query, found.heatmap, record.threshold or float("nan"), _regions(record)
                    )
                    kept.append(self._write(record, OVERLAY, encoded(overlay, "jpeg"), "jpeg"))
        except (OSError, ImageError):
            self.remove([picture.path for picture in kept])
            raise
        return kept

    def remove(self, paths: list[str]) -> None:
        """Remove files that may be there, and folders that are left empty."""
        for path in paths:
            file = self.folder / path
            file.unlink(missing_ok=True)
            for folder in (file.parent, file.parent.parent):
                try:
                    folder.rmdir()
                except OSError:
                    break

    def _write(
        self, record: ResultRecord, kind: str, data: bytes, form: str, unit: float | None = None
    ) -> StoredPicture:
        day = datetime.fromtimestamp(record.time_ns // SECOND, timezone.utc)
        name = f"{day:%Y-%m-%d/%H}/{record.uid}_{kind}.{'jpg' if form == 'jpeg' else form}"
        path = self.folder / name
        self.folder.mkdir(exist_ok=True)  # without its parents: a station that is no longer mounted stays away
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        return StoredPicture(kind, name, len(data), unit)


def encoded(image: Image, form: str) -> bytes:
    """An RGB image as a file of one of FORMATS; ImageError where it cannot be one."""
    if form == "jpeg":
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=QUALITY, colorspace="RGB"))
    options = [cv2.IMWRITE_WEBP_QUALITY, QUALITY] if form == "webp" else []
    return _file(f".{form}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)


def encode_heatmap(values: NDArray[np.float32], threshold: float | None) -> tuple[bytes, float]:
    """(16-bit PNG, score per count): of eight times the threshold, or of the map's maximum where there is none."""
    values = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=float(np.finfo(np.float32).max), neginf=0.0)
    unit = threshold / COUNTS_PER_THRESHOLD if threshold and threshold > 0 else float(values.max(initial=0)) / COUNTS
    unit = max(unit, 1e-12)
    counts = np.clip(values.astype(np.float64) / unit + 0.5, 0, COUNTS).astype(np.uint16)
    return _file(".png", counts, [cv2.IMWRITE_PNG_COMPRESSION, 3]), unit


def decode_heatmap(data: bytes, unit: float) -> NDArray[np.float32]:
    """The reverse of `encode_heatmap`; ImageError for anything else than a 16-bit PNG."""
    counts = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if counts is None or counts.dtype != np.uint16 or counts.ndim != 2:
        raise ImageError("heatmap: not a 16-bit PNG")
    return counts.astype(np.float32) * np.float32(unit)


def _file(suffix: str, pixels: NDArray[np.uint8] | NDArray[np.uint16], options: list[int]) -> bytes:
    try:
        fine, data = cv2.imencode(suffix, pixels, options)
    except cv2.error as error:
        raise ImageError(f"a picture cannot be encoded as {suffix[1:]}") from error
    if not fine:
        raise ImageError(f"a picture cannot be encoded as {suffix[1:]}")
    return bytes(data.tobytes())


def _regions(record: ResultRecord) -> list[DefectRegion]:
    return [DefectRegion(d.box, d.area, d.peak_score or 0.0, None, DefectKind.CHANGED) for d in record.defects]
