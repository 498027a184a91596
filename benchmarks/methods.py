"""Method presets beside one another on one data set: trained or given the same Gaussians, evaluated, one table.

    python benchmarks/methods.py OUT [--data loader] [--test FOLDER] [--methods pad,pad_deep,...] [--budget 420]
        [--gaussians MODEL] [--every 1] [--calibrate 1] [--field FOLDER] [--figure FILE] [--set KEY=VALUE]
        [--shared FOLDER] [--weights FOLDER]

--data: a folder in MAD's layout, or "loader" of the shared data; --test: one whose images are judged in its place.
--gaussians: a model of the same data by `pad`, whose Gaussians and photographs all methods take over, each with a map
and a calibration of its own. --every: so-many-th of the test images is judged. --calibrate: of methods that learn no
residuals, every so-many-th fitted view and every second held-out one give the threshold. --field: what
benchmarks/radiance_field.py left, for omniposead. --figure: six images through all methods that were evaluated
below OUT.

Published weights are taken from --weights (else where `pad weights fetch` puts them) and from the shared data. What is
to be had at neither place is replaced, and the text below the table says by what: EfficientNet-B4 and SAM's encoder by
EfficientNet-Lite0, LightGlue by mutual nearest neighbours, NetVLAD by VLAD, BiRefNet by GrabCut, LaMa by OpenCV.
Models that exist below OUT are evaluated again, not trained again. Times are from the file to the verdict.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import add_shared, add_training, chosen, loader, option_parser, write_result
from localization import weights_folder
from methods_figure import Pictures, write_figure
from methods_models import with_gaussians_of
from stand_in import stand_in

from pad_ros.decision.result_message import STAGES
from pad_ros.errors import MissingDependencyError
from pad_ros.evaluation.dataset import Dataset, read_dataset, reference_images
from pad_ros.evaluation.evaluate import Inspects, Outcome, run, summarise
from pad_ros.evaluation.patchcore import FREE_BACKBONE, PatchCore
from pad_ros.imaging import images
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import Method, load_method
from pad_ros.model import ReferenceModel
from pad_ros.networks.backbones import Backbone, exported
from pad_ros.networks.network import Network, read_networks
from pad_ros.reporting.output import write_json
from pad_ros.training.train import train

METHODS = ("pad", "pad_deep", "splatpose_plus", "background", "patchcore", "splatpose", "igspad", "omniposead")
BACKBONE = "scoring.backbone=efficientnet_lite0"
REPLACEMENTS = {
    "efficientnet-b4": BACKBONE,
    "sam-vit-b": BACKBONE,
    "lightglue-aliked": "localization.matcher=nearest",
    "netvlad": "localization.retrieval=vlad",
    "birefnet": "scoring.segmenter=grabcut",
    "lama": "scoring.inpainter=opencv",
}
FIGURES = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "localized", "false_reject_rate",
           "escape_rate", "hold_rate")  # fmt: skip
COLUMNS = ("method", "images", *FIGURES, *(f"{stage} ms p50" for stage in STAGES), "training s")
FALSE_REJECT_RATE = 0.01


def main() -> None:
    parser = option_parser(__doc__, "out")
    parser.add_argument("--data", default="loader")
    parser.add_argument("--test", type=Path)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--gaussians", type=Path, metavar="MODEL")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--calibrate", type=int, default=1)
    parser.add_argument("--field", type=Path, metavar="FOLDER")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--weights", type=Path)
    add_training(parser)
    add_shared(parser)
    arguments = parser.parse_args()
    arguments.data = loader(arguments.shared) if arguments.data == "loader" else Path(arguments.data)
    found = read_dataset(arguments.test or arguments.data)
    dataset = Dataset(found.name, list(found.images)[:: arguments.every])
    names = chosen(parser, arguments.methods, METHODS)
    table = Table(dataset, arguments.out)
    with weights_folder(None, arguments.shared / "weights") as linked:
        places = Places(arguments.weights, linked, arguments.shared / "weights")
        for name in names:
            judge, seconds, note = prepared(name, places, arguments)
            pictures = Pictures(arguments.out / name / f"pictures_{dataset.name}", dataset)
            table.add(name, run(judge, dataset, name, pictures.take), seconds, note)
    if arguments.figure:
        folders = {name: arguments.out / name / f"pictures_{dataset.name}" for name in METHODS}
        write_figure(arguments.figure, dataset, folders)


class Table:
    """Rows of all methods that were evaluated below a folder, in this run or before."""

    def __init__(self, dataset: Dataset, out: Path) -> None:
        self.dataset, self.out = dataset, out

    def add(self, name: str, outcomes: Sequence[Outcome], seconds: float, note: str) -> None:
        """Adds a method, keeps its figures below the folder, and writes the table."""
        found, file = summarise(outcomes)[0], f"{self.dataset.name}.json"
        write_json(self.out / name / file, {**found, "row": [name, *cells(found, seconds)], "note": f"{name}: {note}."})
        known = [self.out / other / file for other in METHODS if (self.out / other / file).is_file()]
        kept = [json.loads(path.read_text(encoding="utf-8")) for path in known]
        title, text = f"Methods on {self.dataset.name}", "\n".join(one["note"] for one in kept)
        write_result(f"methods_{self.dataset.name}", title, COLUMNS, [one["row"] for one in kept], text)


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

    def method(self, name: str, overrides: Sequence[str]) -> tuple[Method, tuple[Network, ...]]:
        """The preset with what is here, and its networks; MissingDependencyError without either."""
        method = load_method(name, overrides)
        replaced = []
        for missing in [network for network in method.networks if self.find(network) is None]:
            if missing not in REPLACEMENTS:
                read_networks([missing], self.weights)  # says how to get it
            replaced.append(REPLACEMENTS[missing])
            if missing == "efficientnet-b4" and method.localization.retrieval == "efficientnet_b4":
                replaced.append("localization.retrieval=efficientnet_lite0")
        method = load_method(name, [*overrides, *replaced])
        found = [self.find(network) for network in method.networks]
        return method, tuple(network for network in found if network is not None)


def prepared(name: str, places: Places, arguments: argparse.Namespace) -> tuple[Inspects, float, str]:
    """(what judges images, seconds that its training took, which networks it runs and what was changed)."""
    if name == "patchcore":
        network = places.find(FREE_BACKBONE)
        assert network is not None
        began = time.monotonic()
        references = [images.load(path) for path in reference_images(arguments.data)]
        baseline = PatchCore.fit(references, Backbone(network), FALSE_REJECT_RATE)
        seconds = time.monotonic() - began
        baseline.inspect(references[0])  # the first run of a network is slower
        return baseline, seconds, describe((network,), [])
    place = arguments.out / name / "model"
    if not (place / "manifest.json").is_file():
        method, networks = places.method(name, arguments.overrides)
        views = read_views(arguments.data)
        if arguments.gaussians is None:
            model = train(views, method, name=arguments.data.name, budget=arguments.budget,
                          false_reject_rate=FALSE_REJECT_RATE, networks=networks)  # fmt: skip
        else:
            base = replace(ReferenceModel.load(arguments.gaussians), networks=networks)
            every = 1 if method.scoring.comparison == "calibrated" else arguments.calibrate
            model = with_gaussians_of(base, method, views, arguments.out, (every, arguments.field, FALSE_REJECT_RATE))
        model.save(place)
    inspector = Inspector.load(place)
    inspector.warm_up()
    return inspector, inspector.model.training["seconds"], describe(inspector.model.networks, changes(inspector.model))


def changes(model: ReferenceModel) -> list[str]:
    """Settings that differ from the preset's, but for those of parts that the method does not have."""
    preset, unused = load_method(model.method).to_dict(), {"nerf" if model.nerf is None else "splatting"}
    if not model.settings.get("optimization", {}).get("steps"):  # older models do not know it
        unused.add("optimization")
    return [
        f"{group}.{key}={value}"
        for group, values in model.settings.items() if isinstance(values, dict) and group not in unused
        for key, value in values.items() if preset[group].get(key) != value and not isinstance(value, list | tuple)
    ]  # fmt: skip


def cells(found: dict[str, Any], seconds: float) -> list[object]:
    times = [found["latency_ms"][stage]["p50"] for stage in STAGES]
    return [found["images"], *(found[key] for key in FIGURES), *(None if t is None else round(t) for t in times),
            round(seconds)]  # fmt: skip


def describe(networks: Sequence[Network], changed: Sequence[str]) -> str:
    ran = [f"{network.name} ({network.licence}, commercial use: {network.commercial})" for network in networks]
    return ", ".join(ran or ["no networks"]) + (f"; changed: {', '.join(changed)}" if changed else "")


if __name__ == "__main__":
    main()
