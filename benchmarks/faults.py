"""What faults of camera, light and scene do to verdicts: no defect may pass because of one.

    python benchmarks/faults.py MODEL DATASET

Each image of the data set is damaged in one way and inspected. The table counts verdicts of good and of defective
images; "new escapes" are defective images that PASS although they were REJECT without the fault. Rows marked "mild"
should still pass good parts. A fault of the intrinsics comes with the image's true camera changed. What is put over the
background takes for it what is as light as the images' border. Exit status 1 where a fault lets more than one defective
image of 36 escape, or a mild one passes less than 90 % of the good ones that pass without it. Each row is also added to
the file --rows, and what stands there already is not measured again: remove the file when model or code change.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import option_parser, write_result
from numpy.typing import NDArray

from pad_ros.decision.inspection import Inspection
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.imaging.geometry import Camera
from pad_ros.inspector import Inspector
from pad_ros.verdicts import Verdict

Image = NDArray[np.uint8]
Fault = Callable[[Image], Image]
CameraFault = Callable[[Camera], Camera]

COLUMNS = ["fault", "good PASS", "good REJECT", "good HOLD", "bad PASS", "bad REJECT", "bad HOLD", "new escapes"]


ESCAPES, OF = 1, 36  # defective images
MILD_SHARE = 0.9
BORDER_TOLERANCE = 12  # levels


def main() -> int:
    parser = option_parser(__doc__, "model", "dataset")
    parser.add_argument("--every", type=int, default=1, help="take every so many images")
    parser.add_argument("--rows", type=Path, help="file of the rows that are there already")
    arguments = parser.parse_args()
    inspector, dataset = Inspector.load(arguments.model), read_dataset(arguments.dataset)
    inspector.warm_up()
    loaded = [(item.name, item.defective, item.load()[0]) for item in dataset.images[:: arguments.every]]
    clean = {name: inspector.inspect(image).verdict for name, _, image in loaded}
    rows = known_rows(arguments.rows)
    own, kept = inspector.model.camera, {row[0] for row in rows}
    damages = {"none": unchanged, **FAULTS, **dict.fromkeys(CAMERA_FAULTS, unchanged)}
    for fault in [fault for fault in damages if fault not in kept]:
        camera = CAMERA_FAULTS[fault](own) if fault in CAMERA_FAULTS else None
        found = {
            name: (bad, inspector.inspect(np.ascontiguousarray(damages[fault](image)), camera))
            for name, bad, image in loaded
        }
        rows.append([fault, *counts(found), new_escapes(found, clean)])
        print(*rows[-1], flush=True)
        if arguments.rows:
            with arguments.rows.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    rows.sort(key=lambda row: list(damages).index(row[0]))
    broken = problems(rows)
    text = "\n".join(broken or ["No fault lets more defective images escape than asked, mild faults pass good parts."])
    write_result(f"faults_{dataset.name}", f"Faults of camera, light and scene, {dataset.name}", COLUMNS, rows, text)
    return int(bool(broken))


def known_rows(path: Path | None) -> list[list[Any]]:
    """Rows that a run before has measured."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.is_file() else []


def problems(rows: Sequence[Sequence[Any]]) -> list[str]:
    """What the first row (no fault) and the others do not keep of what is asked."""
    passed, bad = rows[0][1], sum(rows[0][4:7])
    allowed = max(ESCAPES, ESCAPES * bad // OF)
    return [
        *(f"{row[0]}: {row[-1]} new escapes of {bad}" for row in rows if row[-1] > allowed),
        *(f"{row[0]}: {row[1]} of {passed} good images pass" for row in rows
          if row[0].startswith("mild") and row[1] < MILD_SHARE * passed),
    ]  # fmt: skip


def counts(found: dict[str, tuple[bool, Inspection]]) -> list[int]:
    """PASS, REJECT and HOLD of good images, then of defective ones."""
    order = (Verdict.PASS, Verdict.REJECT, Verdict.HOLD)
    return [sum(r.verdict is v and b is bad for b, r in found.values()) for bad in (False, True) for v in order]


def new_escapes(found: dict[str, tuple[bool, Inspection]], clean: dict[str, Verdict]) -> int:
    return sum(
        bad and result.verdict is Verdict.PASS and clean[name] is Verdict.REJECT
        for name, (bad, result) in found.items()
    )


def unchanged(image: Image) -> Image:
    return image


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


def focal(factor: float) -> CameraFault:
    return lambda camera: replace(camera, fx=factor * camera.fx, fy=factor * camera.fy)


def saturated(levels: int) -> Fault:
    """The brightest levels are all white."""
    return lambda image: np.where(image >= 255 - levels, 255, image).astype(np.uint8)


def dead_rows(count: int) -> Fault:
    def damage(image: Image) -> Image:
        out = image.copy()
        out[len(image) // 2 : len(image) // 2 + count] = 0
        return out

    return damage


def ground(colour: tuple[int, int, int]) -> Fault:
    """Another background: what is as the border of the image."""

    def damage(image: Image) -> Image:
        border = np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]), axis=0)
        same = np.abs(image.astype(np.int16) - border).max(axis=2) <= BORDER_TOLERANCE
        return np.where(same[..., None], np.uint8(colour), image).astype(np.uint8)

    return damage


