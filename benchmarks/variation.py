"""Good parts that differ as good parts do: verdicts without calibration, and after `pad calibrate` with some units.

    python benchmarks/variation.py OUT [--parts bracket,gearbox] [--units 5,20,60] [--models DIR] [--seed N]

OUT is a new folder for data sets and models. Each part is trained as the nominal part; its queries are other units
(label shifted by up to 2 px, colours of a batch within 3 %, screws turned, own texture, play of up to .5 degrees).
--models: a folder with a model named as each part, trained by an earlier run, instead of training.
"""

from __future__ import annotations

from pathlib import Path

from common import add_training, chosen, option_parser, write_result

from pad_ros.demo.defects import KINDS
from pad_ros.demo.generator import VARIED, Conditions, make_dataset, make_good_units
from pad_ros.demo.parts import PARTS
from pad_ros.evaluation.dataset import Dataset, read_dataset
from pad_ros.evaluation.evaluate import run, summarise
from pad_ros.inspector import Inspector
from pad_ros.io.good_images import read_good_images
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.training.line_calibration import calibrate_on_line
from pad_ros.training.train import train

VIEWS, LOWEST = 64, 10.0  # as the demo's
QUERIES = {"good": 20, **dict.fromkeys(KINDS, 5)}
COLUMNS = ("part", "units that differ", "calibrated with", "threshold", "false rejects", "escapes", "HOLD",
           "image AUROC", "pixel AP", "AUPRO")  # fmt: skip


def main() -> None:
    parser = option_parser(__doc__, "out")
    parser.add_argument("--parts", default="bracket", metavar="NAME,...")
    parser.add_argument("--units", default="5,20,60", metavar="N,...")
    parser.add_argument("--models", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0, help="of queries and units")
    add_training(parser)
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.units.split(",")]
    rows: list[list[object]] = []
    for part in chosen(parser, arguments.parts, tuple(PARTS)):
        folder, seed = arguments.out / part, arguments.seed
        same, varied = Conditions(lowest=LOWEST), Conditions(lowest=LOWEST, variation=VARIED.variation)
        make_dataset(folder / "same", part, views=VIEWS, queries=QUERIES, seed=seed, conditions=same)
        make_dataset(folder / "varied", part, views=VIEWS, queries=QUERIES, seed=seed, conditions=varied)
        if arguments.models is not None:
            model = ReferenceModel.load(arguments.models / part)
        else:
            method = load_method("pad", arguments.overrides)
            model = train(read_views(folder / "same"), method, name=part, budget=arguments.budget)
            model = model.save(arguments.out / "models" / part)
        rows.append([part, "no", "-", *judged(model, read_dataset(folder / "same"))])
        rows.append([part, "yes", "-", *judged(model, read_dataset(folder / "varied"))])
        for count in counts:
            units = folder / f"units_{count}"
            make_good_units(units, part, units=count, images_per_unit=1, views=VIEWS, seed=seed + 1, conditions=varied)
            learned = calibrate_on_line(model, read_good_images(units)).model
            rows.append([part, "yes", f"{count} units", *judged(learned, read_dataset(folder / "varied"))])
            rows.append([part, "no", f"{count} units", *judged(learned, read_dataset(folder / "same"))])
    text = f"{QUERIES['good']} good and {sum(QUERIES.values()) - QUERIES['good']} defective images; one image per unit."
    write_result("variation", "Good parts that differ", COLUMNS, rows, text)


def judged(model: ReferenceModel, dataset: Dataset) -> list[object]:
    """The columns from the threshold on."""
    assert model.calibration is not None
    inspector = Inspector(model)
    inspector.warm_up()
    found, _ = summarise(run(inspector, dataset, dataset.name))
    good, defective = found["verdicts"]["good"], found["verdicts"]["defective"]
    return [
        model.calibration.threshold, f"{good['REJECT']} of {sum(good.values())}",
        f"{defective['PASS']} of {sum(defective.values())}", good["HOLD"] + defective["HOLD"],
        *(float(found[key]) for key in ("image_auroc", "pixel_ap", "aupro")),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
