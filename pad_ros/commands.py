"""What each command of `pad` does. Each returns the exit status; errors are raised.

Modules are imported where a command needs them: `pad info` need not wait for those of `pad train`.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from .decision.inspection import Inspection
    from .inspector import Inspector
    from .io.bags import BagImage
    from .station.offline import InspectionRecorder

DEFAULT_RATE = 0.01


def _load_inspector(arguments: argparse.Namespace) -> Inspector:
    from .imaging.scene import Scene
    from .inspector import Inspector

    scene = Scene.read(arguments.background, arguments.roi, arguments.min_view_share)
    return Inspector.load(arguments.model, arguments.device, scene)


def _history_of(
    arguments: argparse.Namespace, inspector: Inspector
) -> AbstractContextManager[InspectionRecorder | None]:
    """What keeps inspections in the history of --record-to; nothing without that option."""
    if arguments.record_to is None:
        return nullcontext()
    from .station.offline import InspectionRecorder
    from .station.place import Place

    place = Place(arguments.record_to, arguments.database)
    return InspectionRecorder(place, arguments.cell, inspector.model, arguments.model)


def each(arguments: argparse.Namespace) -> int:
    from .scale_out.each import run_each

    return run_each(arguments, arguments.run)


def train(arguments: argparse.Namespace) -> int:
    from .io.read_views import read_views
    from .methods.presets import load_method
    from .model import ReferenceModel
    from .networks.backbones import exported
    from .networks.network import read_networks
    from .rendering.device import resolve_device
    from .reporting.reports import model_summary
    from .training.scale import Scale
    from .training.train import train

    # What can be wrong is found before hours of work, not after.
    ReferenceModel.check_destination(arguments.out)
    method = load_method(arguments.method, arguments.overrides)
    device = resolve_device(arguments.device)
    networks = tuple(exported(network) for network in read_networks(method.networks, arguments.weights))
    views = read_views(
        arguments.views, arguments.max_side, arguments.poses, arguments.topic, arguments.part_frame
    )  # fmt: skip
    model = train(
        views, method, name=arguments.name or arguments.views.resolve().name, budget=arguments.budget,
        false_reject_rate=arguments.false_reject_rate, device=device, seed=arguments.seed,
        networks=networks, refine_poses=arguments.refine_poses, part=arguments.part,
        scale=Scale(arguments.size, arguments.marker),
    )  # fmt: skip
    print("\n".join(model_summary(model.save(arguments.out))))
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    from .io.good_images import read_good_images
    from .model import ReferenceModel
    from .reporting.reports import InspectionWriter
    from .training.line_calibration import calibrate_on_line, report

    if arguments.out.resolve() == arguments.model.resolve():
        raise InputError(f"{arguments.out}: the model itself is not changed; choose another --out")
    ReferenceModel.check_destination(arguments.out)
    inspector = _load_inspector(arguments)
    images = read_good_images(arguments.good, inspector.model.max_query_pixels, arguments.topic)
    found = calibrate_on_line(
        inspector.model, images, arguments.false_reject_rate, arguments.trust, inspector.device, arguments.seed,
        inspector.scene,
    )  # fmt: skip
    if arguments.pictures is not None:
        with InspectionWriter(arguments.pictures, inspector.model) as writer:
            for image in found.left_out:
                writer.add(image.name, image.inspection or inspector.bad_image(image.why))
    print("\n".join(report(found, inspector.model)))
    print(f"hash        {found.model.save(arguments.out).hash}")
    return 0


def inspect(arguments: argparse.Namespace) -> int:
    from .imaging import images
    from .reporting.reports import InspectionWriter

    files = images.find(arguments.images)
    inspector = _load_inspector(arguments)
    with (
        _history_of(arguments, inspector) as history,
        InspectionWriter(arguments.out, inspector.model, json_lines=arguments.json) as writer,
    ):

        def keep(path: Path, result: Inspection) -> None:
            writer.add(path.name, result)
            if history is not None:
                history.add(path.name, result, part_id=path.stem)

        for path in files:
            try:
                image = images.load(path, inspector.model.max_query_pixels)
            except InputError as error:
                keep(path, inspector.bad_image(str(error)))
                continue
            keep(path, inspector.inspect(image))
    return 0 if writer.all_passed else 1


def evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation.dataset import read_dataset
    from .evaluation.evaluate import evaluate, metrics_table
    from .evaluation.patchcore import fit_to_dataset

    dataset = read_dataset(arguments.dataset)
    inspector = _load_inspector(arguments)
    baselines = {}
    if "patchcore" in arguments.baselines:
        calibration = inspector.model.calibration
        rate = DEFAULT_RATE if calibration is None else calibration.false_reject_rate
        baselines["patchcore"] = fit_to_dataset(arguments.dataset, inspector.model.networks, rate, arguments.weights)
    metrics = evaluate(inspector, dataset, arguments.out, baselines)
    print(metrics_table(metrics))
    print(f"report: {arguments.out / 'report.html'}")
    return 0


def bag(arguments: argparse.Namespace) -> int:
    from .evaluation.recordings import Limits, Recording, judge_recording

    inspector = _load_inspector(arguments)
    limits = Limits(arguments.max_false_reject, arguments.max_escape, arguments.max_hold, arguments.max_p95_ms)
    recording = Recording(arguments.bag, arguments.topic, arguments.labels)
    with _history_of(arguments, inspector) as history:

        def keep(frame: BagImage, result: Inspection) -> None:
            if history is not None:
                history.add(f"{recording.name}/{frame.stamp_ns}", result, str(frame.stamp_ns), frame.time_ns)

        destinations = arguments.out, limits, arguments.record, arguments.json
        return judge_recording(inspector, recording, *destinations, also_keep=keep)


def changes(arguments: argparse.Namespace) -> int:
    from .changes.compare import compare, read_photos, read_scene
    from .changes.report import row, write_changes
    from .methods.presets import load_method
    from .rendering.device import resolve_device

    a = arguments
    method, photos = load_method("scene_change", a.overrides), read_photos(a.after, a.max_side)
    known = read_scene(a.before, method, a.budget, resolve_device(a.device), a.max_side, a.poses)
    found = compare(known, photos)
    write_changes(found, a.out, f"{a.before.name} and {a.after.name}")
    for change in found.changes:
        print("{kind:<10} at ({place}), size {size}, in {photographs} photographs".format(**row(change)))
    print(f"{len(found.changes)} changes in {len(found.shown)} photographs, {len(found.left_out)} left out")
    return 0


def bench(arguments: argparse.Namespace) -> int:
    import json

    from .evaluation.bench import bench
    from .imaging import images
    from .reporting.output import write_text

    result = bench(arguments.model, images.find(arguments.images), arguments.device)
    text = json.dumps(result, indent=1)
    if arguments.out:
        write_text(arguments.out, text + "\n")
    print(text)
    return 0


def demo(arguments: argparse.Namespace) -> int:
    from .demo.run import run_demo

    return run_demo(arguments.out, arguments.part, arguments.budget, arguments.seed, ros=not arguments.no_ros)


def weights(arguments: argparse.Namespace) -> int:
    from .networks.registry import REGISTRY, entry, fetch_weights, find_weights, weights_folder

    folder = weights_folder(arguments.weights)
    if arguments.action == "list":
        print(f"{'name':<22}{'here':<6}{'MB':>6}  {'commercial':<12}{'licence':<42}purpose")
        for one in REGISTRY.values():
            here = "yes" if (folder / one.file).is_file() or one.installed else "no"
            size = f"{one.size / 1e6:.1f}" if one.size else "?"
            print(f"{one.name:<22}{here:<6}{size:>6}  {one.commercial:<12}{one.licence:<42}{one.purpose}")
    elif arguments.action == "path":
        print("\n".join(str(find_weights(name, arguments.weights)) for name in arguments.names) or folder)
    else:
        if arguments.sha256 and len(arguments.names) != 1:
            raise InputError("--sha256 is for one NAME at a time")
        for one in [entry(name) for name in arguments.names]:
            print(f"{one.name}: {one.terms}", file=sys.stderr)
            print(fetch_weights(one.name, folder, arguments.sha256))
    return 0


def history(arguments: argparse.Namespace) -> int:
    from .station import history_commands

    return history_commands.run(arguments)


def station(arguments: argparse.Namespace) -> int:
    from .station.web import server

    return server.run(arguments)


def info(arguments: argparse.Namespace) -> int:
    import json

    from .model import ReferenceModel
    from .reporting.part_pictures import write_part_pictures
    from .reporting.reports import model_summary

    model = ReferenceModel.load(arguments.model)
    if arguments.pictures is not None:
        write_part_pictures(model, arguments.pictures)
    if arguments.json:
        print(json.dumps(model.manifest(), indent=1))
    else:
        print("\n".join(model_summary(model)))
    return 0
