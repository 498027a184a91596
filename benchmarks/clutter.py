"""What each step before a foreign ground is worth: switched off one by one, at the same poses.

    python benchmarks/clutter.py MODEL DATASET OUT

DATASET's test images show the part before any ground. Rows: the whole image compared with the rendering before its
trained ground; only where the reference mask (the rendering's alpha) is; where it or the query's mask is (the union
rule); the union with the rendering put over the query's own ground; and that in the light of the surroundings.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from pad_ros.comparison import measurement
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.evaluation.metrics import Judged, count_pixels, image_auroc
from pad_ros.imaging import images
from pad_ros.inspector import Inspector
from pad_ros.photometry import prepared_query
from pad_ros.photometry.prepared_query import LitQuery
from pad_ros.verdicts import Verdict

ROWS = ("no mask", "reference mask", "union", "union + composition", "union + composition + shading")
COLUMNS = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "false_reject_rate", "escape_rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    inspector, dataset = Inspector.load(arguments.model, "cpu"), read_dataset(arguments.dataset)
    judged: dict[str, list[Judged]] = {row: [] for row in ROWS}
    for item in dataset.images:
        image = images.load(item.path)
        query = inspector.prepare(image)
        localization = inspector.localize(query)
        mask = item.load_mask((image.shape[0], image.shape[1]))
        rendering = inspector.render(query, localization) if localization.localized else None
        for row in ROWS:
            with without_later_steps(row):  # a query anew: it keeps what it was composed of
                found = inspector.score(inspector.prepare(image), localization, rendering)
            values = None if found.anomaly_map is None else found.anomaly_map.values
            shape = (image.shape[0], image.shape[1])
            judged[row].append(Judged(item.defective, found.verdict, float(found.score), values, mask, shape))
        print(item.name, flush=True)
    table = {row: figures(judged[row]) for row in ROWS}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "clutter.json").write_text(json.dumps(table, indent=1) + "\n")
    print("\n| compared | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for row, cells in table.items():
        print(f"| {row} | " + " | ".join(f"{cells[c]:.4f}" for c in COLUMNS) + " |")


@contextmanager
def without_later_steps(row: str) -> Iterator[None]:
    """The comparison without the steps that come after `row`."""
    kept = ROWS.index(row)
    with ExitStack() as stack:
        if kept < 4:
            stack.enter_context(patch.object(LitQuery, "shaded", property(lambda lit: lit.rendering)))
        if kept < 3:
            for module in (prepared_query, measurement):
                stack.enter_context(patch.object(module, "on_ground", lambda rendering, ground, background: rendering))
        if kept < 2:  # nothing is known of the ground
            stack.enter_context(patch.object(measurement, "distance_from_ground", lambda query, rendering: None))
        if kept < 1:
            stack.enter_context(patch.object(prepared_query, "is_plain_background", lambda mask, rendering: True))
        yield


def figures(judged: list[Judged]) -> dict[str, Any]:
    pooled, _ = count_pixels(judged)
    good = np.array([i.verdict is Verdict.REJECT for i in judged if not i.defective])
    passed = np.array([i.verdict is Verdict.PASS for i in judged if i.defective])
    return {
        "image_auroc": image_auroc(judged), "pixel_auroc": float(pooled.auroc()[0]),
        "pixel_ap": float(pooled.average_precision()[0]), "aupro": float(pooled.aupro()[0]),
        "false_reject_rate": float(good.mean()), "escape_rate": float(passed.mean()),
    }  # fmt: skip


if __name__ == "__main__":
    main()
