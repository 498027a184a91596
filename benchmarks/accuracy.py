"""Trains and evaluates on every part there is: one table with the mean.

    python benchmarks/accuracy.py OUT [--parts bracket,pcb,...] [--shared FOLDER] [--budget 420] [--seed N]

Rows: the demo generator's parts (made below OUT), and, where the shared data are, the MAD-like loader and the real
photographs with edited defects: of "fox" all of the room is the part, of "fox_part" what the cameras look at. A row
whose model exists below OUT already is evaluated again, not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from common import add_shared, add_training, chosen, loader, option_parser, write_result
from edited_photos import FOLDERS as PHOTO_FOLDERS
from edited_photos import READERS as PHOTO_READERS
from edited_photos import write_dataset as write_photo_dataset

from pad_ros.demo.generator import make_dataset
from pad_ros.demo.parts import PARTS
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.evaluation.evaluate import evaluate
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.training.region import FOUND, WHOLE_SCENE
from pad_ros.training.train import train

QUERIES = {"good": 20, "Burrs": 6, "Missing": 6, "Stains": 6, "Scratches": 6, "WrongColour": 6, "Shifted": 6}
COLUMNS = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "localized", "false_reject_rate",
           "escape_rate", "hold_rate")  # fmt: skip


def main() -> None:
    parser = option_parser(__doc__, "out")
    names = [*PARTS, "loader", *PHOTO_READERS]
    parser.add_argument("--parts", default=",".join(names), help="default: all")
    parser.add_argument("--method", default="pad")
    parser.add_argument("--seed", type=int, default=1, help="of the demo generator's views and defects")
    add_training(parser)
    add_shared(parser)
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for name in chosen(parser, arguments.parts, names):
        dataset = find_dataset(name, arguments)
        if dataset is None:
            print(f"{name}: skipped, no data below {arguments.shared}")
            continue
        found[name] = run(name, dataset, arguments)
    rows = [row(name, metrics) for name, metrics in found.items()]
    means = [[m[c] for m in found.values() if m[c] is not None] for c in COLUMNS]
    rows.append(["mean", *(sum(v) / len(v) if v else None for v in means), None, None])
    columns = ["part", *COLUMNS, "rotation deg median/p95", "ms p50"]
    write_result("accuracy", "Accuracy of all parts", columns, rows, "Rates are at each model's own threshold.")


def find_dataset(name: str, arguments: argparse.Namespace) -> Path | None:
    """The data set of a row, made if need be; None where its source is missing."""
    shared = arguments.shared
    if name == "loader":
        return loader(shared) if loader(shared).is_dir() else None
    folder = arguments.out / "data" / name
    if not folder.exists():
        if name in PARTS:
            make_dataset(folder, name, views=80, queries=QUERIES, seed=arguments.seed)
        elif (photos := shared / "data" / PHOTO_FOLDERS.get(name, name)).is_dir():
            write_photo_dataset(PHOTO_READERS[name](photos), folder, name, seed=0)
        else:
            return None
    return folder


def run(name: str, dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    model = arguments.out / "models" / name
    if not model.exists():
        views = read_views(dataset)
        method = load_method(arguments.method, arguments.overrides)
        part = WHOLE_SCENE if name == "fox" else FOUND
        train(views, method, name=name, budget=arguments.budget, part=part).save(model)
    inspector = Inspector(ReferenceModel.load(model))
    return evaluate(inspector, read_dataset(dataset), arguments.out / "reports" / name)


def row(name: str, metrics: dict[str, Any]) -> list[object]:
    error = (metrics["pose_error"] or {}).get("rotation_deg")
    pose = f"{error['median']:.3f}/{error['p95']:.3f}" if error else None
    return [name, *(metrics[c] for c in COLUMNS), pose, round(metrics["latency_ms"]["total"]["p50"])]


if __name__ == "__main__":
    main()
