"""Backbones beside one another, on the Gaussians of a trained model: as the calibrated cue, and as published.

    python benchmarks/backbones.py MODEL DATASET OUT [--cues 1:0.25,2:0.25] [--comparisons calibrated,recipe]
        [--networks efficientnet-lite0,mobilenet-v2] [--title NAME] [--shared FOLDER]

MODEL was trained on DATASET by `pad`. The first rows need no network: colours alone, and gradients beside them. Each
row is calibrated anew on its Gaussians; poses are found once for all rows.
--cues: levels of the backbone and weights beside the colours, LEVEL:WEIGHT. EfficientNet-Lite0 comes from its Python
package or from the shared data, MobileNetV2 from the shared data (see stand_in.py).
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ablation import COLUMNS, judge
from common import add_shared, option_parser, write_result
from localization import weights_folder
from methods import Places
from remembered import digest, remembered

from pad_ros.comparison import calibrated
from pad_ros.comparison.features import CUES, GRADIENTS, Cue, Features, feature_difference, features_of
from pad_ros.evaluation.dataset import Dataset, read_dataset
from pad_ros.imaging import images
from pad_ros.imaging.views import ReferenceViews
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.localization.cascade import Cascade
from pad_ros.localization.result import Localization
from pad_ros.model import ReferenceModel
from pad_ros.networks.backbones import Backbone
from pad_ros.networks.network import Network

NAMES = ("efficientnet-lite0", "mobilenet-v2")
TIMED = 10  # images
TEXT = (
    "EfficientNet-Lite0: its published ImageNet weights. MobileNetV2: a stand-in for the float weights of torchvision, "
    "which could not be had: the int8 ImageNet weights of Google's Coral test data, scaled back. Rates at each row's "
    "own threshold."
)


def main() -> None:
    parser = option_parser(__doc__, "model", "dataset", "out")
    parser.add_argument("--cues", type=cues, default=cues("1:0.25,1:0.5,2:0.25,2:0.5,3:0.25"))
    parser.add_argument("--comparisons", default="calibrated,recipe")
    parser.add_argument("--networks", default=",".join(NAMES))
    parser.add_argument("--title", default="", help="of the result, in place of the data set's name")
    add_shared(parser)
    arguments = parser.parse_args()
    views, dataset = read_views(arguments.dataset), read_dataset(arguments.dataset)
    model = ReferenceModel.load(arguments.model)
    with weights_folder(None, arguments.shared / "weights") as linked:
        places = Places(None, linked, arguments.shared / "weights")
        networks = [found for name in arguments.networks.split(",") if (found := places.find(name)) is not None]
    with found_once():
        compare(arguments, model, views, dataset, networks)


def compare(
    arguments: argparse.Namespace, model: ReferenceModel, views: ReferenceViews, dataset: Dataset,
    networks: list[Network],
) -> None:  # fmt: skip
    """Judges the data set in each row, and writes the table."""
    rows: list[list[object]] = []

    def row(name: str, cue: str, changed: ReferenceModel, overrides: list[str], ms: float | None) -> None:
        found = judge(changed, overrides, views, dataset, arguments.out / f"{len(rows)}")
        rows.append([name, cue, *(found[c] for c in COLUMNS), ms])
        columns = ["backbone", "cue or comparison", *COLUMNS, "CPU ms of the cue"]
        write_result(
            f"backbones_{arguments.title or dataset.name}", f"Backbones on {dataset.name}", columns, rows, TEXT
        )

    kinds = arguments.comparisons.split(",")
    timed = [item.load()[0] for item in dataset.images[:TIMED]]
    if "calibrated" in kinds:
        row("colours alone", "", model, ["scoring.backbone=none"], None)
        row("gradients", f"weight {GRADIENTS.weight:g}", model, [], milliseconds(model, GRADIENTS, timed))
    for network in networks:
        changed = dataclasses.replace(model, networks=(network,))
        setting = f"scoring.backbone={network.name.replace('-', '_')}"
        for cue in arguments.cues if "calibrated" in kinds else ():
            CUES[network.name] = cue
            ms = milliseconds(model, features_of(Backbone(network)), timed)
            row(network.name, f"level {cue.level}, weight {cue.weight:g}", changed, [setting], ms)
        for kind in kinds:
            if kind != "calibrated":
                once = [setting, f"scoring.comparison={kind}", "scoring.photographs=0", "scoring.scales=[4.0]"]
                row(network.name, kind, changed, once, None)


@contextmanager
def found_once() -> Iterator[None]:
    """Poses do not depend on the comparison, nor features on the weight of their cue."""
    localize = Cascade.localize

    def without_rendering(*given: Any) -> Localization:
        return dataclasses.replace(localize(*given), rendering=None)  # its channels are those of one comparison

    Cascade.localize = without_rendering
    pose = lambda cascade, query, prior=None: (digest(query.image), cascade.strategies[0].verifier.limits)  # noqa: E731
    cue = lambda image, reference, features: (  # noqa: E731
        features.name, digest(image, reference.rgb, reference.photographs)
    )  # fmt: skip
    with remembered(Cascade, "localize", pose), remembered(calibrated, "feature_difference", cue):
        yield
    Cascade.localize = localize


def cues(text: str) -> list[Cue]:
    """LEVEL:WEIGHT, ..."""
    try:
        pairs = [one.split(":") for one in text.split(",")]
        return [Cue(int(level), float(weight)) for level, weight in pairs]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected LEVEL:WEIGHT, got {text!r}") from error


def milliseconds(model: ReferenceModel, features: Features, queries: list[images.Image]) -> float:
    """Mean time of all cores that comparing the features of a query takes, so that other work does not count."""
    inspector = Inspector(model)
    prepared = [inspector.prepare(query) for query in queries]
    found = [(query, inspector.localize(query)) for query in prepared]
    pairs = [(q.undistorted, inspector.render(q, at)) for q, at in found if at.pose is not None]
    feature_difference(*pairs[0], features)
    began = time.process_time()
    for image, rendering in pairs:
        feature_difference(image, rendering, features)
    return round(1000 * (time.process_time() - began) / len(pairs), 1)


if __name__ == "__main__":
    main()
