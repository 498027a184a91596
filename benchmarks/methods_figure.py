"""The same six images through all methods, as one picture."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from pad_ros.decision.inspection import Inspection
from pad_ros.evaluation.dataset import GOOD, Dataset, LabelledImage
from pad_ros.imaging.images import Image
from pad_ros.reporting.output import make_folder
from pad_ros.reporting.pictures import heatmap_overlay, mask_overlay

DEFECTS = 5  # that are shown, beside a good part
TILE, LABEL, LINE = 200, 130, 22  # px: a picture, the names of the methods, a line of text


def shown(dataset: Dataset) -> list[LabelledImage]:
    """A good image and DEFECTS others, of each kind of defect in turn."""
    kinds: dict[str, list[LabelledImage]] = {}
    for item in dataset.images:
        kinds.setdefault(item.label, []).append(item)
    good = kinds.pop(GOOD, [])[:1]
    return good + [item for turn in zip_longest(*kinds.values()) for item in turn if item is not None][:DEFECTS]


class Pictures:
    """Keeps what a method shows on the images of the figure as files."""

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self.folder, self.names = folder, [item.name for item in shown(dataset)]

    def take(self, item: LabelledImage, result: Inspection) -> None:
        """For `evaluate.run`."""
        if item.name not in self.names or result.image is None:
            return
        picture = result.image
        if result.anomaly_map is not None:
            picture = heatmap_overlay(picture, result.anomaly_map.values, result.threshold)
        text = result.verdict.name
        if np.isfinite(result.score) and result.threshold > 0:
            text += f" {result.score / result.threshold:.2f}"
        elif result.reason.name != "NONE":
            text = f"HOLD {result.reason.name.lower()}"
        make_folder(self.folder)
        cv2.imwrite(str(_file(self.folder, item)), cv2.cvtColor(tile(picture, text), cv2.COLOR_RGB2BGR))


def tile(picture: Image, text: str) -> Image:
    """The picture over a line of text."""
    scale = TILE / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    out = np.full((TILE + LINE, TILE, 3), 255, np.uint8)
    out[: small.shape[0], : small.shape[1]] = small
    cv2.putText(out, text, (4, TILE + 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    return out


def write_figure(path: Path, dataset: Dataset, folders: Mapping[str, Path]) -> None:
    """A row of the images with their ground truth, and one for each of `folders` that has pictures of them."""
    rows = [_row("image", [_truth(item) for item in shown(dataset)])]
    for name, folder in folders.items():
        files = [_file(folder, item) for item in shown(dataset)]
        if any(file.is_file() for file in files):
            rows.append(_row(name, [_tile_of(file) for file in files]))
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])


def _file(folder: Path, item: LabelledImage) -> Path:
    return folder / f"{item.name.replace('/', '_')}"


def _tile_of(file: Path) -> Image:
    """The tile that `Pictures` kept; an empty one of an image that the method did not judge."""
    if not file.is_file():
        return np.full((TILE + LINE, TILE, 3), 255, np.uint8)
    return cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)


def _truth(item: LabelledImage) -> Image:
    picture, _ = item.load()
    mask = item.load_mask(picture.shape)
    return tile(picture if mask is None else mask_overlay(picture, mask), item.label)


def _row(name: str, tiles: list[Image]) -> Image:
    label = np.full((TILE + LINE, LABEL, 3), 255, np.uint8)
    cv2.putText(label, name, (6, TILE // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (30, 30, 30), 1, cv2.LINE_AA)
    return np.concatenate([label, *tiles], axis=1)
