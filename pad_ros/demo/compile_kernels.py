"""Compile all CPU kernels once, so that the first training and the first verdict on a machine take no longer than later
ones: a small part is learned, calibrated and inspected, before its own ground and before another.

    python -m pad_ros.demo.compile_kernels
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np

from ..imaging import images
from ..inspector import Inspector
from ..io.good_images import read_good_images
from ..io.read_views import read_views
from ..methods.presets import load_method
from ..training.line_calibration import calibrate_on_line
from ..training.train import train
from .generator import make_dataset

VIEWS, SIZE, GOOD = 28, 240, 6
SETTINGS = ("splatting.steps=300", "splatting.gaussians=4000", "splatting.relocate_every=50")
NO_LIMIT = 1e9  # seconds: the steps end the fit


def compile_kernels() -> None:
    """Fills Numba's cache beside the package's files."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "part"
        make_dataset(dataset, views=VIEWS, size=SIZE, queries={"good": GOOD})
        model = train(read_views(dataset), load_method("pad", SETTINGS), name="part", budget=NO_LIMIT)
        good = dataset / "test" / "good"
        model = calibrate_on_line(model, read_good_images(good), trust=True).model
        image = images.load(good / "0.png")
        inspector = Inspector(model)
        found = inspector.inspect(image)
        ground = np.random.default_rng(0).integers(60, 120, image.shape, np.uint8)
        shown = np.where(np.abs(image.astype(int) - image[0, 0]).max(axis=2, keepdims=True) > 10, image, ground)
        for query in (shown, image[..., ::-1].copy()):  # another ground; another part
            inspector.inspect(query)
        inspector.inspect(image, prior=found.localization)  # tracking


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress of a training that is of no use; what goes wrong is shown."""
    told = StringIO()
    try:
        with redirect_stderr(told):
            yield
    except BaseException:
        print(told.getvalue())
        raise


def main() -> None:
    began = time.monotonic()
    with _quiet():
        compile_kernels()
    print(f"kernels compiled in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
