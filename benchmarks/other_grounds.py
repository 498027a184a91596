"""Before other grounds: verdicts without calibration, and after `pad calibrate` with every second good image.

    python benchmarks/other_grounds.py MODEL=SET...
    python benchmarks/other_grounds.py --make PART GROUND OUT [--views 80] [--seed N]

SET shows the part of MODEL before another ground than its views. Without calibration all of its images are judged; the
images that the model learned from are not. --make: such a set of a demo part on a ground of `pad_ros/demo/grounds.py`,
near the views of a data set of so many.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from common import option_parser, table_lines, write_result
from variation import QUERIES, judged

from pad_ros.demo.generator import Conditions, make_dataset
from pad_ros.demo.grounds import GROUNDS
from pad_ros.evaluation.dataset import Dataset, LabelledImage, TestImage, read_dataset
from pad_ros.io.good_images import read_good_images
from pad_ros.model import ReferenceModel
from pad_ros.training.line_calibration import calibrate_on_line

LOWEST = 35.0  # degrees: from below the ground hides the part
COLUMNS = ("part", "set", "learned from", "threshold", "false rejects", "escapes", "HOLD", "image AUROC", "pixel AP",
           "AUPRO")  # fmt: skip


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("pairs", nargs="*", metavar="MODEL=SET")
    parser.add_argument("--make", nargs=3, metavar=("PART", "GROUND", "OUT"))
    parser.add_argument("--views", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.make:
        part, ground, out = arguments.make
        conditions = Conditions(lowest=LOWEST, ground=GROUNDS[ground])
        make_dataset(Path(out), part, views=arguments.views, queries=QUERIES, seed=arguments.seed,
                     conditions=conditions)  # fmt: skip
        return
    if not arguments.pairs:
        parser.error("give a model and a set, as MODEL=SET")
    rows: list[list[object]] = []
    for pair in arguments.pairs:
        model_path, folder = map(Path, pair.split("=", 1))
        for row in rows_of(ReferenceModel.load(model_path), read_dataset(folder)):
            rows.append([model_path.name, folder.name, *row])
            print(table_lines(COLUMNS, rows)[-1], flush=True)
    write_result("other_grounds", "Before other grounds", COLUMNS, rows)


def rows_of(model: ReferenceModel, dataset: Dataset) -> list[list[object]]:
    """The columns from "learned from" on: without calibration, and learned from either half of the good images."""
    everything = list(dataset.images)
    good = [item for item in everything if not item.defective]
    rows: list[list[object]] = [["-", *judged(model, dataset)]]
    for first in (0, 1):
        chosen = good[first::2]
        learned = calibrated_with(model, chosen)
        others = replace(dataset, images=[item for item in everything if item not in chosen])
        rows.append([f"{len(chosen)} good images", *judged(learned, others)])
    return rows


def calibrated_with(model: ReferenceModel, images: list[LabelledImage]) -> ReferenceModel:
    with tempfile.TemporaryDirectory() as folder:
        for item in images:
            assert isinstance(item, TestImage)
            (Path(folder) / item.path.name).symlink_to(item.path.resolve())
        return calibrate_on_line(model, read_good_images(Path(folder))).model


if __name__ == "__main__":
    main()
