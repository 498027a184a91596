"""Reviewed results as a data set on disk, which `pad evaluate` and `pad calibrate` take."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from ..errors import InputError
from ..imaging.geometry import Camera
from ..io.camera_file import camera_from_values, write_camera
from ..reporting.output import make_folder, write_json, written
from .picture_store import QUERY
from .place import Place
from .queries import Filter, opinions_of
from .schema import cells, pictures, results, reviews

AGREED = {"good": "good", "defect": "defect"}  # opinion -> label; whatever is unsure or disputed has none


@dataclass(frozen=True)
class ReviewedImage:
    """A query that all its reviewers agree on. unit: the part's name, or the result's own where it has none."""

    uid: str
    cell: str
    unit: str
    label: str
    time_ns: int
    file: Path


def reviewed_images(connection: Connection, place: Place, asked: Filter) -> tuple[list[ReviewedImage], Counter[str]]:
    """(images in the order of time, how many were left out and why)."""
    statement = (
        select(results.c.id, results.c.uid, results.c.cell, results.c.part_id, results.c.time_ns, pictures.c.path)
        .outerjoin(pictures, (pictures.c.result_id == results.c.id) & (pictures.c.kind == QUERY))
        .where(*asked.conditions(), results.c.id.in_(select(reviews.c.result_id))).order_by(results.c.time_ns)
    )  # fmt: skip
    rows = connection.execute(statement).all()
    opinions: dict[int, str] = {}
    for start in range(0, len(rows), 500):
        opinions |= opinions_of(connection, [row.id for row in rows[start : start + 500]])
    found, left_out = [], Counter[str]()
    for row in rows:
        label = AGREED.get(opinions.get(row.id, ""))
        if label is None:
            left_out["unsure or disputed"] += 1
        elif row.path is None or not (place.pictures / row.path).is_file():
            left_out["without its picture"] += 1
        else:
            unit = re.sub(r"[^A-Za-z0-9_.-]", "_", row.part_id).lstrip(".")[:100] or row.uid
            found.append(ReviewedImage(row.uid, row.cell, unit, label, row.time_ns, place.pictures / row.path))
    return found, left_out


def export(connection: Connection, place: Place, asked: Filter, out: Path, only_good: bool = False) -> list[str]:
    """Write test/good/<unit>/*.png, test/defect/*.png and the camera below `out`; lines that say what was written.

    InputError where `out` is not empty, cannot be written, or nothing is reviewed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not an empty folder; choose another --out")
    found, left_out = reviewed_images(connection, place, asked)
    found = [image for image in found if image.label == "good" or not only_good]
    if not found:
        why = "".join(f"; {count} {reason}" for reason, count in left_out.items())
        raise InputError(f"{place.folder}: no reviewed results with a picture{why}; review some with `pad station`")
    listed = []
    for image in found:
        unit = f"{image.unit}/" if image.label == "good" else f"{image.unit}_"
        target = out / "test" / image.label / f"{unit}{image.uid}{image.file.suffix}"
        make_folder(target.parent)
        with written(target):
            shutil.copyfile(image.file, target)
        listed.append({"file": target.relative_to(out).as_posix(), "uid": image.uid, "part_id": image.unit,
                       "cell": image.cell, "label": image.label, "time_ns": image.time_ns})  # fmt: skip
    camera = common_camera(connection, {image.cell for image in found})
    if camera is not None and (out / "test" / "good").is_dir():
        with written(out / "test" / "good"):
            write_camera(camera, out / "test" / "good")
    write_json(out / "export.json", {"images": listed, "left_out": dict(left_out)})
    counts = Counter(image.label for image in found)
    units = len({image.unit for image in found if image.label == "good"})
    lines = [f"{counts['good']} images of {units} good units, {counts['defect']} of defective ones: {out}"]
    return lines + [f"left out: {count} {reason}" for reason, count in left_out.items()]


def common_camera(connection: Connection, names: set[str]) -> Camera | None:
    """The camera of these cells, where they have the same and its recorder told it; None: the model's own is to do."""
    states = connection.scalars(select(cells.c.state).where(cells.c.name.in_(names)))
    values = [json.loads(state).get("camera") for state in states]
    if len(values) < len(names) or not values or values[0] is None or any(one != values[0] for one in values):
        return None
    return camera_from_values(values[0])
