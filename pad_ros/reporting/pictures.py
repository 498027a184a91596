"""Pictures for people: heatmaps, overlays with defect boxes, panels side by side.

Colours are tied to the threshold, not to the image: half the threshold is where colour starts and
twice the threshold is where it saturates, so that pictures of different queries can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..decision.inspection import DefectRegion, Inspection
from ..imaging.images import Image

Values = NDArray[np.float32]  # [H, W]

# Amber to dark crimson: lightness only falls, so that the order survives on a grey print and for colour-blind eyes.
_OVERLAY_STOPS = np.array([[255, 205, 70], [244, 120, 40], [205, 30, 50], [110, 0, 60]], np.float32)
_OVERLAY_OPACITY = 0.85
_BOX_COLOUR = (0, 70, 200)
_HALO_COLOUR = (255, 255, 255)
_BOX_MARGIN = 3  # px, keeps the line off the defect
_GAP = 6  # px between the tiles of a panel
_CAPTION_HEIGHT = 22  # px


def heatmap_image(values: Values, threshold: float) -> Image:
    """The anomaly map [H, W] as an RGB image: dark is 0, the middle of the scale is the threshold.

    Without a threshold (NaN, or not positive) the map's own maximum is the top of the scale.
    """
    scaled = np.clip(_relative(values, threshold) * 0.5, 0.0, 1.0)
    coloured = cv2.applyColorMap((scaled * 255 + 0.5).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.cvtColor(coloured, cv2.COLOR_BGR2RGB), np.uint8)


def heatmap_overlay(image: Image, values: Values, threshold: float, defects: Sequence[DefectRegion] = ()) -> Image:
    """The query [H, W, 3] with the anomaly map [H, W] over it, and a box around each defect.

    Transparent below half the threshold, most opaque from twice the threshold on; without a threshold
    (NaN, or not positive) the map's own maximum counts as twice the threshold. ValueError if the sizes differ.
    """
    if image.shape[:2] != values.shape:
        raise ValueError(f"image {image.shape[:2]} and anomaly map {values.shape} differ in size")
    strength = np.clip((_relative(values, threshold) - 0.5) / 1.5, 0.0, 1.0)  # [H, W]
    opacity = _OVERLAY_OPACITY * np.minimum(1.0, strength * 2)[..., None]
    stops = np.arange(len(_OVERLAY_STOPS))
    table = np.stack(
        [np.interp(np.linspace(0, stops[-1], 256), stops, channel) for channel in _OVERLAY_STOPS.T], axis=1
    )
    colour = table.astype(np.float32)[(strength * 255 + 0.5).astype(np.uint8)]  # [H, W, 3]
    blended = image.astype(np.float32) * (1 - opacity) + colour * opacity
    return draw_defects((blended + 0.5).astype(np.uint8), defects)


def draw_defects(image: Image, defects: Sequence[DefectRegion]) -> Image:
    """A copy of the image with a box, haloed to stand out from any background, around each defect."""
    out = image.copy()
    line = max(1, round(min(image.shape[:2]) / 400))
    margin = _BOX_MARGIN * line
    for colour, width in ((_HALO_COLOUR, line + 2), (_BOX_COLOUR, line)):
        for defect in defects:
            x, y, w, h = defect.box
            cv2.rectangle(out, (x - margin, y - margin), (x + w - 1 + margin, y + h - 1 + margin), colour, width)
    return out


def mask_overlay(image: Image, mask: NDArray[np.bool_]) -> Image:
    """The image with the outline of a ground-truth mask [H, W] drawn around the masked pixels."""
    out = image.copy()
    line = max(1, round(min(image.shape[:2]) / 400))
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * line + 5, 2 * line + 5), np.uint8))
    contours, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, contours, -1, _HALO_COLOUR, line + 2)
    cv2.drawContours(out, contours, -1, _BOX_COLOUR, line)
    return out


def inspection_tiles(inspection: Inspection) -> list[tuple[str, Image]]:
    """(caption, image) of what an inspection has to show, in order: query, reference, heatmap, overlay.

    Those that do not exist (no decodable image, no pose) are left out.
    """
    tiles: list[tuple[str, Image]] = []
    if inspection.image is not None:
        tiles.append(("query", inspection.image))
    if inspection.rendering is not None:
        reference = inspection.rendering.rgb8
        if inspection.image is not None:  # which may be larger
            reference = np.asarray(cv2.resize(reference, inspection.image.shape[1::-1]), np.uint8)
        tiles.append(("reference", reference))
    if inspection.anomaly_map is not None:
        values, threshold = inspection.anomaly_map.values, inspection.threshold
        tiles.append(("heatmap", heatmap_image(values, threshold)))
        if inspection.image is not None:
            tiles.append(("overlay", heatmap_overlay(inspection.image, values, threshold, inspection.defects)))
    return tiles


def panel(tiles: Sequence[tuple[str, Image]]) -> Image:
    """The tiles side by side at the height of the first, on white, each under its caption."""
    if not tiles:
        raise ValueError("a panel needs at least one tile")
    height = tiles[0][1].shape[0]
    columns = []
    for caption, image in tiles:
        width = max(1, round(image.shape[1] * height / image.shape[0]))
        column = np.full((_CAPTION_HEIGHT + height, width + _GAP, 3), 255, np.uint8)
        column[_CAPTION_HEIGHT:, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        cv2.putText(column, caption, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
        columns.append(column)
    return np.ascontiguousarray(np.concatenate(columns, axis=1)[:, :-_GAP])


def _relative(values: Values, threshold: float) -> Values:
    """The map in units of the threshold, NaN as 0."""
    values = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=float(np.finfo(np.float32).max), neginf=0.0)
    if not (np.isfinite(threshold) and threshold > 0):
        threshold = max(float(values.max(initial=0.0)), 1e-12) / 2
    with np.errstate(over="ignore"):
        return np.asarray(values / np.float32(max(threshold, 1e-30)), np.float32)
