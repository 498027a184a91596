"""How latency and memory grow with the image, the Gaussians, the reference views and the landmarks.

    python benchmarks/scaling.py MODEL IMAGE... --out FOLDER [--axes image,camera,gaussians,...] [--repeats N]

MODEL is a trained bundle, IMAGE shows its part. One thing grows at a time, and what grows is made up: images resized;
Gaussians, views and landmarks are left out, or doubled with small changes (a Gaussian into smaller ones around it, a
view into one from a slightly turned camera, a landmark into one that looks different), so that the model still finds
and judges the part. "camera": frames of 5 and 12 megapixels in which the part is 600 px wide, as Bayer raw; their total
begins before decoding. Each point is a process of its own, so that the peak of memory is its own. Prints a table and
writes one PNG per axis into FOLDER.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cameras import CAMERAS, PART_WIDTH, in_frame, message, part_width
from common import chosen, option_parser, write_result
from matplotlib.figure import Figure

from pad_ros.evaluation.machine import peak_memory_mb
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Pose
from pad_ros.inspector import Inspector
from pad_ros.io.encodings import image_to_rgb
from pad_ros.localization.sfm_map import SfmMap
from pad_ros.model import ReferenceModel
from pad_ros.rendering.gaussians import Gaussians

AXES = {
    "image": (200, 400, 800, 1600),  # px, width
    "camera": (5, 12),  # megapixels
    "gaussians": (5_000, 20_000, 100_000, 500_000),
    "views": (50, 100, 300, 1000),
    "landmarks": (1_000, 4_000, 16_000, 64_000),
}
STAGES = ("localize", "render", "score", "total")
COLUMNS = ("axis", "value", *(f"{stage} ms" for stage in STAGES), "peak MB", "localized", "load average")
TURN = 2e-3  # rad, between a view and its double


def main() -> None:
    parser = option_parser(__doc__, "model", "images...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--axes", default=",".join(AXES))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    for axis in chosen(parser, arguments.axes, tuple(AXES)):
        points = []
        for value in AXES[axis]:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                point = pool.submit(measure, arguments.model, arguments.images, axis, value, arguments.repeats).result()
            points.append(point)
            times = [round(point["latency_ms"][stage]) for stage in STAGES]
            rows.append([axis, value, *times, round(point["memory_mb"]), point["localized"], point["load_average"]])
            print(dict(zip(COLUMNS, rows[-1])), flush=True)
        draw(axis, points, arguments.out / f"scaling_{axis}.png")
    text = "Medians. One axis grows at a time; each point is a process of its own."
    write_result("scaling", "Latency and memory against size", COLUMNS, rows, text)


def measure(model: Path, files: list[Path], axis: str, value: int, repeats: int) -> dict[str, Any]:
    """Median time of each stage [ms] and the peak of the process's memory [MB] at one point of an axis."""
    reference = ReferenceModel.load(model)
    queries: list[Any] = [images.load(file) for file in files]
    camera = None
    if axis == "camera":
        size = next(size for name, size in CAMERAS.items() if name.startswith(f"{value} "))
        factor = PART_WIDTH / part_width(queries, reference.background)
        frames = [in_frame(query, reference.camera, size, factor) for query in queries]
        queries, camera = [message(frame, "bayer_rggb8") for frame, _ in frames], frames[0][1]
    elif axis == "image":
        height = round(value * queries[0].shape[0] / queries[0].shape[1])
        queries = [np.asarray(cv2.resize(q, (value, height), interpolation=cv2.INTER_CUBIC), np.uint8) for q in queries]
    else:
        reference = {"gaussians": with_gaussians, "views": with_views, "landmarks": with_landmarks}[axis](
            reference, value
        )
    inspector = Inspector(reference, "cpu")
    for query in queries:  # builds the stages, compiles the kernels
        inspector.inspect(decoded(query), camera)
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    localized = []
    for _ in range(repeats):
        for query in queries:
            began = time.perf_counter()
            image = decoded(query)
            decoding = 1000 * (time.perf_counter() - began)
            result = inspector.inspect(image, camera)
            result.timings_ms["total"] += decoding
            localized.append(result.localization is not None and result.localization.localized)
            for stage in STAGES:
                times[stage].append(result.timings_ms[stage])
    return {
        "value": value,
        "latency_ms": {stage: float(np.median(values)) for stage, values in times.items()},
        "memory_mb": peak_memory_mb(),
        "localized": float(np.mean(localized)),
        "load_average": os.getloadavg()[0],
    }


def decoded(query: Any) -> images.Image:
    return query if isinstance(query, np.ndarray) else image_to_rgb(query)


