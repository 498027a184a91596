"""`pad bag`: the images of a rosbag2, with labels judged as `pad evaluate` judges a data set; limits for a CI."""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..decision.inspection import Inspection
from ..errors import InputError
from ..imaging.geometry import Camera, Pose
from ..imaging.images import Image
from ..io.bags import BagImage, image_topic, read_images, read_strings
from ..reporting.bag_writer import BagWriter, ResultWriter
from .dataset import GOOD, find_mask, load_mask
from .evaluate import evaluate, metrics_table

if TYPE_CHECKING:
    from ..inspector import Inspector


@dataclass(frozen=True)
class Label:
    """What an image shows: "good" or a kind of defect, and its ground truth where that is known."""

    name: str
    mask_path: Path | None = None


@dataclass(frozen=True)
class Limits:
    """Upper limits that make a recording a check; None: not checked. Rates are shares, as in metrics.json."""

    false_reject: float | None = None
    escape: float | None = None
    hold: float | None = None
    p95_ms: float | None = None

    @property
    def any(self) -> bool:
        return any(value is not None for value in (self.false_reject, self.escape, self.hold, self.p95_ms))

    @property
    def need_labels(self) -> bool:
        return self.false_reject is not None or self.escape is not None

    def broken(self, false_reject: float, escape: float, hold: float, p95_ms: float) -> list[str]:
        """A line for each limit that is broken; a rate of no image at all (NaN) breaks its limit too."""
        found = (
            ("false reject rate", false_reject, self.false_reject, ""),
            ("escape rate", escape, self.escape, ""),
            ("hold rate", hold, self.hold, ""),
            ("time per image, p95", p95_ms, self.p95_ms, " ms"),
        )
        return [
            f"{name} {value:.3g}{unit} is above the limit {limit:g}{unit}"
            if np.isfinite(value)
            else f"{name}: no image tells, the limit {limit:g}{unit} cannot be checked"
            for name, value, limit, unit in found
            if limit is not None and not value <= limit
        ]


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """One labelled image of a bag, as `evaluate` takes it."""

    frame: BagImage
    truth: Label
    pose: Pose | None = None

    @property
    def name(self) -> str:
        return str(self.frame.stamp_ns)

    @property
    def label(self) -> str:
        return self.truth.name

    @property
    def defective(self) -> bool:
        return self.label != GOOD

    @property
    def read_ms(self) -> float:
        return self.frame.decode_ms

    def load(self) -> tuple[Image, Camera | None]:
        if isinstance(self.frame.image, Exception):
            raise self.frame.image
        return self.frame.image, self.frame.camera

    def load_mask(self, shape: tuple[int, int] | None) -> NDArray[np.bool_] | None:
        return load_mask(self.truth.mask_path, shape)


class Recording:
    """The labelled images of a bag: `evaluate`'s data set, read anew each time it is gone through."""

    def __init__(self, path: Path, topic: str | None, labels: str) -> None:
        """labels: a file (see `read_labels`), or a topic of std_msgs/String whose last message before an image
        names what it shows. InputError where an image has no label."""
        self.name = path.resolve().name
        self._path, self._topic = path, topic
        self._count = image_topic(path, topic)[1]
        file = Path(labels)
        self._by_stamp = read_labels(file) if file.is_file() else {}
        self._said = [] if file.is_file() else read_strings(path, labels)
        self._where = labels

    @property
    def images(self) -> Recording:
        return self

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[LabelledFrame]:
        for frame in read_images(self._path, self._topic):
            yield LabelledFrame(frame, self._label(frame))

    def _label(self, frame: BagImage) -> Label:
        found = self._by_stamp.get(frame.stamp_ns)
        if self._said:
            before = bisect_right(self._said, frame.time_ns, key=lambda said: said[0])
            found = label_of(self._said[before - 1][1]) if before else None
        if found is None:
            raise InputError(f"{self._where}: no label for the image stamped {frame.stamp_ns} in {self._path}")
        return found


