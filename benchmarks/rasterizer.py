"""Time of the CPU rasterizer (RGB + expected depth, SH degree 2, gradients of everything).

    python benchmarks/rasterizer.py [--threads N] [--repeats N]

The scene is a shell of Gaussians as a fitted part is one: spaced evenly over a sphere that fills two
thirds of the image's width, half as large as their spacing, of mixed opacity.
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np


def main() -> None:
    if "--threads" in sys.argv:  # read when Numba is imported, which the next line does
        os.environ["NUMBA_NUM_THREADS"] = sys.argv[sys.argv.index("--threads") + 1]
    from common import option_parser, write_result

    parser = option_parser(__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    import torch

    from pad_ros.imaging.geometry import Camera, Pose
    from pad_ros.rendering.rasterize import rasterization

    torch.set_num_threads(1)

    def measure(count: int, size: int) -> tuple[float, float]:
        g = torch.Generator().manual_seed(0)
        means = torch.nn.functional.normalize(torch.randn(count, 3, generator=g), dim=1)
        sigma = 0.5 * (4 * np.pi / count) ** 0.5
        parameters = [
            means,
            torch.randn(count, 4, generator=g),
            sigma * torch.exp(0.4 * torch.randn(count, 3, generator=g)),
            torch.rand(count, generator=g) * 0.9 + 0.05,
            0.3 * torch.randn(count, 9, 3, generator=g),
        ]
        parameters = [p.requires_grad_() for p in parameters]
        pose = Pose.look_at(np.array([0.0, -4.0, 0.5]), np.zeros(3), np.array([0.0, 0.0, 1.0]))
        camera = Camera(size, size, 1.3 * size, 1.3 * size, size / 2, size / 2)
        view = torch.tensor(pose.matrix, dtype=torch.float32)[None]
        intrinsics = torch.tensor(camera.K, dtype=torch.float32)[None]
        v_image, v_alpha = torch.randn(1, size, size, 4, generator=g), torch.randn(1, size, size, 1, generator=g)
        forward, both = [], []
        for _ in range(options.repeats + 1):
            began = time.perf_counter()
            image, alpha, _ = rasterization(
                *parameters, view, intrinsics, size, size, sh_degree=2, render_mode="RGB+ED",
                backgrounds=torch.ones(1, 3),
            )  # fmt: skip
            forward.append(time.perf_counter() - began)
            torch.autograd.backward([image, alpha], [v_image, v_alpha])
            both.append(time.perf_counter() - began)
        return 1e3 * float(np.median(forward[1:])), 1e3 * float(np.median(both[1:]))

    began = time.perf_counter()
    measure(100, 32)
    compiling = time.perf_counter() - began
    sizes = (200, 400, 800)
    rows: list[list[object]] = []
    for count in (5_000, 20_000, 100_000):
        cells = (measure(count, size) for size in sizes)
        rows.append([f"{count // 1000}k", *(f"{f:.0f} / {b:.0f}" for f, b in cells)])
    text = (
        f"Median ms, forward / forward and backward, on {options.threads} threads. "
        f"Compiling or loading the kernels took {compiling:.1f} s before."
    )
    columns = ["Gaussians", *(f"{size}x{size}" for size in sizes)]
    write_result("rasterizer", "The CPU rasterizer", columns, rows, text)


if __name__ == "__main__":
    main()
