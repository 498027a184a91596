"""An Inspector whose images say which part they show, and a script that runs the real nodes with it.

    python benchmarks/coded_inspector.py NODE --ros-args ...

The first bytes of an image hold a number and a verdict. The result's `reason_text` is that number: it proves whose
image a result comes from. What is tested then is what lies around the comparison: nodes, intake, worker, watchdog.
"""

from __future__ import annotations

import importlib
import re
import sys
import time
from pathlib import Path

import numpy as np
from common import option_parser
from numpy.typing import NDArray

from pad_ros.decision.inspection import AnomalyMap, Inspection
from pad_ros.imaging.scene import Scene
from pad_ros.verdicts import Reason, Verdict

sys.path.append(str(Path(__file__).resolve().parents[1] / "test" / "nodes"))
from fake_inspector import CAMERA, THRESHOLD, FakeInspector, write_bundle  # noqa: E402, F401 (write_bundle: for callers)

MODEL = "coded"
WORK = 0.005  # seconds that an inspection takes
MARK = 0xC7  # third byte: a picture of ours
NUMBER = re.compile(r"part (\d+)$")


class CodedInspector(FakeInspector):
    @staticmethod
    def load(path: Path, device: str, scene: Scene | None = None) -> CodedInspector:
        FakeInspector.load(path, device, scene)  # raises where there is no model
        return CodedInspector(MODEL, scene)

    def score(self, query, localization, rendering):
        time.sleep(WORK)
        number, good = decode(query.image)
        score = 0.5 * THRESHOLD if good else 2.0 * THRESHOLD
        values = np.full(query.image.shape[:2], score, np.float32)
        verdict, reason = (Verdict.PASS, Reason.NONE) if good else (Verdict.REJECT, Reason.ANOMALY)
        text = f"part {number}"
        return Inspection(
            verdict, reason, text, score, THRESHOLD, (), localization, rendering, AnomalyMap(values), query.image
        )


def encode(number: int, good: bool) -> NDArray[np.uint8]:
    """The image [H, W, 3] of a part."""
    pixels = np.full((CAMERA.height, CAMERA.width, 3), 100, np.uint8)
    pixels[0, 0] = (number >> 16, number >> 8 & 255, number & 255)
    pixels[0, 1] = (good, 255 - good, MARK)
    return pixels


def decode(image: NDArray[np.uint8]) -> tuple[int, bool]:
    """(number, good) of `encode`'s image; ValueError for another."""
    high, middle, low = (int(v) for v in image[0, 0])
    good, inverse, mark = (int(v) for v in image[0, 1])
    if mark != MARK or good + inverse != 255 or good > 1:
        raise ValueError("not a coded image")
    return high << 16 | middle << 8 | low, bool(good)


def shown(reason_text: str) -> int | None:
    """The number of the part whose image a result comes from; None: it comes from none."""
    found = NUMBER.match(reason_text)
    return int(found[1]) if found else None


def main() -> int:
    parser = option_parser(__doc__)
    parser.add_argument("node", choices=("cell", "localizer", "renderer", "scorer"))
    node = parser.parse_known_args()[0].node
    from pad_ros.nodes.support.spin import run

    module = importlib.import_module(f"pad_ros.nodes.{node}")
    return run(lambda: getattr(module, f"{node.capitalize()}Node")(load=CodedInspector.load))


if __name__ == "__main__":
    sys.exit(main())
