"""Trains and evaluates on every part there is, and prints one table with the mean.

    python benchmarks/accuracy.py OUT [--parts bracket,pcb,...] [--shared FOLDER] [--budget 420]

Rows: the demo generator's parts (made below OUT), and, where the shared data are (--shared, PAD_SHARED, or ../shared
beside the repository), the MAD-like loader and the real photographs with edited defects. A row whose model exists
below OUT already is evaluated again, not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

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
from pad_ros.training.train import train

QUERIES = {"good": 20, "Burrs": 6, "Missing": 6, "Stains": 6, "Scratches": 6, "WrongColour": 6, "Shifted": 6}
COLUMNS = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "localized", "false_reject_rate",
           "escape_rate", "hold_rate")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", help="comma-separated; default: all")
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--budget", type=float, default=420.0)
    parser.add_argument("--method", default="pad")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    shared = arguments.shared or Path(os.environ.get("PAD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    names = [*PARTS, "loader", *PHOTO_READERS]
    chosen = arguments.parts.split(",") if arguments.parts else names
    rows: dict[str, dict[str, Any]] = {}
    for name in chosen:
        if name not in names:
            parser.error(f"no part {name}; there are: {', '.join(names)}")
        dataset = find_dataset(name, arguments.out, shared)
        if dataset is None:
            print(f"{name}: skipped, no data below {shared}")
            continue
        rows[name] = run(name, dataset, arguments)
        print_table(rows)
    (arguments.out / "accuracy.json").write_text(json.dumps(rows, indent=1) + "\n")


def find_dataset(name: str, out: Path, shared: Path) -> Path | None:
    """The data set of a row, made if need be; None where its source is missing."""
    if name == "loader":
        source = shared / "data" / "mad_like" / "loader"
        return source if source.is_dir() else None
    folder = out / "data" / name
    if not folder.exists():
        if name in PARTS:
            make_dataset(folder, name, views=80, queries=QUERIES, seed=1)
        elif (shared / "data" / name).is_dir():
            write_photo_dataset(PHOTO_READERS[name](shared / "data" / name), folder, name, seed=0)
        else:
            return None
    return folder


def run(name: str, dataset: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    model = arguments.out / "models" / name
    if not model.exists():
        views = read_views(dataset)
        method = load_method(arguments.method, arguments.overrides)
        train(views, method, name=name, budget=arguments.budget).save(model)
    inspector = Inspector(ReferenceModel.load(model))
    return evaluate(inspector, read_dataset(dataset), arguments.out / "reports" / name)


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    print("\n| part | " + " | ".join(COLUMNS) + " | rotation deg med/p95 | ms p50 |")
    print("|---" * (len(COLUMNS) + 3) + "|")
    for name, m in rows.items():
        error = (m.get("pose_error") or {}).get("rotation_deg")
        pose = f"{error['median']:.3f}/{error['p95']:.3f}" if error else "-"
        values = " | ".join("-" if m[c] is None else f"{m[c]:.4f}" for c in COLUMNS)
        print(f"| {name} | {values} | {pose} | {m['latency_ms']['total']['p50']:.0f} |")
    means = [[m[c] for m in rows.values() if m[c] is not None] for c in COLUMNS]
    print("| **mean** | " + " | ".join(f"{sum(v) / len(v):.4f}" if v else "-" for v in means) + " | | |", flush=True)


if __name__ == "__main__":
    main()
