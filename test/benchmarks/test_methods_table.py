"""What the table of methods is made with: answers that are kept, and the figure."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from benchmark_modules import benchmark

from pad_ros.decision.inspection import Inspection
from pad_ros.evaluation.dataset import Dataset, TestImage
from pad_ros.verdicts import Reason


class Asked:
    def __init__(self) -> None:
        self.times = 0

    def answer(self, value: int) -> int:
        self.times += 1
        return value


def test_what_was_answered_is_not_asked_again() -> None:
    remembered, asked = benchmark("remembered").remembered, Asked()
    with remembered(Asked, "answer", lambda self, value: value):
        assert [asked.answer(value) for value in (1, 2, 1)] == [1, 2, 1]
        assert asked.times == 2
    asked.answer(1)
    assert asked.times == 3


def test_arrays_are_told_apart_by_what_they_hold() -> None:
    digest = benchmark("remembered").digest
    values = np.arange(12.0).reshape(3, 4)
    assert digest(values) == digest(values.copy()) == digest(np.asfortranarray(values))
    assert digest(values) != digest(values + 1)


def test_the_figure_has_a_row_for_each_method(tmp_path: Path) -> None:
    figure, found = benchmark("methods_figure"), []
    for label in ("good", "Burrs", "Stains"):
        path = tmp_path / f"{label}.png"
        cv2.imwrite(str(path), np.full((40, 60, 3), 90, np.uint8))
        found.append(TestImage(f"test/{label}/0.png", label, None, None, path))
    dataset = Dataset("part", found)
    pictures = figure.Pictures(tmp_path / "pad", dataset)
    for item in dataset.images:
        image, _ = item.load()
        pictures.take(item, Inspection.hold(Reason.NOT_LOCALIZED, "", 2.0, image))
    item = dataset.images[1]  # the only one that this method judges
    figure.Pictures(tmp_path / "slow", dataset).take(
        item, Inspection.hold(Reason.NOT_LOCALIZED, "", 2.0, item.load()[0])
    )
    folders = {name: tmp_path / name for name in ("pad", "slow", "none")}
    figure.write_figure(tmp_path / "all.jpg", dataset, folders)
    written = cv2.imread(str(tmp_path / "all.jpg"))
    height = figure.TILE + figure.LINE
    assert written.shape[:2] == (3 * height, figure.LABEL + 3 * figure.TILE)
    first, second, third = np.split(written[2 * height :, figure.LABEL :], 3, axis=1)
    assert first.min() > 240 and third.min() > 240 and second.min() < 120
