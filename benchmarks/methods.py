"""Trains and evaluates method presets on one data set, and prints one table.

    python benchmarks/methods.py OUT [--data loader] [--methods pad,pad_deep,splatpose_plus,background,patchcore]
        [--budget 420] [--shared FOLDER] [--weights FOLDER]

--data: a folder in MAD's layout, or "loader" of the shared data. Published weights are taken from --weights (else where
`pad weights fetch` puts them) and from the shared data. What is to be had at neither place is replaced, and the text
below the table says by what: EfficientNet-B4 by MobileNetV2, LightGlue by mutual nearest neighbours, NetVLAD by VLAD,
BiRefNet by GrabCut, LaMa by OpenCV.
Models that exist below OUT are evaluated again, not trained again. Times are from the file to the verdict.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import add_shared, add_training, chosen, loader, option_parser, table_lines, write_result
from localization import weights_folder
from stand_in import stand_in

from pad_ros.decision.result_message import STAGES
from pad_ros.errors import MissingDependencyError
from pad_ros.evaluation.dataset import read_dataset, reference_images
from pad_ros.evaluation.evaluate import evaluate, run, summarise
from pad_ros.evaluation.patchcore import FREE_BACKBONE, PatchCore
from pad_ros.imaging import images
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.networks.backbones import Backbone, exported
from pad_ros.networks.network import Network, read_networks
from pad_ros.training.train import train

METHODS = ("pad", "pad_deep", "splatpose_plus", "background", "patchcore")
REPLACEMENTS = {
    "efficientnet-b4": "scoring.backbone=mobilenet_v2",
    "lightglue-aliked": "localization.matcher=nearest",
    "netvlad": "localization.retrieval=vlad",
    "birefnet": "scoring.segmenter=grabcut",
    "lama": "scoring.inpainter=opencv",
}
FIGURES = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "localized", "false_reject_rate",
           "escape_rate", "hold_rate")  # fmt: skip
COLUMNS = ("method", *FIGURES, *(f"{stage} ms p50" for stage in STAGES), "training s")
FALSE_REJECT_RATE = 0.01
Row = tuple[list[object], str]  # the cells of COLUMNS but the first; which networks ran, and what was changed


def main() -> None:
    parser = option_parser(__doc__, "out")
    parser.add_argument("--data", default="loader")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--weights", type=Path)
    add_training(parser)
    add_shared(parser)
    arguments = parser.parse_args()
    data = loader(arguments.shared) if arguments.data == "loader" else Path(arguments.data)
    names = chosen(parser, arguments.methods, METHODS)
    rows, notes = [], []
    with weights_folder(None, arguments.shared / "weights") as linked:
        places = Places(arguments.weights, linked, arguments.shared / "weights")
        for name in names:
            out = arguments.out / name
            patchcore = name == "patchcore"
            figures, note = run_patchcore(data, places) if patchcore else run_preset(name, data, out, places, arguments)
            rows.append([name, *figures])
            notes.append(f"{name}: {note}.")
            print(table_lines(COLUMNS, rows)[-1], flush=True)
    write_result(f"methods_{data.name}", f"Methods on {data.name}", COLUMNS, rows, "\n".join(notes))


class Places:
    """Where networks may be found: a weights folder, one that links to shared weights, and what is shared."""

    def __init__(self, weights: Path | None, linked: Path, shared: Path) -> None:
        self.weights, self.linked, self.shared = weights, linked, shared

    def find(self, name: str) -> Network | None:
        """The network `name`, or MobileNetV2's stand-in; None where neither is here."""
        for folder in (self.weights, self.linked):
            try:
                return exported(read_networks([name], folder)[0])
            except MissingDependencyError:
                continue
        return stand_in(self.shared) if name == FREE_BACKBONE else None

    def all(self, names: Sequence[str]) -> tuple[tuple[Network, ...], list[str]]:
        """(the networks found, the overrides that replace the others); MissingDependencyError without either."""
        found = {name: self.find(name) for name in names}
        missing = [name for name, network in found.items() if network is None]
        for name in missing:
            if name not in REPLACEMENTS:
                read_networks([name], self.weights)  # says how to get it
        return tuple(n for n in found.values() if n is not None), [REPLACEMENTS[name] for name in missing]


def run_preset(name: str, data: Path, out: Path, places: Places, arguments: argparse.Namespace) -> Row:
    """Train (unless there is a model) and evaluate one preset below `out`."""
    if not (out / "model" / "manifest.json").is_file():
        _, replaced = places.all(load_method(name, arguments.overrides).networks)
        method = load_method(name, [*arguments.overrides, *replaced])
        networks, _ = places.all(method.networks)
        train(
            read_views(data), method, name=data.name, budget=arguments.budget, false_reject_rate=FALSE_REJECT_RATE,
            networks=networks,
        ).save(out / "model")  # fmt: skip
    model = ReferenceModel.load(out / "model")
    found = evaluate(Inspector(model), read_dataset(data), out / "evaluation")
    preset = load_method(name).to_dict()
    changed = [
        f"{group}.{key}={value}"
        for group, values in model.settings.items() if isinstance(values, dict)
        for key, value in values.items() if preset[group].get(key) != value and not isinstance(value, list | tuple)
    ]  # fmt: skip
    return row(found, model.training["seconds"], model.networks, changed)


def run_patchcore(data: Path, places: Places) -> Row:
    network = places.find(FREE_BACKBONE)
    assert network is not None
    began = time.monotonic()
    references = [images.load(path) for path in reference_images(data)]
    baseline = PatchCore.fit(references, Backbone(network), FALSE_REJECT_RATE)
    seconds = time.monotonic() - began
    baseline.inspect(references[0])  # the first run of a network is slower
    return row(summarise(run(baseline, read_dataset(data), "patchcore"))[0], seconds, (network,), [])


def row(found: dict[str, Any], seconds: float, networks: Sequence[Network], changed: Sequence[str]) -> Row:
    times = [found["latency_ms"][stage]["p50"] for stage in STAGES]
    cells = [*(found[key] for key in FIGURES), *(None if t is None else round(t) for t in times), round(seconds)]
    ran = [f"{network.name} ({network.licence}, commercial use: {network.commercial})" for network in networks]
    return cells, ", ".join(ran or ["no networks"]) + (f"; changed: {', '.join(changed)}" if changed else "")


if __name__ == "__main__":
    main()