def with_gaussians(model: ReferenceModel, count: int) -> ReferenceModel:
    """The model with `count` Gaussians: some of its own, enlarged, or each as several smaller ones around its place."""
    rng = np.random.default_rng(0)
    own = len(model.gaussians)
    chosen = rng.permutation(own)[:count] if count <= own else np.arange(count) % own
    parts = count / own
    g = model.gaussians.take(chosen)
    if count < own:
        g = replace(g, scales=g.scales / np.float32(parts**0.5))
    elif count > own:
        shift = rng.normal(0, 0.5, (count, 3)).astype(np.float32) * g.scales.min(axis=1, keepdims=True)
        opacities = 1 - (1 - g.opacities) ** np.float32(1 / parts**0.5)
        g = Gaussians(g.means + shift, g.quats, g.scales / np.float32(parts**0.25), opacities, g.sh, g.eps2d)
    calibration = model.calibration
    if calibration is not None:
        state = calibration.state
        state = replace(state, residual_mean=state.residual_mean[chosen], rarity=state.rarity[chosen])
        calibration = replace(calibration, state=state, max_loss=1.0)  # such a model explains no image well
    return replace(model, gaussians=g, calibration=calibration)


def with_views(model: ReferenceModel, count: int) -> ReferenceModel:
    """The model with `count` reference views, their photographs and their observations of the landmarks."""
    old, rng = model.sfm_map, np.random.default_rng(0)
    own = len(old.poses)
    chosen = rng.permutation(own)[:count] if count <= own else np.arange(count) % own
    rows = [np.flatnonzero(old.descriptor_view == v) for v in chosen]
    every = np.concatenate(rows)
    turns = [Pose.identity().retract(np.r_[rng.normal(0, TURN, 3), 0, 0, 0]) for _ in chosen]
    names = tuple(f"view {i}" for i in range(count))
    by_name = {photograph.name: photograph for photograph in model.photographs}
    photographs = tuple(
        replace(by_name[old.view_names[v]], name=name)
        for v, name in zip(chosen, names, strict=True)
        if old.view_names[v] in by_name
    )
    new = SfmMap(
        names, tuple(old.poses[v] @ turn for v, turn in zip(chosen, turns, strict=True)),
        tuple(old.cameras[v] for v in chosen), old.points, old.colours, old.errors, old.descriptors[every],
        old.descriptor_landmark[every], np.repeat(np.arange(count, dtype=np.int32), [len(r) for r in rows]),
        old.keypoints[every], old.view_descriptors[chosen], old.features, old.vocabulary,
    )  # fmt: skip
    return replace(model, sfm_map=new, photographs=photographs)


def with_landmarks(model: ReferenceModel, count: int) -> ReferenceModel:
    """The model with `count` landmarks; a double lies where its own does and looks like none of them."""
    old, rng = model.sfm_map, np.random.default_rng(0)
    own = len(old.points)
    chosen = np.sort(rng.permutation(own)[:count]) if count <= own else np.arange(count) % own
    of = [np.flatnonzero(old.descriptor_landmark == p) for p in range(own)]
    every = np.concatenate([of[p] for p in chosen])
    landmark = np.repeat(np.arange(count, dtype=np.int32), [len(of[p]) for p in chosen])
    # Another order of the channels for each round of doubles: as common values as before, but nothing alike.
    orders = np.array([rng.permutation(old.descriptors.shape[1]) for _ in range(-(-count // own))])
    orders[0] = np.arange(old.descriptors.shape[1])
    descriptors = np.take_along_axis(old.descriptors[every], orders[landmark // own], axis=1)
    new = replace(
        old, points=old.points[chosen], colours=old.colours[chosen], errors=old.errors[chosen],
        descriptors=descriptors, descriptor_landmark=landmark,
        descriptor_view=old.descriptor_view[every], keypoints=old.keypoints[every],
    )  # fmt: skip
    return replace(model, sfm_map=new)


def draw(axis: str, points: list[dict[str, Any]], file: Path) -> None:
    """Latency per stage and memory over one axis, both logarithmic, with a line of proportional growth."""
    values = np.array([point["value"] for point in points], float)
    figure = Figure((9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for stage in STAGES:
        left.loglog(values, [point["latency_ms"][stage] for point in points], marker="o", label=stage)
    first = points[0]["latency_ms"]["total"]
    left.loglog(values, first * values / values[0], color="grey", linestyle=":", label="proportional")
    left.set(xlabel=axis, ylabel="ms, median", ylim=(1, 4 * max(point["latency_ms"]["total"] for point in points)))
    left.legend(fontsize=8)
    right.semilogx(values, [point["memory_mb"] for point in points], marker="o", color="black")
    right.set(xlabel=axis, ylabel="MB, peak of the process", ylim=(0, None))
    for plot in (left, right):
        plot.set_xticks(values, [f"{value:,.0f}" for value in values])
        plot.minorticks_off()
    figure.suptitle(f"{axis}: latency and memory")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
