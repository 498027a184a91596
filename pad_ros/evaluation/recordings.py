"""`pad bag`: the images of a rosbag2, with labels judged as `pad evaluate` judges a data set; limits for a CI."""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..decision.inspection import Inspection
from ..errors import InputError
from ..imaging.geometry import Camera
from ..imaging.images import Image
from ..io.bags import BagImage, image_topic, read_images, read_strings
from ..io.files import read_file
from ..reporting.bag_writer import BagWriter, ResultWriter
from ..reporting.reports import InspectionWriter
from ..verdicts import Verdict
from .dataset import GOOD, Dataset, LabelledImage, find_mask
from .evaluate import evaluate, metrics_table

if TYPE_CHECKING:
    from ..inspector import Inspector

Keep = Callable[[BagImage, Inspection], None]
Rates = tuple[float, float, float]  # false rejects, escapes, holds


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
            else f"{name}: no such image, the limit {limit:g}{unit} cannot be checked"
            for name, value, limit, unit in found
            if limit is not None and not value <= limit
        ]


@dataclass(frozen=True, eq=False)
class LabelledFrame(LabelledImage):
    """One labelled image of a bag."""

    frame: BagImage

    @property
    def read_ms(self) -> float:
        return self.frame.decode_ms

    def load(self) -> tuple[Image, Camera | None]:
        if isinstance(self.frame.image, Exception):
            raise self.frame.image
        return self.frame.image, self.frame.camera


class Recording:
    """The images of a bag, read anew each time they are gone through; with labels, those of a `Dataset`."""

    def __init__(self, path: Path, topic: str | None, labels: str | None) -> None:
        """labels: a file (see `read_labels`), or a topic of std_msgs/String whose last message before an image
        names what it shows. InputError for a bad bag or labels, and, in passing, for an image without a label."""
        self.name = path.resolve().name
        self.labels = labels
        self._path, self._topic = path, topic
        self.topic, self._count = image_topic(path, topic)
        if self._count == 0:
            raise InputError(f"{path}: the bag has no images")
        file = None if labels is None else Path(labels)
        self._by_stamp = read_labels(file) if file is not None and file.is_file() else {}
        self._said = [] if labels is None or self._by_stamp else read_strings(path, labels)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[LabelledFrame]:
        for frame in self.frames():
            label = self._label(frame)
            yield LabelledFrame(str(frame.stamp_ns), label.name, label.mask_path, None, frame)

    def frames(self) -> Iterator[BagImage]:
        """The images without labels."""
        return read_images(self._path, self._topic)

    def _label(self, frame: BagImage) -> Label:
        found = self._by_stamp.get(frame.stamp_ns)
        if self._said:
            before = bisect_right(self._said, frame.time_ns, key=lambda said: said[0])
            found = label_of(self._said[before - 1][1]) if before else None
        if found is None:
            raise InputError(f"{self.labels}: no label for the image stamped {frame.stamp_ns} in {self._path}")
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
    content = read_file(path)
    try:
        text = content.decode()
        if text.lstrip().startswith("{"):
            rows: list[Mapping[str, Any]] = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(text.splitlines()))
        for row in rows:
            label = Label(str(row["label"])) if row.get("label") else label_of(str(row["image"]))
            mask = row.get("mask")
            found[int(row["stamp"])] = Label(label.name, path.parent / str(mask)) if mask else label
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, csv.Error) as error:
        reason = repr(error)[:160]
        raise InputError(f"{path}: not a list of labels (columns stamp, label; or JSON lines): {reason}") from error
    if not found:
        raise InputError(f"{path}: no labels in this file")
    return found


def judge_recording(
    inspector: Inspector, recording: Recording, out: Path, limits: Limits, record: Path | None, json_lines: bool,
    also_keep: Keep | None = None,
) -> int:  # fmt: skip
    """Inspect the images of a bag into `out`, record the results into a new bag, and check the limits.

    also_keep: gets each image and its inspection.

    With labels out/metrics.json and out/report.html, else pictures and results.json. Returns the exit status: with
    limits 1 if one is broken, else 1 if a verdict is not PASS. InputError for bad labels or a bad destination.
    """
    if limits.need_labels and recording.labels is None:
        raise InputError("--max-false-reject and --max-escape need --labels: without, nobody knows what images show")
    with ExitStack() as stack:
        writer = None
        if record is not None:
            bag = stack.enter_context(BagWriter(record))
            writer = ResultWriter(bag, inspector.model, recording.topic.removesuffix("/compressed").rpartition("/")[0])

        def keep(frame: BagImage, inspection: Inspection) -> None:
            if writer is not None:
                writer.add(inspection, frame.stamp_ns, frame.time_ns, frame.frame_id)
            if also_keep is not None:
                also_keep(frame, inspection)

        judge = _judge_unlabelled if recording.labels is None else _judge_labelled
        rates, p95_ms, all_passed = judge(inspector, recording, out, json_lines, keep)
    broken = limits.broken(*rates, p95_ms)
    for line in broken:
        print(f"limit broken: {line}")
    return int(bool(broken)) if limits.any else int(not all_passed)


def _judge_labelled(
    inspector: Inspector, recording: Recording, out: Path, json_lines: bool, keep: Keep
) -> tuple[Rates, float, bool]:
    """(rates, 95 % of the times per image [ms], whether all passed), with metrics and a report in `out`."""
    dataset = Dataset(recording.name, recording)
    metrics = evaluate(inspector, dataset, out, on_inspection=lambda item, result: keep(item.frame, result))
    print(metrics_table(metrics))
    print(f"report: {out / 'report.html'}")
    all_passed = all(row["verdict"] == "PASS" for row in metrics["per_image"])
    rates = metrics["false_reject_rate"], metrics["escape_rate"], metrics["hold_rate"]
    return rates, metrics["latency_ms"]["total"]["p95"], all_passed


def _judge_unlabelled(
    inspector: Inspector, recording: Recording, out: Path, json_lines: bool, keep: Keep
) -> tuple[Rates, float, bool]:
    """As `_judge_labelled`, with pictures and results in `out`; only the rate of HOLD is known."""
    times, held = [], []
    with InspectionWriter(out, inspector.model, json_lines=json_lines) as writer:
        for frame in recording.frames():
            if isinstance(frame.image, Exception):
                result = inspector.bad_image(str(frame.image))
            else:
                result = inspector.inspect(frame.image, frame.camera)
            writer.add(str(frame.stamp_ns), result)
            keep(frame, result)
            times.append(frame.decode_ms + result.timings_ms.get("total", 0.0))
            held.append(result.verdict is Verdict.HOLD)
    return (float("nan"), float("nan"), float(np.mean(held))), float(np.percentile(times, 95)), writer.all_passed
