"""What another light costs, and what each piece that undoes it is worth.

    python benchmarks/light.py MODEL VIEWS SET... [--effects | --same-poses]
    python benchmarks/light.py --make PART OUT
    python benchmarks/light.py --turntable PART OUT [--steps 1500]

MODEL was trained on VIEWS; each SET shows the same part, under the light of the views or another. For each row of
pieces the model is calibrated anew. --effects: the first set also with other exposures and white balances.
--same-poses: the model and the poses stay as they are with all pieces, only the comparison does without; and the
processor time per image with all pieces and with none, in turn. --make: sets of a demo part OUT/<lamps>, the same
queries under each of the lamps, to train on OUT/studio and to give as SETs.
--turntable: the part is trained twice with as many views and steps, in light fixed to it and turned under a fixed lamp,
and each model judges the same poses and defects in its own light.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
from ablation import with_pose_and_mask
from common import option_parser, table_lines, write_result
from robustness import COLUMNS, effects, judge

from pad_ros.comparison import measurement
from pad_ros.demo.defects import KINDS
from pad_ros.demo.generator import Conditions, make_dataset
from pad_ros.demo.lamps import LAMPS
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.evaluation.evaluate import evaluate
from pad_ros.evaluation.metrics import Judged, count_pixels, ranking_figures, rates
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.photometry import light, prepared_query
from pad_ros.training.calibration import calibrate
from pad_ros.training.fitting import split
from pad_ros.training.train import train

QUERY_LAMPS = ("studio", "moved", "day", "night")
QUERIES = {"good": 20, **dict.fromkeys(KINDS, 5)}
TURNTABLE_QUERIES = {"good": 20, **dict.fromkeys(KINDS, 6)}
TURNTABLE_COLUMNS = ("localized", "image_auroc", "pixel_ap", "aupro", "false_reject_rate", "escape_rate", "hold_rate")
LONGEST = 3600.0  # s: a training ends by its steps, or it compares nothing
PIECES = {  # switched off, each with those before
    "nothing": None,
    "shadows and highlights that moved": (measurement, "_forgive_moved_light", lambda *_: None),
    "light on whole faces": (measurement, "_forgive_face_light", lambda *_: None),
    "shading": (prepared_query.LitQuery, "shading", None),
    "a cast must beat simpler light": (light, "SIMPLER", float("inf")),
}
SAME_POSES = (
    "Each row switches off one more piece of the comparison than the row above; poses, calibration and threshold are "
    "those with all pieces. Rates are at that threshold."
)
TIMED = 8  # images of a set
TEXT = (
    "Each row of pieces switches off one more than the row above; the last row is the comparison as it was before, but "
    "for sets in front of another background, which had a shading. Rates are at the model's own threshold."
)


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("paths", type=Path, nargs="*", metavar="MODEL VIEWS SET...")
    parser.add_argument("--effects", action="store_true")
    parser.add_argument("--same-poses", action="store_true")
    parser.add_argument("--make", nargs=2, metavar=("PART", "OUT"))
    parser.add_argument("--turntable", nargs=2, metavar=("PART", "OUT"))
    parser.add_argument("--steps", type=int, default=1500, help="of each training with --turntable")
    arguments = parser.parse_args()
    if arguments.turntable:
        turned(arguments.turntable[0], Path(arguments.turntable[1]), arguments.steps)
        return
    if arguments.make:
        part, out = arguments.make
        for lamps in QUERY_LAMPS:
            conditions = Conditions(query_lamps=LAMPS[lamps])
            make_dataset(Path(out) / lamps, part, queries=QUERIES, seed=17, conditions=conditions)
        return
    if len(arguments.paths) < 3:
        parser.error("give a model, the views that it was trained on, and a set of test images at least")
    model_path, views, *sets = arguments.paths
    model = ReferenceModel.load(model_path)
    rows: list[list[object]] = []
    if arguments.same_poses:
        rows = [row for folder in sets for row in scored(Inspector(model), folder)]
        ratios = "; ".join(f"{folder.name} {time_ratio(Inspector(model), folder):.2f}" for folder in sets)
        text = f"{SAME_POSES} Processor time per image with all pieces, relative to none (median): {ratios}."
        columns = ["switched off", "set", *COLUMNS]
        write_result(f"light_pieces_{views.name}", f"Light of the comparison, {views.name}", columns, rows, text)
        return
    for piece, without in without_pieces(model, views):
        for row in judged(without, sets, arguments.effects):
            rows.append([piece, *row])
            print(table_lines(["switched off", "set", *COLUMNS], rows)[-1], flush=True)
    title = f"Other light, {views.name}"
    write_result(f"light_{views.name}", title, ["switched off", "set", *COLUMNS], rows, TEXT)


def turned(part: str, out: Path, steps: int) -> None:
    """A row for each kind of light, of models trained on it."""
    rows: list[list[object]] = []
    for light_of_views in ("studio", "turntable"):
        folder, model = out / light_of_views, out / f"model_{light_of_views}"
        if not folder.exists():
            conditions = Conditions(lamps=LAMPS[light_of_views])
            make_dataset(folder, part, views=80, queries=TURNTABLE_QUERIES, seed=21, conditions=conditions)
        if not model.exists():
            method = load_method("pad", [f"splatting.steps={steps}"])
            train(read_views(folder), method, name=part, budget=LONGEST).save(model)
        found = evaluate(Inspector(ReferenceModel.load(model)), read_dataset(folder), out / f"report_{light_of_views}")
        rows.append([light_of_views, *(found[column] for column in TURNTABLE_COLUMNS)])
    text = f"80 views and {steps} steps each; 20 good and 36 defective queries, at the same poses, in the views' light."
    write_result(f"light_turntable_{part}", f"Turntable, {part}", ["light", *TURNTABLE_COLUMNS], rows, text)


def without_pieces(model: ReferenceModel, folder: Path) -> Iterator[tuple[str, ReferenceModel]]:
    """The model, calibrated with fewer pieces each time; they stay off while it is in use."""
    poses = dict(zip(model.sfm_map.view_names, model.sfm_map.poses, strict=True))
    known = [view for view in read_views(folder).views if view.name in poses]
    fitted, held_out = split(tuple(with_pose_and_mask(view, model, poses) for view in known))
    with ExitStack() as stack:
        for name, piece in PIECES.items():
            if piece is not None:
                stack.enter_context(patch.object(*piece))
            bare = dataclasses.replace(model, calibration=None)
            yield name, dataclasses.replace(bare, calibration=calibrate(bare, fitted, held_out, 0.01))


def scored(inspector: Inspector, folder: Path) -> Iterator[list[object]]:
    """A row for each number of pieces, by poses that are found with all."""
    seen = []
    for item in read_dataset(folder).images:
        image, camera = item.load()
        query = inspector.prepare(image, camera)
        found = inspector.localize(query)
        seen.append((item, image, found, inspector.render(query, found) if found.localized else None))
    located = sum(found.localized for _, _, found, _ in seen) / len(seen)
    with ExitStack() as stack:
        for name, piece in PIECES.items():
            if piece is not None:
                stack.enter_context(patch.object(*piece))
            verdicts = []
            for item, image, found, rendering in seen:
                result = inspector.score(inspector.prepare(image), found, rendering)
                verdicts.append(Judged.of(result, item.defective, item.load_mask(image.shape), image.shape))
            figures = {"localized": located, **ranking_figures(verdicts, count_pixels(verdicts)[0]), **rates(verdicts)}
            yield [name, folder.name, *(figures[column] for column in COLUMNS)]


def time_ratio(inspector: Inspector, folder: Path) -> float:
    """Median over images of processor time with all pieces, relative to none."""
    ratios = []
    for item in list(read_dataset(folder).images)[:: max(len(read_dataset(folder).images) // TIMED, 1)]:
        image, camera = item.load()
        times: list[list[float]] = [[], []]
        for k in range(6):  # in turn; the first of each only warms up
            with ExitStack() as stack:
                for piece in PIECES.values() if k % 2 else ():
                    if piece is not None:
                        stack.enter_context(patch.object(*piece))
                began = time.process_time()
                inspector.inspect(image, camera)
                times[k % 2].append(time.process_time() - began)
        ratios.append(min(times[0][1:]) / min(times[1][1:]))
    return float(np.median(ratios))


def judged(model: ReferenceModel, sets: list[Path], with_effects: bool) -> Iterator[list[object]]:
    """Rows of a set's name and its figures."""
    inspector, unchanged = Inspector(model), effects()["none"]
    for folder in sets:
        found = judge(inspector, list(read_dataset(folder).images), unchanged)
        yield [folder.name, *(found[column] for column in COLUMNS)]
    if not with_effects:
        return
    chosen = list(read_dataset(sets[0]).images)
    for name, effect in effects().items():
        if name.startswith(("exposure", "white balance")):
            found = judge(inspector, chosen, effect)
            yield [f"{sets[0].name}, {name}", *(found[column] for column in COLUMNS)]


if __name__ == "__main__":
    main()
