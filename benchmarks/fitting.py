"""How good the Gaussians get in how many seconds: one map, then a fit for every budget and every change of settings.

    python benchmarks/fitting.py DATASET [--budgets 60,120,240] [--change splatting.gaussians=15000]...

DATASET: whatever `pad train` takes. Each --change is one more row: KEY=VALUE, or several joined by a comma. Seconds are
those of the fit alone, without map and calibration; dB are those of held-out views, on the part.
"""

from __future__ import annotations

import time

import numpy as np
from common import option_parser, write_result

from pad_ros.compute.threads import only_our_threads
from pad_ros.imaging.background import Background
from pad_ros.imaging.views import View
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.settings import SplattingSettings
from pad_ros.training.fitting import split
from pad_ros.training.initialise import initial_gaussians, without_floaters
from pad_ros.training.mapping import build_map
from pad_ros.training.splatting import fit_gaussians, rendering_quality
from pad_ros.training.train import find_background, with_masks


def main() -> None:
    parser = option_parser(__doc__, "dataset")
    parser.add_argument("--budgets", default="60,120,240", help="seconds")
    parser.add_argument("--change", action="append", default=[], help="KEY=VALUE[,KEY=VALUE...], one more row")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    budgets = [float(text) for text in arguments.budgets.split(",")]
    views = read_views(arguments.dataset)
    background = find_background(views)
    sfm_map, posed = build_map(views, background, load_method("pad").localization)
    fitted, held_out = split(with_masks(posed.views, background))
    rows: list[list[object]] = []
    for change in ["", *arguments.change]:
        settings = load_method("pad", change.split(",") if change else []).splatting
        start = initial_gaussians(
            fitted, sfm_map.points, sfm_map.colours, settings.starting, settings.sh_degree, np.random.default_rng(0)
        )
        rows.append([change or "as it is"])
        for budget in budgets:
            decibels, seconds = fit(start, fitted, held_out, background, settings, budget, arguments.device)
            rows[-1].append(f"{decibels:.2f} dB ({seconds:.0f} s)")
            print(f"{rows[-1][0]}, {budget:g} s: {rows[-1][-1]}", flush=True)
    name, columns = arguments.dataset.resolve().name, ["settings", *(f"{budget:g} s" for budget in budgets)]
    text = "On the part, in held-out views; in brackets the seconds that the fit alone took."
    write_result(f"fitting_{name}", f"Quality of the Gaussians against time, {name}", columns, rows, text)


def fit(
    start: Gaussians, fitted: tuple[View, ...], held_out: tuple[View, ...], background: Background,
    settings: SplattingSettings, budget: float, device: str,
) -> tuple[float, float]:  # fmt: skip
    """(dB on the part of held-out views, seconds that the fit took)."""
    with only_our_threads():
        began = time.monotonic()
        gaussians = fit_gaussians(start, fitted, background, settings, budget, device)
        seconds = time.monotonic() - began
        quality = rendering_quality(without_floaters(gaussians, fitted), held_out, background, device)
    return quality.psnr_part, seconds


if __name__ == "__main__":
    main()
