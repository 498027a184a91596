"""How much other light and a worse camera cost: metrics against severity.

    python benchmarks/robustness.py MODEL DATASET [--every N] [--calibrated]

Each test image is changed by one effect at a time and inspected end to end. Exposure and white balance change linear
light (gamma 2.2); vignetting falls off with the square of the distance from the centre; blur and noise are Gaussian.
--calibrated: for each change the model first learns from every second good image so changed; the others are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from common import option_parser, table_lines, write_result
from numpy.typing import NDArray

from pad_ros.evaluation.dataset import TestImage, read_dataset
from pad_ros.evaluation.metrics import Judged, count_pixels, ranking_figures, rates
from pad_ros.imaging import images
from pad_ros.imaging.images import Image
from pad_ros.inspector import Inspector
from pad_ros.io.good_images import GoodImage
from pad_ros.training.line_calibration import calibrate_on_line

Effect = Callable[[Image], Image]
GAMMA = 2.2
COLUMNS = ("localized", "image_auroc", "pixel_auroc", "pixel_ap", "false_reject_rate", "escape_rate", "hold_rate")


def main() -> None:
    parser = option_parser(__doc__, "model", "dataset")
    parser.add_argument("--every", type=int, default=1, help="take every N-th image of each label")
    parser.add_argument("--calibrated", action="store_true")
    arguments = parser.parse_args()
    inspector, dataset = Inspector.load(arguments.model), read_dataset(arguments.dataset)
    labels = dict.fromkeys(item.label for item in dataset.images)
    chosen = [i for label in labels for i in [x for x in dataset.images if x.label == label][:: arguments.every]]
    learned_from = [item for item in chosen if not item.defective][::2] if arguments.calibrated else []
    judged = [item for item in chosen if item not in learned_from]
    rows: list[list[object]] = []
    for name, effect in effects().items():
        if learned_from:
            learned = calibrate_on_line(inspector.model, Changed(learned_from, effect), device=inspector.device).model
            found = judge(Inspector(learned, inspector.device), judged, effect)
        else:
            found = judge(inspector, judged, effect)
        rows.append([name, *(found[column] for column in COLUMNS)])
        print(table_lines(["change", *COLUMNS], rows)[-1], flush=True)
    title, text = f"Other light and worse cameras, {dataset.name}", f"{len(judged)} images, each changed in each way."
    name = f"robustness_{dataset.name}"
    if learned_from:
        name, title = f"{name}_calibrated", f"{title}, after calibration"
        text += f" The model learned from {len(learned_from)} other good images changed in the same way."
    write_result(name, title, ["change", *COLUMNS], rows, text)


@dataclass(frozen=True)
class Changed:
    """Images of a data set, each a unit, changed by an effect: as `calibrate_on_line` takes them."""

    items: Sequence[TestImage]
    effect: Effect
    source: str = "changed images"

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[GoodImage]:
        for item in self.items:
            yield GoodImage(item.name, item.name, 0, self.effect(images.load(item.path)))


def effects() -> dict[str, Effect]:
    """Name and severity -> the change."""
    found: dict[str, Effect] = {"none": partial(lit, factor=np.ones(3))}
    for percent in (-30, -15, 15, 30):
        found[f"exposure {percent:+d} %"] = partial(lit, factor=np.full(3, 1 + percent / 100))
    for percent in (-15, -7, 7, 15):  # red against blue
        found[f"white balance {percent:+d} %"] = partial(
            lit, factor=np.array([1 + percent / 100, 1, 1 - percent / 100])
        )
    for percent in (15, 30):
        found[f"vignetting {percent} %"] = partial(vignetted, share=percent / 100)
    for sigma in (0.5, 1.0, 1.5):
        found[f"blur {sigma} px"] = partial(blurred, sigma=sigma)
    for deviation in (2, 5, 10):
        found[f"noise {deviation}/255"] = partial(noisy, deviation=deviation)
    for quality in (95, 80, 65, 50):
        found[f"JPEG {quality}"] = partial(compressed, quality=quality)
    return found


def blurred(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def lit(image: Image, factor: NDArray[np.float64]) -> Image:
    """Linear light times `factor`, [3] or [H, W, 1]."""
    values = 255 * ((image / 255.0) ** GAMMA * factor).clip(0, 1) ** (1 / GAMMA)
    return (values + 0.5).astype(np.uint8)


def vignetted(image: Image, share: float) -> Image:
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return lit(image, 1 - share * ((x**2 + y**2) / 2)[..., None])


def noisy(image: Image, deviation: float) -> Image:
    noise = np.random.default_rng(0).normal(0, deviation, image.shape)
    return (image + noise + 0.5).clip(0, 255).astype(np.uint8)


def compressed(image: Image, quality: int) -> Image:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1], np.uint8)


def judge(inspector: Inspector, items: list[TestImage], effect: Effect) -> dict[str, float]:
    judged, localized = [], 0
    for item in items:
        image = effect(images.load(item.path))
        found = inspector.inspect(image)
        localized += found.localization is not None and found.localization.localized
        judged.append(Judged.of(found, item.defective, item.load_mask(image.shape), image.shape))
    return {
        "localized": localized / len(items),
        **ranking_figures(judged, count_pixels(judged)[0]),
        **rates(judged),
    }


if __name__ == "__main__":
    main()