def label_of(text: str) -> Label:
    """ "good" or a kind of defect as it is; of an image's path the name of its folder, with its mask if it lies in a
    data set."""
    path = Path(text)
    if "/" not in text:
        return Label(text or GOOD)
    label = path.parent.name
    in_dataset = label != GOOD and path.parent.parent.name == "test" and path.is_file()
    return Label(label, find_mask(path.parent.parent.parent, path) if in_dataset else None)


def read_labels(path: Path) -> dict[int, Label]:
    """Labels by image stamp [ns] from a CSV file with columns stamp, label, or JSON lines with stamp and label, or
    stamp and image, as camera_replay logs them. An optional mask is the ground truth's file. InputError if not so.
    """
    found: dict[int, Label] = {}
    try:
        text = path.read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):
            rows: list[Mapping[str, Any]] = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(text.splitlines()))
        for row in rows:
            label = Label(str(row["label"])) if row.get("label") else label_of(str(row["image"]))
            mask = row.get("mask")
            found[int(row["stamp"])] = Label(label.name, path.parent / str(mask)) if mask else label
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, csv.Error) as error:
        reason = repr(error)[:160]
        raise InputError(f"{path}: not a list of labels (columns stamp, label; or JSON lines): {reason}") from error
    if not found:
        raise InputError(f"{path}: no labels in this file")
    return found


def judge_recording(
    inspector: Inspector,
    path: Path,
    topic: str | None,
    out: Path,
    *,
    labels: str | None,
    limits: Limits,
    record: Path | None,
    json_lines: bool,
) -> int:
    """Inspect the images of a bag into `out`, record the results into a new bag, and check the limits.

    With labels out/metrics.json and out/report.html, else pictures and results.json. Returns the exit status: with
    limits 1 if one is broken, else 1 if a verdict is not PASS. InputError for a bad bag, labels or destination.
    """
    if limits.need_labels and labels is None:
        raise InputError("--max-false-reject and --max-escape need --labels: without, nobody knows what images show")
    name, count = image_topic(path, topic)
    if count == 0:
        raise InputError(f"{path}: the bag has no images")
    recording = None if labels is None else Recording(path, topic, labels)
    with ExitStack() as stack:
        writer = None
        if record is not None:
            bag = stack.enter_context(BagWriter(record))
            writer = ResultWriter(bag, inspector.model, name.removesuffix("/compressed").rpartition("/")[0])

        def keep(frame: BagImage, inspection: Inspection) -> None:
            if writer is not None:
                writer.add(inspection, frame.stamp_ns, frame.time_ns, frame.frame_id)

        if recording is not None:
            metrics = evaluate(inspector, recording, out, on_inspection=lambda item, result: keep(item.frame, result))
            print(metrics_table(metrics))
            print(f"report: {out / 'report.html'}")
            rates = {key: metrics[f"{key}_rate"] for key in ("false_reject", "escape", "hold")}
            broken = limits.broken(**rates, p95_ms=metrics["latency_ms"]["total"]["p95"])
            all_passed = all(row["verdict"] == "PASS" for row in metrics["per_image"])
        else:
            broken, all_passed = _judge_unlabelled(inspector, path, topic, out, limits, json_lines, keep)
    for line in broken:
        print(f"limit broken: {line}")
    return int(bool(broken)) if limits.any else int(not all_passed)


def _judge_unlabelled(
    inspector: Inspector, path: Path, topic: str | None, out: Path, limits: Limits, json_lines: bool, keep: Any
) -> tuple[list[str], bool]:
    """(lines of broken limits, whether all passed)"""
    from ..reporting.reports import InspectionWriter

    nan = float("nan")
    times, held = [], []
    with InspectionWriter(out, inspector.model, json_lines=json_lines) as writer:
        for frame in read_images(path, topic):
            if isinstance(frame.image, Exception):
                result = inspector.bad_image(str(frame.image))
            else:
                result = inspector.inspect(frame.image, frame.camera)
            writer.add(str(frame.stamp_ns), result)
            keep(frame, result)
            times.append(frame.decode_ms + result.timings_ms.get("total", 0.0))
            held.append(result.verdict.name == "HOLD")
        return limits.broken(nan, nan, float(np.mean(held)), float(np.percentile(times, 95))), writer.all_passed
