"""How sharp a radiance field gets in how much time of one core, on held-out views of a part.

    python benchmarks/radiance_field.py MODEL DATASET OUT [--seconds 60,300] [--set KEY=VALUE]

MODEL was trained on DATASET by `pad`, and gives poses and masks. Seconds are those of one core (CPU time), so that
other work on the machine does not count. --set changes settings of the field, such as nerf.width=64. OUT keeps
the last field, for benchmarks/methods.py.
"""

from __future__ import annotations

import time
from unittest.mock import patch

import torch
from ablation import with_pose_and_mask
from common import option_parser, write_result

from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.rendering.nerf import save_nerf
from pad_ros.rendering.nerf_renderer import NerfRenderer
from pad_ros.reporting.output import make_folder
from pad_ros.training import nerf_fit
from pad_ros.training.fitting import split

TOY = ("nerf.layers=3", "nerf.width=48", "nerf.frequencies=5", "nerf.view_frequencies=1", "nerf.samples=16",
       "nerf.fine_samples=16", "nerf.rays=384", "nerf.learning_rate=0.005", "nerf.max_side=48")  # fmt: skip
COLUMNS = ("seconds of one core", "dB, whole view", "dB on the part")


def main() -> None:
    parser = option_parser(__doc__, "model", "dataset", "out")
    parser.add_argument("--seconds", default="60,300")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = load_method("omniposead", [*TOY, *arguments.overrides]).nerf
    model, views = ReferenceModel.load(arguments.model), read_views(arguments.dataset)
    poses = dict(zip(model.sfm_map.view_names, model.sfm_map.poses, strict=True))
    fitted, held_out = split(tuple(with_pose_and_mask(v, model, poses) for v in views.views if v.name in poses))
    text = ", ".join(f"{name} {value}" for name, value in vars(settings).items() if not name.startswith("pose"))
    rows: list[list[object]] = []
    for seconds in map(float, arguments.seconds.split(",")):
        with patch.object(nerf_fit.time, "monotonic", time.process_time):
            field = nerf_fit.fit_nerf(fitted, model.background, model.sfm_map, settings, seconds, "cpu", 0)
        make_folder(arguments.out)
        save_nerf(field, arguments.out)
        renderer = NerfRenderer(field, model.gaussians, model.background, None, "cpu")
        found = nerf_fit.nerf_quality(renderer, held_out)
        rows.append([round(seconds), round(found.psnr, 2), round(found.psnr_part, 2)])
        name = arguments.dataset.name
        write_result(f"radiance_field_{name}", f"A radiance field at toy size: {name}", COLUMNS, rows, text)


if __name__ == "__main__":
    main()
