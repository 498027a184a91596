"""What a CUDA device does: rendering, fitting, and whole inspections, with the CPU's figures for rendering.

    python benchmarks/gpu.py [--dataset FOLDER]

Rendering and fitting are measured on a synthetic shell of Gaussians. With a data set (transforms.json, as `pad train`
takes it) a model is trained to --steps iterations as well, and its test images are inspected at their own size and at
twice that. Exit status 3 without a CUDA device or gsplat.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from common import option_parser, write_result

from pad_ros.errors import PadError
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.imaging import images
from pad_ros.imaging.background import Background
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.views import View
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.rendering.device import resolve_device
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.rendering.renderer import Renderer
from pad_ros.training.splatting import fit_gaussians, rendering_quality
from pad_ros.training.train import train

WHITE = Background((255.0, 255.0, 255.0), 10.0)
REPEATS = 30
FIT_STEPS = 300
INSPECTIONS = 50


def main() -> int:
    parser = option_parser(__doc__)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--steps", type=int, default=15_000)
    arguments = parser.parse_args()
    try:
        resolve_device("cuda")
    except PadError as error:
        print(f"gpu: {error}", file=sys.stderr)
        return error.exit_status
    rows = [rendering(count, size) for count in (20_000, 100_000, 500_000) for size in (400, 800)]
    rows += [fitting(count, size) for count in (30_000, 100_000) for size in (400, 800)]
    if arguments.dataset:
        rows += whole(arguments.dataset, arguments.steps)
    write_result("gpu", "A CUDA device", ["task", "CUDA", "CPU", "note"], rows)
    return 0


def shell(count: int) -> Gaussians:
    """Gaussians spaced evenly over a sphere, half as large as their spacing."""
    rng = np.random.default_rng(0)
    sigma, directions = 0.5 * (4 * np.pi / count) ** 0.5, rng.normal(size=(count, 3))
    values = (
        directions / np.linalg.norm(directions, axis=1, keepdims=True), rng.normal(size=(count, 4)),
        sigma * np.exp(0.4 * rng.normal(size=(count, 3))), 0.9 * rng.random(count) + 0.05,
        0.3 * rng.normal(size=(count, 16, 3)),
    )  # fmt: skip
    return Gaussians(*(x.astype(np.float32) for x in values), eps2d=0.1)


def view_from(angle: float, size: int) -> tuple[Camera, Pose]:
    centre = 4 * np.array([np.cos(angle), np.sin(angle), 0.2])
    return Camera(size, size, 1.3 * size, 1.3 * size, size / 2, size / 2), Pose.look_at(
        centre, np.zeros(3), np.eye(3)[2]
    )


def median_ms(call: Callable[[], object]) -> float:
    """After three calls to warm up; the device has finished when the clock is read."""
    times = []
    for k in range(REPEATS + 3):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if k >= 3:
            times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times))


def rendering(count: int, size: int) -> list[object]:
    """Colours, alpha, depth and two features, as a query needs them, arrays back on the host."""
    camera, pose = view_from(0.3, size)
    gaussians, features = shell(count), np.ones((count, 2), np.float32)
    on_cuda, on_cpu = (Renderer(gaussians, WHITE, features, device) for device in ("cuda", "cpu"))
    cuda = median_ms(lambda: on_cuda.render(camera, pose))
    cpu = median_ms(lambda: on_cpu.render(camera, pose))
    return [f"rendering {count // 1000}k Gaussians at {size}x{size}", f"{cuda:.2f} ms", f"{cpu:.1f} ms", None]


def fitting(count: int, size: int) -> list[object]:
    renderer = Renderer(shell(count), WHITE, device="cuda")
    views = []
    for i in range(16):
        camera, pose = view_from(2 * np.pi * i / 16, size)
        shown = renderer.render(camera, pose)
        views.append(View(f"{i}.png", shown.rgb8, camera, pose, shown.alpha > 0.5))
    settings = dataclasses.replace(load_method("pad").splatting, steps=FIT_STEPS, first_until=0.0, coarse_until=0.0)
    start = dataclasses.replace(shell(count), sh=np.zeros((count, 16, 3), np.float32))
    fit_gaussians(start, tuple(views), WHITE, dataclasses.replace(settings, steps=10), float("inf"), "cuda")
    torch.cuda.synchronize()
    began = time.perf_counter()
    fitted = fit_gaussians(start, tuple(views), WHITE, settings, float("inf"), "cuda")
    torch.cuda.synchronize()
    step = 1000 * (time.perf_counter() - began) / FIT_STEPS
    quality = rendering_quality(fitted, tuple(views), WHITE, "cuda").psnr
    note = f"{quality:.1f} dB after {FIT_STEPS} steps"
    return [f"fitting {count // 1000}k Gaussians at {size}x{size}", f"{step:.2f} ms per step", None, note]


def whole(dataset: Path, steps: int) -> list[list[object]]:
    """Training, and inspections from decoded image to verdict."""
    method = load_method("pad", [f"splatting.steps={steps}"])
    began = time.perf_counter()
    model = train(read_views(dataset), method, name=dataset.name, budget=float("inf"), device="cuda")
    seconds = time.perf_counter() - began
    part = model.training["held_out"]["psnr_part"]
    note = f"{part:.2f} dB on the part of held-out views"
    rows: list[list[object]] = [[f"training, {steps} steps", f"{seconds:.0f} s", None, note]]
    with tempfile.TemporaryDirectory() as folder:
        inspector = Inspector(model.save(Path(folder) / "model"), "cuda")
        inspector.warm_up()
        queries = [images.load(sample.path) for sample in read_dataset(dataset).images[:INSPECTIONS]]
        for factor in (1, 2):
            times = []
            for query in queries:
                image = cv2.resize(query, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
                result = inspector.inspect(np.ascontiguousarray(image))
                times.append(result.timings_ms["total"])
            p50, p95 = np.percentile(times[3:], [50, 95])
            size = f"{image.shape[1]}x{image.shape[0]}"
            rows.append([f"inspection at {size}", f"{p50:.1f} ms", None, f"p95 {p95:.1f} ms"])
    return rows


if __name__ == "__main__":
    sys.exit(main())
