"""What each piece of the method is worth: pieces switched off one by one, on the Gaussians of a trained model.

    python benchmarks/ablation.py MODEL DATASET OUT [--blurred MODEL]

MODEL was trained on DATASET; --blurred is a model of the same data set trained for a fraction of the time
(piece 1, the sharp reference). Everything after the Gaussians is calibrated anew for each row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import option_parser, write_result

from pad_ros.comparison.calibrated import CalibratedComparison
from pad_ros.comparison.choices import COMPARISONS
from pad_ros.comparison.protocol import Sample
from pad_ros.comparison.state import ComparisonState
from pad_ros.evaluation.dataset import Dataset, read_dataset
from pad_ros.evaluation.evaluate import evaluate
from pad_ros.imaging.background import part_mask
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.rendering.renderer import Renderer
from pad_ros.training.calibration import calibrate
from pad_ros.training.fitting import split

ROWS: dict[str, list[str]] = {
    "all of it": [],
    "1 no reference photographs": ["scoring.photographs=0"],
    "2 pose not refined": ["refinement.renderings=1"],
    "3 same expectation all over the part": ["scoring.comparison=uniform"],
    "3 no tolerance to a shift": ["scoring.shift=0"],
    "4 score from single pixels": ["scoring.scales=[0.3]"],
}
COLUMNS = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "false_reject_rate", "escape_rate",
           "hold_rate")  # fmt: skip


class UniformComparison(CalibratedComparison):
    """Expects the same residual all over the part: the mean of all Gaussians, whatever the view."""

    def fit(self, samples: Iterable[Sample], renderer: Renderer) -> ComparisonState:
        state = super().fit(samples, renderer)
        mean = np.tile(state.residual_mean.mean(axis=0), (len(state.residual_mean), 1))
        return dataclasses.replace(state, residual_mean=mean)

    def adapt(self, state: ComparisonState, samples: Sequence[Sample], seed: int) -> ComparisonState:
        return state


def main() -> None:
    parser = option_parser(__doc__, "model", "dataset", "out")
    parser.add_argument("--blurred", type=Path)
    arguments = parser.parse_args()
    COMPARISONS["uniform"] = UniformComparison
    views, dataset = read_views(arguments.dataset), read_dataset(arguments.dataset)
    model = ReferenceModel.load(arguments.model)
    rows: dict[str, dict[str, Any]] = {}
    for name, overrides in ROWS.items():
        rows[name] = judge(model, overrides, views, dataset, arguments.out / f"{len(rows)}")
    if arguments.blurred:
        blurred = ReferenceModel.load(arguments.blurred)
        rows["1 reference fitted for less time"] = judge(blurred, [], views, dataset, arguments.out / f"{len(rows)}")
    cells = [[name, *(found[c] for c in COLUMNS)] for name, found in rows.items()]
    title = f"What the pieces are worth, {dataset.name}"
    write_result(f"ablation_{dataset.name}", title, ["switched off", *COLUMNS], cells)


def judge(
    model: ReferenceModel, overrides: list[str], views: ReferenceViews, dataset: Dataset, out: Path
) -> dict[str, Any]:
    method = load_method("pad", overrides)
    poses = dict(zip(model.sfm_map.view_names, model.sfm_map.poses, strict=True))
    registered = tuple(with_pose_and_mask(view, model, poses) for view in views.views if view.name in poses)
    fitted, held_out = split(registered)
    changed = dataclasses.replace(model, settings=method.to_dict(), calibration=None)
    calibration = calibrate(changed, fitted, held_out, 0.01)
    return evaluate(Inspector(dataclasses.replace(changed, calibration=calibration)), dataset, out)


def with_pose_and_mask(view: View, model: ReferenceModel, poses: dict[str, Any]) -> View:
    mask = part_mask(view.image, model.background) if view.mask is None else view.mask
    return dataclasses.replace(view, pose=poses[view.name], mask=mask)


if __name__ == "__main__":
    main()
