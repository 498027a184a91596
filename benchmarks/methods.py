"""Trains and evaluates method presets on one data set, and prints one table.

    python benchmarks/methods.py OUT [--data loader] [--methods pad,pad_deep,splatpose_plus,patchcore] [--budget 420]
        [--shared FOLDER] [--weights FOLDER]

--data: a folder in MAD's layout, or "loader" of the shared data (--shared, PAD_SHARED, or ../shared beside the
repository). Published weights are taken from --weights (else where `pad weights fetch` puts them) and from the shared
data. What is to be had at neither place is replaced, and the table says by what: EfficientNet-B4 by MobileNetV2,
LightGlue by mutual nearest neighbours, NetVLAD by VLAD. Models that exist below OUT are evaluated again, not trained
again. Times are from the file to the verdict.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localization import weights_folder
from stand_in import stand_in

from pad_ros.errors import MissingDependencyError
from pad_ros.evaluation.dataset import read_dataset, reference_images
from pad_ros.evaluation.evaluate import STAGES, evaluate, run, summarise
from pad_ros.evaluation.patchcore import FREE_BACKBONE, PatchCore
from pad_ros.imaging import images
from pad_ros.imaging.views import read_views
from pad_ros.inspector import Inspector
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.networks.backbones import Backbone, exported
from pad_ros.networks.network import Network, read_networks
from pad_ros.training.train import train

METHODS = ("pad", "pad_deep", "splatpose_plus", "patchcore")
REPLACEMENTS = {
    "efficientnet-b4": "scoring.backbone=mobilenet_v2",
    "lightglue-aliked": "localization.matcher=nearest",
    "netvlad": "localization.retrieval=vlad",
}
FIGURES = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "localized", "false_reject_rate",
           "escape_rate", "hold_rate")  # fmt: skip
FALSE_REJECT_RATE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="loader")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--budget", type=float, default=420.0, help="seconds of training, each")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="for every preset")
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    shared = arguments.shared or Path(os.environ.get("PAD_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    data = shared / "data" / "mad_like" / "loader" if arguments.data == "loader" else Path(arguments.data)
    names = arguments.methods.split(",")
    if unknown := sorted(set(names) - set(METHODS)):
        parser.error(f"no method {unknown[0]}; there are: {', '.join(METHODS)}")
    with weights_folder(None, shared / "weights") as linked:
        places = Places(arguments.weights, linked, shared / "weights")
        rows = run_all(names, data, places, arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "methods.json").write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.out / "methods.txt").write_text(table(rows) + "\n")


def run_all(
    names: Sequence[str], data: Path, places: Places, arguments: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        out = arguments.out / name
        rows[name] = (
            run_patchcore(data, places) if name == "patchcore" else run_preset(name, data, out, places, arguments)
        )
        print(table(rows), flush=True)
    return rows


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


def run_preset(name: str, data: Path, out: Path, places: Places, arguments: argparse.Namespace) -> dict[str, Any]:
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


def run_patchcore(data: Path, places: Places) -> dict[str, Any]:
    network = places.find(FREE_BACKBONE)
    assert network is not None
    began = time.monotonic()
    references = [images.load(path) for path in reference_images(data)]
    baseline = PatchCore.fit(references, Backbone(network), FALSE_REJECT_RATE)
    seconds = time.monotonic() - began
    baseline.inspect(references[0])  # the first run of a network is slower
    return row(summarise(run(baseline, read_dataset(data), "patchcore"))[0], seconds, (network,), [])


def row(found: dict[str, Any], seconds: float, networks: Sequence[Network], changed: Sequence[str]) -> dict[str, Any]:
    return {
        **{key: found[key] for key in FIGURES},
        "latency_ms": found["latency_ms"],
        "per_defect": found["per_defect"],
        "training_seconds": round(seconds, 1),
        "networks": [network.entry() for network in networks],
        "changed": list(changed),
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """One line per method; below it what ran, under which licence."""
    heads = ("img AUROC", "pix AUROC", "pix AP", "AUPRO", "F1", "localized", "FRR", "escape", "hold",
             *(f"{stage} ms" for stage in STAGES), "train s")  # fmt: skip
    lines = [f"{'':<16}" + "".join(f"{head:>12}" for head in heads)]
    for name, found in rows.items():
        cells = [f"{found[key]:.3f}" for key in FIGURES]
        cells += [f"{found['latency_ms'][stage]['p50']:.0f}" for stage in STAGES]
        lines.append(f"{name:<16}" + "".join(f"{cell:>12}" for cell in (*cells, f"{found['training_seconds']:.0f}")))
    for name, found in rows.items():
        ran = [f"{n['name']} ({n['licence']}, commercial use: {n['commercial']})" for n in found["networks"]]
        changed = f"; changed: {', '.join(found['changed'])}" if found["changed"] else ""
        lines.append(f"{name}: {', '.join(ran) or 'no networks'}{changed}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
