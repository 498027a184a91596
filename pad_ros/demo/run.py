"""`pad demo`: make a part, learn it, calibrate with good units, and show the verdicts of the real ROS 2 line."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..decision.inspection import Inspection
from ..errors import ImageError, InputError, MissingDependencyError
from ..imaging import images
from ..imaging.geometry import Camera
from ..inspector import Inspector
from ..io.good_images import read_good_images
from ..io.read_views import read_views
from ..methods.presets import load_method
from ..model import ReferenceModel
from ..progress import Progress
from ..reporting.gallery import GalleryEntry, data_uris, write_gallery
from ..reporting.pictures import heatmap_image, inspection_tiles
from ..training.line_calibration import calibrate_on_line
from ..training.line_calibration import report as report_calibration
from ..training.train import train
from ..verdicts import Reason, Verdict
from .generator import CAMERA_ANGLE_X, Conditions, make_black, make_dataset, make_foreign, make_good_units
from .variation import Variation

if TYPE_CHECKING:
    from ..station.offline import InspectionRecorder
    from .graph import GraphResult

MARKER = ".pad_demo"  # says that a folder is ours to clear
VIEWS, SIZE = 64, 400
LOWEST = 10.0  # degrees: the demo's camera hangs above the part, as in a cell
UNITS = 10  # good ones that differ, from which the model then learns
RATE = 0.02  # of good parts that may be rejected
QUERIES = {"good": 4, "Burrs": 2, "Missing": 2, "Stains": 2, "WrongColour": 1}
EXPECTED = {"good": Verdict.PASS, "foreign": Verdict.HOLD, "black": Verdict.HOLD, "truncated": Verdict.HOLD}


@dataclasses.dataclass(frozen=True)
class Shown:
    """One line of the demo's table."""

    image: str
    label: str
    verdict: str
    expected: str
    reason: str
    score: float
    total_ms: float


Report = Callable[[Path, Shown, GalleryEntry, images.Image | None], None]
Station = AbstractContextManager["InspectionRecorder | None"]


def run_demo(out: Path, part: str, budget: float, seed: int, ros: bool) -> int:
    """Everything below `out`: dataset/, model/, overlays/, units/, model_calibrated/, index.html, results.json, and a
    station with the results: history.sqlite, pictures/.

    Returns 0. ros: three node processes and messages between them; else the same stages in this process.
    """
    if ros:
        _require_ros()
    began = time.monotonic()
    _clear(out)
    dataset, model_folder = out / "dataset", out / "model"
    queries = _make_images(dataset, part, seed)
    views = read_views(dataset)
    model = train(views, load_method("pad"), name=part, budget=budget, false_reject_rate=RATE, seed=seed)
    model = model.save(model_folder)
    if (calibrated := _calibrate(model, part, out, seed)) is not None:
        model_folder = out / "model_calibrated"
        calibrated.save(model_folder)
    camera = Camera.from_fov(SIZE, SIZE, CAMERA_ANGLE_X)
    print(f"\n{'image':<28} {'shows':<12} {'verdict':<8} {'score':>7}  {'ms':>6}  reason", flush=True)
    shown: list[Shown] = []
    entries: list[GalleryEntry] = []

    def report(path: Path, row: Shown, entry: GalleryEntry, overlay: images.Image | None) -> None:
        shown.append(row)
        entries.append(entry)
        if overlay is not None:
            images.save(out / "overlays" / f"{path.parent.name}_{path.stem}.png", overlay)

    inspect = _inspect_with_ros if ros else _inspect_here
    with _station(out, calibrated or model, model_folder) as station:
        inspect(model_folder, queries, camera, report, station)
    write_gallery(entries, out / "index.html", f"pad demo: {part}", "query, reference rendering, heatmap, verdict")
    (out / "results.json").write_text(json.dumps([dataclasses.asdict(row) for row in shown], indent=1) + "\n")
    right = sum(row.verdict == row.expected for row in shown)
    print(f"\n{right} of {len(shown)} verdicts as they should be; {time.monotonic() - began:.0f} s in all")
    if calibrated is not None:
        print(f"without `pad calibrate` {_right(model, queries, camera)} of them would be")
    print(f"look at {out / 'index.html'} and {out / 'overlays'}")
    if station is not None:
        print(f"or at the station with these results: `pad station {out}` serves it at http://127.0.0.1:8090/")
    return 0


def _station(out: Path, model: ReferenceModel, folder: Path) -> Station:
    """Keeps the results with all their pictures; nothing where the packages of the station are not installed."""
    if find_spec("sqlalchemy") is None:
        return nullcontext()
    from ..station.offline import InspectionRecorder
    from ..station.picture_store import PictureRule
    from ..station.place import Place

    return InspectionRecorder(Place(out), "demo", model, folder, PictureRule(every=1))


def _calibrate(model: ReferenceModel, part: str, out: Path, seed: int) -> ReferenceModel | None:
    """The model after it has seen good units that differ from the trained one; None where it cannot learn from them."""
    varied = Conditions(lowest=LOWEST, variation=Variation())
    make_good_units(
        out / "units", part, units=UNITS, images_per_unit=1, views=VIEWS, size=SIZE, seed=seed, conditions=varied
    )
    try:
        learned = calibrate_on_line(model, read_good_images(out / "units"))
    except InputError as error:  # a model from a short training may find too few of them
        print(f"not calibrated: {error}")
        return None
    print("\n".join(["", *report_calibration(learned, model)]), flush=True)
    return learned.model


