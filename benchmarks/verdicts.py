"""How long a verdict takes for several kinds of image, in turn on one model: each beside the plain one.

    python benchmarks/verdicts.py MODEL IMAGE... --ground IMAGE... [--foreign IMAGE...] [--rounds 8] [--name NAME]

IMAGE shows the part before the background of the reference views, --ground before another one, --foreign another part.
Every image comes as a ROS message, and the time runs from that to the verdict. The cameras of 5 and 12 megapixels are
made up: the image is enlarged until the part is PART_WIDTH px wide, what is at its upper rim goes on around it, and it
is sent as Bayer raw. The kinds take turns, so that other work on the machine falls on all of them; a round gives one
ratio of medians for each kind. "tracked": the image again, with what was found in it as that of the frame before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cameras import CAMERAS, PART_WIDTH, enlarged, in_frame, message, part_width
from common import option_parser, write_result

from pad_ros.decision.inspection import Inspection
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera
from pad_ros.imaging.images import Image
from pad_ros.inspector import Inspector
from pad_ros.io.encodings import image_to_rgb

COLUMNS = ("image", "runs", "p50 ms", "p95 ms", "times the first", "quartiles", "found", "compared at, px")


@dataclass
class Kind:
    """One kind of image. queries: (message, camera) of each."""

    queries: list[tuple[Any, Camera | None]]
    tracked: bool = False
    times: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)  # of the rounds
    found: list[bool] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)  # of the renderings compared, px

    def run(self, inspector: Inspector) -> None:
        times = []
        for sent, camera in self.queries:
            look: Callable[..., Inspection] = inspector.inspect
            if self.tracked:
                look = partial(look, prior=inspector.inspect(image_to_rgb(sent), camera).localization)
            began = time.perf_counter()
            result = look(image_to_rgb(sent), camera)
            times.append(1000 * (time.perf_counter() - began))
            self.note(result)
        self.times += times
        self.medians.append(float(np.median(times)))

    def note(self, result: Inspection) -> None:
        """What the table says of it; all results of cameras of 12 megapixels would fill the memory."""
        self.found.append(result.localization is not None and result.localization.localized)
        if result.rendering is not None:
            self.widths.append(result.rendering.rgb.shape[1])

    def row(self, name: str, first: Kind) -> list[object]:
        p50, p95 = np.percentile(self.times, [50, 95]).round(1).tolist()
        low, middle, high = np.percentile(np.divide(self.medians, first.medians), [25, 50, 75])
        width = round(float(np.median(self.widths))) if self.widths else None
        return [name, len(self.times), p50, p95, round(float(middle), 2), f"{low:.2f} to {high:.2f}",
                round(float(np.mean(self.found)), 2), width]  # fmt: skip


def main() -> None:
    parser = option_parser(__doc__, "model", "images...")
    parser.add_argument("--ground", type=Path, nargs="+", required=True)
    parser.add_argument("--foreign", type=Path, nargs="+", default=[])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--name", default="verdicts", help="of the result")
    arguments = parser.parse_args()
    inspector = Inspector.load(arguments.model, "cpu")
    inspector.warm_up()
    kinds = kinds_of(
        inspector, *([images.load(f) for f in getattr(arguments, n)] for n in ("images", "ground", "foreign"))
    )
    for kind in kinds.values():  # what is built when first needed
        kind.run(inspector)
        kind.times, kind.medians, kind.found, kind.widths = [], [], [], []
    for i in range(arguments.rounds):
        for kind in list(kinds.values())[:: 1 if i % 2 else -1]:
            kind.run(inspector)
    first = next(iter(kinds.values()))
    rows = [kind.row(name, first) for name, kind in kinds.items()]
    text = f"Load average {os.getloadavg()[0]:.1f}. Ratios are of medians, round by round."
    write_result(arguments.name, "A verdict for several kinds of image, in turn", COLUMNS, rows, text)


def kinds_of(inspector: Inspector, plain: list[Image], ground: list[Image], foreign: list[Image]) -> dict[str, Kind]:
    height, width = plain[0].shape[:2]
    factor = PART_WIDTH / part_width(plain, inspector.model.background)
    kinds = {
        f"plain ground, {width}x{height}": Kind([(message(image), None) for image in plain]),
        "the same, tracked": Kind([(message(image), None) for image in plain], tracked=True),
        "another ground": Kind([(message(image), None) for image in ground]),
        "another ground, tracked": Kind([(message(image), None) for image in ground], tracked=True),
        f"plain ground, {2 * width}x{2 * height}": Kind([(message(enlarged(image, 2)), None) for image in plain]),
    }
    if foreign:
        kinds["another part, plain ground"] = Kind(
            [(message(np.asarray(cv2.resize(f, (width, height)), np.uint8)), None) for f in foreign]
        )
    for name, size in CAMERAS.items():
        for what, pictures in (("plain ground", plain), ("another ground", ground)):
            queries = [in_frame(image, inspector.model.camera, size, factor) for image in pictures]
            kinds[f"{what}, {name}"] = Kind([(message(image, "bayer_rggb8"), camera) for image, camera in queries])
    return kinds


if __name__ == "__main__":
    main()
