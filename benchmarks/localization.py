"""Localizes held-out views in maps of the others, and prints one table.

    python benchmarks/localization.py OUT [--parts loader,temple_ring,fox] [--unposed]

loader: map of train/good, queries are all test images. temple_ring, fox: map of four of five photographs, queries are
the fifth ones (data sets as accuracy.py makes them below OUT). Localized: a pose within 3 degrees and 3 % of the
distance. --unposed drops the poses of the reference views before mapping and counts answers alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path

import numpy as np
from accuracy import find_dataset

from pad_ros import images
from pad_ros.evaluation.dataset import GOOD, read_dataset
from pad_ros.geometry import rotation_angle, translation_error, undistort_image
from pad_ros.localization.localizer import Localizer
from pad_ros.training.mapping import build_map
from pad_ros.training.train import find_background
from pad_ros.views import read_views

MAX_DEGREES, MAX_SHARE = 3.0, 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", default="loader,temple_ring,fox")
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--unposed", action="store_true")
    arguments = parser.parse_args()
    shared = arguments.shared or Path(os.environ.get("PAD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    rows = []
    for name in arguments.parts.split(","):
        dataset = find_dataset(name, arguments.out, shared)
        if dataset is None:
            print(f"{name}: skipped, no data below {shared}")
            continue
        rows.append(measure(name, dataset, arguments.unposed))
    columns = ("part", "views mapped", "landmarks", "map s", "queries", "answered", "localized", "deg med/p95/max",
               "% med/p95/max", "ms p50")  # fmt: skip
    print("\n| " + " | ".join(columns) + " |")
    print("|---" * 10 + "|")
    print("\n".join(rows))


def measure(name: str, dataset: Path, unposed: bool) -> str:
    views = read_views(dataset)
    if unposed:
        views = dataclasses.replace(views, views=tuple(dataclasses.replace(v, pose=None) for v in views.views))
    background = find_background(views)
    began = time.perf_counter()
    sfm_map, posed = build_map(views, background)
    seconds = time.perf_counter() - began
    localizer = Localizer(sfm_map, background)
    camera = dataclasses.replace(posed.views[0].camera, distortion=posed.views[0].distortion)
    degrees, shares, times, count = [], [], [], 0
    for item in read_dataset(dataset).images:
        if name != "loader" and item.label != GOOD:
            continue
        image = undistort_image(images.load(item.path), camera)
        began = time.perf_counter()
        found = localizer.localize(image, camera.pinhole())
        times.append(1000 * (time.perf_counter() - began))
        count += 1
        if found.pose is not None and item.pose is not None:
            degrees.append(np.degrees(rotation_angle(found.pose, item.pose)))
            shares.append(translation_error(found.pose, item.pose))
    right = sum(d < MAX_DEGREES and s < MAX_SHARE for d, s in zip(degrees, shares, strict=True))
    localized = "-" if unposed else f"{right / count:.3f}"
    errors = [_spread(degrees), _spread([100 * s for s in shares])] if degrees and not unposed else ["-", "-"]
    return (
        f"| {name} | {len(sfm_map.poses)} of {len(views)} | {len(sfm_map.points)} | {seconds:.0f} | {count} | "
        f"{len(degrees) / count:.3f} | {localized} | {errors[0]} | {errors[1]} | {np.median(times):.0f} |"
    )


def _spread(values: list[float]) -> str:
    return "/".join(f"{x:.3f}" for x in np.percentile(values, [50, 95, 100]))


if __name__ == "__main__":
    main()