def _right(model: ReferenceModel, queries: list[tuple[str, Path]], camera: Camera) -> int:
    """How many verdicts are as they should be."""
    inspector = Inspector(model)
    return sum(_inspected(inspector, path, camera).verdict is expected(label) for label, path in queries)


def expected(label: str) -> Verdict:
    """The verdict that is right for an image."""
    return EXPECTED.get(label, Verdict.REJECT)


def _require_ros() -> None:
    if find_spec("rclpy") is None:
        raise MissingDependencyError(
            "the demo runs ROS 2 nodes, but rclpy is not installed: run `make setup`, source a ROS 2, or add --no-ros"
        )


def _clear(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).is_file():
            raise InputError(f"{out}: exists and is no demo folder; choose another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()


def _make_images(dataset: Path, part: str, seed: int) -> list[tuple[str, Path]]:
    """Writes the data set and three queries that must be held; returns (label, path) in the order of showing."""
    with Progress(f"rendering images of a {part}", VIEWS + sum(QUERIES.values())) as bar:
        make_dataset(
            dataset, part, views=VIEWS, size=SIZE, queries=QUERIES, seed=seed, conditions=Conditions(lowest=LOWEST),
            progress=lambda done, _: bar.update(done - bar.done),
        )  # fmt: skip
    queries = [(label, dataset / "test" / label / f"{i}.png") for label, count in QUERIES.items() for i in range(count)]
    special = dataset.parent / "special"
    make_foreign(special / "foreign.png", part, size=SIZE, seed=seed)
    make_black(special / "black.png", size=SIZE)
    whole = queries[0][1].read_bytes()
    (special / "truncated.png").write_bytes(whole[: len(whole) // 2])
    return queries + [(label, special / f"{label}.png") for label in ("foreign", "black", "truncated")]


def _row(label: str, path: Path, verdict: Verdict, reason: str, score: float, total_ms: float) -> Shown:
    name, right = _name(path), expected(label).name
    row = Shown(name, label, verdict.name, right, reason, score, round(total_ms, 1))
    text = f"{row.image:<28} {label:<12} {row.verdict:<8} {score:7.2f}  {total_ms:6.0f}  {reason}"
    print(text if row.verdict == right else f"{text}   (expected {right})", flush=True)
    return row


def _inspect_with_ros(
    folder: Path, queries: list[tuple[str, Path]], camera: Camera, report: Report, station: InspectionRecorder | None
) -> None:
    from .graph import run_graph

    labels = {path: label for label, path in queries}

    def on_result(answer: GraphResult) -> None:
        msg, path = answer.result, answer.image
        verdict, reason = Verdict(msg.verdict), f"{Reason(msg.reason).name}: {msg.reason_text}"
        row = _row(labels[path], path, verdict, reason, msg.score, msg.total_ms)
        heatmap = None if answer.heatmap is None else heatmap_image(answer.heatmap, msg.threshold)
        pictures = {"reference": answer.reference, "heatmap": heatmap, "overlay": answer.overlay}
        tiles = [(caption, picture) for caption, picture in pictures.items() if picture is not None]
        with suppress(ImageError):  # the truncated one has nothing to show
            tiles.insert(0, ("query", images.load(path)))
        entry = GalleryEntry(row.image, verdict, msg.reason_text, msg.score, msg.threshold, data_uris(tiles), row.label)
        report(path, row, entry, answer.overlay)
        if station is not None:
            _keep(station, answer)

    run_graph(folder, [path for _, path in queries], camera, on_result)


def _keep(station: InspectionRecorder, answer: GraphResult) -> None:
    """One answer of the line, as a recorder beside it would."""
    from ..station.picture_store import PictureSet
    from ..station.record import record_of_message

    query, path = None, answer.image
    with suppress(ImageError):
        query = images.load(path)
    record = record_of_message(answer.result, time_ns=time.time_ns(), cell="demo")
    record = dataclasses.replace(record, part_id=_name(path), source=_name(path))
    station.add_record(record, lambda: PictureSet(query, answer.reference, answer.heatmap))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _inspect_here(
    folder: Path, queries: list[tuple[str, Path]], camera: Camera, report: Report, station: InspectionRecorder | None
) -> None:
    inspector = Inspector.load(folder)
    for label, path in queries:
        result = _inspected(inspector, path, camera)
        reason = f"{result.reason.name}: {result.reason_text}"
        row = _row(label, path, result.verdict, reason, result.score, result.timings_ms.get("total", 0.0))
        overlay = dict(inspection_tiles(result)).get("overlay")
        report(path, row, GalleryEntry.of(row.image, result, label), overlay)
        if station is not None:
            station.add(_name(path), result, part_id=_name(path))


def _inspected(inspector: Inspector, path: Path, camera: Camera) -> Inspection:
    try:
        return inspector.inspect(images.load(path), camera)
    except ImageError as error:
        return inspector.bad_image(str(error))
