"""A real reference model of a small generated part, and queries of it; made once per test session (fixture `toy`)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pad_ros.demo.generator import CAMERA_ANGLE_X, make_black, make_dataset, make_foreign
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.training.train import train

PART, VIEWS, SIZE = "bracket", 28, 240
# So many that the median error of their poses says something. That of four lay between .27 and 1.19 degrees, by
# the last digits of the drawn images, which differ between versions of OpenCV, and of the fit; of these, .27 to .40.
QUERIES = {"good": 8, "Missing": 1, "Stains": 1}
SETTINGS = ("splatting.steps=500", "splatting.gaussians=4000", "splatting.sh_degree=1")
BUDGET = 1e9  # seconds: the number of steps ends the fit, so that the model does not depend on the machine's speed
CAMERA = Camera.from_fov(SIZE, SIZE, CAMERA_ANGLE_X)


@dataclass(frozen=True)
class Toy:
    """Files of the toy; what a query shows is its name."""

    dataset: Path
    bundle: Path
    model: ReferenceModel  # as saved
    good: Path
    defect: Path  # the good query with a large magenta patch on the part's edge
    foreign: Path
    black: Path
    truncated: Path


def make_toy(folder: Path) -> Toy:
    dataset, bundle, special = folder / "dataset", folder / "model", folder / "special"
    make_dataset(dataset, PART, views=VIEWS, size=SIZE, queries=QUERIES)
    model = train(
        read_views(dataset), load_method("pad", SETTINGS), name="toy", budget=BUDGET, false_reject_rate=0.05
    ).save(bundle)
    good = dataset / "test" / "good" / "0.png"
    image = images.load(good).copy()
    rows, columns = np.nonzero(np.abs(image.astype(int) - image[0, 0]).max(axis=2) > 30)
    y, x = int(np.median(rows)), int(np.median(columns[rows == int(np.median(rows))]))
    image[y - 10 : y + 10, x - 10 : x + 10] = (255, 0, 255)
    images.save(special / "defect.png", image)
    make_foreign(special / "foreign.png", PART, size=SIZE)
    make_black(special / "black.png", size=SIZE)
    data = good.read_bytes()
    (special / "truncated.png").write_bytes(data[: len(data) // 2])
    names = ("defect", "foreign", "black", "truncated")
    return Toy(dataset, bundle, model, good, *(special / f"{name}.png" for name in names))
