"""What faults of camera, light and scene do to verdicts: no defect may pass because of one.

    python benchmarks/faults.py MODEL DATASET

Each image of the data set is damaged in one way and inspected. The table counts verdicts of good and of defective
images; "new escapes" are defective images that PASS although they were REJECT without the fault. Rows marked "mild"
should still pass good parts.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from common import option_parser, write_result
from numpy.typing import NDArray

from pad_ros.decision.inspection import Inspection
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.inspector import Inspector
from pad_ros.verdicts import Verdict

Image = NDArray[np.uint8]
Fault = Callable[[Image], Image]

COLUMNS = ["fault", "good PASS", "good REJECT", "good HOLD", "bad PASS", "bad REJECT", "bad HOLD", "new escapes"]


def main() -> None:
    parser = option_parser(__doc__, "model", "dataset")
    parser.add_argument("--every", type=int, default=1, help="take every so many images")
    arguments = parser.parse_args()
    inspector, dataset = Inspector.load(arguments.model), read_dataset(arguments.dataset)
    inspector.warm_up()
    loaded = [(item.name, item.defective, item.load()[0]) for item in dataset.images[:: arguments.every]]
    clean = {name: inspector.inspect(image).verdict for name, _, image in loaded}
    rows = []
    for fault, damage in {"none": lambda image: image, **FAULTS}.items():
        found = {name: (bad, inspector.inspect(np.ascontiguousarray(damage(image)))) for name, bad, image in loaded}
        rows.append([fault, *counts(found), new_escapes(found, clean)])
        print(*rows[-1], flush=True)
    write_result(f"faults_{dataset.name}", f"Faults of camera, light and scene, {dataset.name}", COLUMNS, rows)


def counts(found: dict[str, tuple[bool, Inspection]]) -> list[int]:
    """PASS, REJECT and HOLD of good images, then of defective ones."""
    order = (Verdict.PASS, Verdict.REJECT, Verdict.HOLD)
    return [sum(r.verdict is v and b is bad for b, r in found.values()) for bad in (False, True) for v in order]


def new_escapes(found: dict[str, tuple[bool, Inspection]], clean: dict[str, Verdict]) -> int:
    return sum(
        bad and result.verdict is Verdict.PASS and clean[name] is Verdict.REJECT
        for name, (bad, result) in found.items()
    )


def gain(factor: float) -> Fault:
    return lambda image: (image * factor + 0.5).clip(0, 255).astype(np.uint8)


def gamma(exponent: float) -> Fault:
    return lambda image: (255 * (image / 255) ** exponent + 0.5).astype(np.uint8)


def offset(levels: int) -> Fault:
    return lambda image: (image.astype(np.int16) + levels).clip(0, 255).astype(np.uint8)


def blur(sigma: float) -> Fault:
    return lambda image: cv2.GaussianBlur(image, (0, 0), sigma)


def motion(length: int) -> Fault:
    return lambda image: cv2.filter2D(image, -1, np.full((1, length), 1 / length, np.float32))


def noise(deviation: float) -> Fault:
    return lambda image: (
        (image + np.random.default_rng(0).normal(0, deviation, image.shape)).clip(0, 255).astype(np.uint8)
    )


def jpeg(quality: int) -> Fault:
    return lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


def resized(scale: float) -> Fault:
    return lambda image: cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def shifted_out(share: float) -> Fault:
    """The image moved sideways by a share of its width; what comes in is white."""

    def damage(image: Image) -> Image:
        out = np.full_like(image, 255)
        by = round(share * image.shape[1])
        out[:, by:] = image[:, : image.shape[1] - by]
        return out

    return damage


def interlaced(by: int) -> Fault:
    def damage(image: Image) -> Image:
        out = image.copy()
        out[::2] = np.roll(image[::2], by, axis=1)
        return out

    return damage


def torn(share: float) -> Fault:
    """The lower part of the frame is that of an image moved by 20 px."""

    def damage(image: Image) -> Image:
        out, row = image.copy(), round(share * len(image))
        out[row:] = np.roll(image[row:], 20, axis=1)
        return out

    return damage


def missing(share: float) -> Fault:
    """The lower part of the frame never arrived."""

    def damage(image: Image) -> Image:
        out = image.copy()
        out[round((1 - share) * len(image)) :] = 0
        return out

    return damage


def bar(width: float, colour: tuple[int, int, int]) -> Fault:
    """A cable, glove or strip over the middle of the image, as wide as a share of it."""

    def damage(image: Image) -> Image:
        out, half = image.copy(), round(width * image.shape[1] / 2)
        middle = image.shape[1] // 2
        out[:, middle - half : middle + half] = colour
        return out

    return damage


FAULTS: dict[str, Fault] = {
    **{f"exposure x{f:g}": gain(f) for f in (0.3, 0.6, 1.3, 2)},
    **{f"mild: exposure x{f:g}": gain(f) for f in (0.85, 1.15)},
    **{f"gamma {e:g}": gamma(e) for e in (0.5, 0.7, 1.4)},
    **{f"offset {o:+d}": offset(o) for o in (-60, 60)},
    **{f"blur {s:g} px": blur(s) for s in (0.7, 1, 1.5, 3)},
    **{f"motion {n} px": motion(n) for n in (3, 7)},
    "interlaced 3 px": interlaced(3),
    "torn frame": torn(0.5),
    "half frame": missing(0.5),
    "mild: JPEG 90": jpeg(90),
    **{f"JPEG {q}": jpeg(q) for q in (80, 50)},
    "mild: noise 2": noise(2),
    "noise 10": noise(10),
    **{f"resolution x{s:g}": resized(s) for s in (0.75, 0.5, 0.25)},
    **{f"out of frame by {100 * s:.0f} %": shifted_out(s) for s in (0.3, 0.4, 0.5, 0.6)},
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1, ::-1],
    "channels swapped": lambda image: image[..., ::-1],
    "cable": bar(0.03, (20, 20, 20)),
    "glove": bar(0.15, (60, 90, 200)),
    "strip in the background's colour": bar(0.03, (255, 255, 255)),
}

if __name__ == "__main__":
    main()