def dirt(spots: int) -> Fault:
    """Grey specks on the lens."""

    def damage(image: Image) -> Image:
        out, random = image.copy(), np.random.default_rng(0)
        for x, y, radius in random.uniform(0.2, 0.8, (spots, 3)) * (image.shape[1], image.shape[0], 10):
            cv2.circle(out, (round(x), round(y)), round(radius), (110, 105, 100), -1)
        return cv2.addWeighted(out, 0.6, image, 0.4, 0).astype(np.uint8)

    return damage


def second_part(share: float) -> Fault:
    """The part once more, moved by a share of the width: on a light background the darker pixel counts."""
    return lambda image: np.minimum(image, np.roll(image, round(share * image.shape[1]), axis=1))


def picture(tilt: float) -> Fault:
    """A print of the image, held at an angle: one side is smaller by this share."""

    def damage(image: Image) -> Image:
        height, width = image.shape[:2]
        corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
        held = corners.copy()
        held[[1, 2], 1] += np.float32([tilt, -tilt]) * height / 2
        held[[1, 2], 0] -= tilt * width / 2
        warp = cv2.getPerspectiveTransform(corners, held)
        return cv2.warpPerspective(image, warp, (width, height), borderValue=(255, 255, 255)).astype(np.uint8)

    return damage


FAULTS: dict[str, Fault] = {
    **{f"exposure x{f:g}": gain(f) for f in (0.3, 0.6, 1.3, 2)},
    **{f"mild: exposure x{f:g}": gain(f) for f in (0.85, 1.15)},
    **{f"gamma {e:g}": gamma(e) for e in (0.5, 0.7, 1.4)},
    **{f"offset {o:+d}": offset(o) for o in (-60, 60)},
    **{f"blur {s:g} px": blur(s) for s in (0.7, 1, 1.5, 3)},
    **{f"motion {n} px": motion(n) for n in (3, 7)},
    "interlaced 3 px": interlaced(3),
    **{f"saturated from {255 - n}": saturated(n) for n in (30, 80)},
    **{f"{n} dead rows": dead_rows(n) for n in (1, 4)},
    "torn frame": torn(0.5),
    "half frame": missing(0.5),
    "mild: JPEG 90": jpeg(90),
    **{f"JPEG {q}": jpeg(q) for q in (80, 50)},
    "mild: noise 2": noise(2),
    "noise 10": noise(10),
    **{f"resolution x{s:g}": resized(s) for s in (0.75, 0.5, 0.25)},
    **{f"out of frame by {100 * s:.0f} %": shifted_out(s) for s in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)},
    "on its side": lambda image: np.rot90(image),
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1, ::-1],
    "channels swapped": lambda image: image[..., ::-1],
    "cable": bar(0.03, (20, 20, 20)),
    "glove": bar(0.15, (60, 90, 200)),
    "strip in the background's colour": bar(0.03, (255, 255, 255)),
    **{f"ground {name}": ground(c) for name, c in (("grey", (128, 128, 128)), ("green", (60, 140, 70)))},
    "dirt on the lens": dirt(6),
    "second part": second_part(0.5),
    **{f"printed picture, tilted {100 * t:.0f} %": picture(t) for t in (0.02, 0.1)},
}
CAMERA_FAULTS: dict[str, CameraFault] = {
    **{f"focal length x{f:g}": focal(f) for f in (0.8, 0.95, 1.05, 1.25)},
    "principal point 5 % off": lambda camera: replace(camera, cx=camera.cx + 0.05 * camera.width),
}

if __name__ == "__main__":
    sys.exit(main())
