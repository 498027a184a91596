"""`pad`: train, calibrate, inspect, evaluate, bag, changes, bench, demo, weights and info, without ROS.

Exit status: 0 done; 1 done, and at least one verdict is not PASS (inspect, bag); 2 bad usage or bad
input; 3 the machine lacks something.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__, commands
from .errors import InputError, PadError
from .scale_out.options import add_each, asks_for_each

if TYPE_CHECKING:
    from .training.region import Region

DEFAULT_BUDGET = 420.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors become one line on stderr and an exit status."""
    each = asks_for_each(sys.argv[1:] if argv is None else argv)
    parser = _parser(each)
    arguments = parser.parse_args(argv)
    if "run" not in arguments:
        parser.print_help(sys.stderr)
        return 2
    try:
        status: int = commands.each(arguments) if each else arguments.run(arguments)
        return status
    except PadError as error:
        return _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        print("pad: interrupted; nothing was left half-written", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, an --out that cannot be written
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 2)
    except Exception as error:  # the user gets a line, a developer the traceback
        if os.environ.get("PAD_DEBUG"):
            raise
        where = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(f"internal error: {where} (set PAD_DEBUG=1 for details and report it)", 2)


def _fail(message: str, status: int) -> int:
    print(f"pad: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return status


def _parser(each: bool) -> argparse.ArgumentParser:
    """each: for many parts, see `add_each`."""
    parser = argparse.ArgumentParser(prog="pad", description="Inspect parts from any pose.")
    parser.add_argument("--version", action="version", version=f"pad_ros {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = subparsers.add_parser(name, help=text)
        added.set_defaults(run=run)
        return added

    _add_train(command("train", commands.train, "learn a reference model from views of one good part"), each)
    calibrate = command("calibrate", commands.calibrate, "learn from good parts as the line's own camera sees them")
    _add_calibrate(calibrate, each)
    _add_inspect(command("inspect", commands.inspect, "verdict and heatmap for images"))
    _add_evaluate(command("evaluate", commands.evaluate, "metrics.json and report.html on a labelled data set"), each)
    _add_bag(command("bag", commands.bag, "inspect the images of a rosbag2, no ROS needed"))
    _add_changes(command("changes", commands.changes, "what changed in a scene between two sets of photographs"))
    bench = command("bench", commands.bench, "latency, throughput and memory of a model on images")
    bench.add_argument("model", type=Path)
    bench.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    bench.add_argument("--out", type=Path, metavar="FILE")
    _add_device(bench)
    demo = command("demo", commands.demo, "make a part, train, run the ROS 2 graph on it, write a report")
    demo.add_argument("--out", type=Path, default=Path("demo_out"), metavar="DIR")
    demo.add_argument("--part", default="bracket")
    demo.add_argument("--budget", type=_positive, default=200.0, metavar="SECONDS", help="limit on the training time")
    demo.add_argument(
        "--seed", type=_seed, default=0, help="of the queries' poses, the defects, the units and the training"
    )
    demo.add_argument("--no-ros", action="store_true", help="inspect in this process instead of in ROS 2 nodes")
    _add_weights(
        command("weights", commands.weights, "network weights: what there is, under which licence; fetch them")
    )
    _add_history(command("history", commands.history, "the verdicts that a station keeps: list, stats, export"))
    _add_station(command("station", commands.station, "the page: live verdicts, review, threshold, models, health"))
    info = command("info", commands.info, "what is in a reference model")
    info.add_argument("model", type=Path)
    info.add_argument("--json", action="store_true")
    info.add_argument("--pictures", type=Path, metavar="DIR", help="write reference photographs with the part outlined")
    return parser


def _add_train(train: argparse.ArgumentParser, each: bool) -> None:
    if not each:
        train.add_argument("views", type=Path, help="MAD or NeRF data set, COLMAP model, image folder, or rosbag2")
    train.add_argument("--out", type=_place(each), required=True, metavar="MODEL", help="folder to write the model to")
    train.add_argument("--method", default="pad", help="preset (default: %(default)s)")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                       help="change one setting of the preset, e.g. splatting.gaussians=30000")  # fmt: skip
    train.add_argument("--weights", type=Path, metavar="DIR",
                       help="folder with network weights (default: as `pad weights path` says)")  # fmt: skip
    _add_device(train)
    train.add_argument("--budget", type=_positive, default=DEFAULT_BUDGET, metavar="SECONDS",
                       help="limit on the time for the whole training (default: %(default)g)")  # fmt: skip
    train.add_argument("--false-reject-rate", type=_share, default=commands.DEFAULT_RATE, metavar="RATE",
                       help="share of good images that may be rejected (default: %(default)g)")  # fmt: skip
    train.add_argument("--name", help="name of the part (default: the name of VIEWS)")
    train.add_argument("--poses", choices=("colmap", "transforms", "none"),
                       help="where poses and cameras are taken from; none: they are found "
                       "(default: transforms.json, else a COLMAP model, else none)")  # fmt: skip
    train.add_argument(
        "--refine-poses",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="adjust given poses to the images (default: unless they are of renderings)",
    )
    train.add_argument("--topic", help="image topic of a bag (default: the only one)")
    train.add_argument("--part-frame", metavar="FRAME",
                       help="frame of /tf in the bag that the part does not move in: the model is in metres, in this "
                       "frame; poses are refined, and what they were off by is reported")  # fmt: skip
    train.add_argument("--size", type=_positive, metavar="METRES", help="the part's largest extent, for a scale")
    train.add_argument("--marker", type=_positive, metavar="METRES",
                       help="side of the ArUco markers (or those of a ChArUco board) in view, for a scale")  # fmt: skip
    train.add_argument("--part", type=_part, default="auto", metavar="REGION",
                       help="where the part is, in views without plain background: sphere:X,Y,Z,R or "
                            "box:X0,Y0,Z0,X1,Y1,Z1 in the part frame; auto: what the cameras look at; scene: "
                            "everything (default: %(default)s)")  # fmt: skip
    train.add_argument("--max-side", type=int, metavar="PX", help="shrink larger images to this size first")
    train.add_argument("--seed", type=_seed, default=0)
    add_each(train, "views")


def _add_calibrate(calibrate: argparse.ArgumentParser, each: bool) -> None:
    calibrate.add_argument("model", type=_place(each))
    if not each:
        what = "folder of images of good units, one subfolder each; data set; or rosbag2"
        calibrate.add_argument("good", type=Path, metavar="GOOD", help=what)
    calibrate.add_argument("--out", type=_place(each), required=True, metavar="MODEL2", help="folder for the new model")
    calibrate.add_argument("--topic", help="image topic of a bag (default: the only one)")
    calibrate.add_argument("--false-reject-rate", type=_share, metavar="RATE",
                           help="share of good parts that may be rejected (default: the model's)")  # fmt: skip
    calibrate.add_argument("--trust", action="store_true", help="learn from images that look defective as well")
    calibrate.add_argument("--pictures", type=Path, metavar="DIR", help="pictures of the images that were left out")
    calibrate.add_argument("--seed", type=_seed, default=0)
    _add_scene(calibrate)
    _add_device(calibrate)
    add_each(calibrate, "good")


def _add_inspect(inspect: argparse.ArgumentParser) -> None:
    inspect.add_argument("model", type=Path)
    inspect.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    inspect.add_argument("--out", type=Path, required=True, metavar="DIR")
    inspect.add_argument("--json", action="store_true", help="print one JSON object per image")
    _add_record_to(inspect)
    _add_scene(inspect)
    _add_device(inspect)


def _add_evaluate(evaluate: argparse.ArgumentParser, each: bool) -> None:
    evaluate.add_argument("model", type=_place(each))
    if not each:
        evaluate.add_argument("dataset", type=Path)
    evaluate.add_argument("--out", type=_place(each), required=True, metavar="DIR")
    evaluate.add_argument("--baseline", action="append", default=[], choices=("patchcore",), dest="baselines",
                          help="judge the same images by this as well; fitted to DATASET/train/good")  # fmt: skip
    evaluate.add_argument("--weights", type=Path, metavar="DIR",
                          help="folder with the baseline's backbone, for a model that holds none")  # fmt: skip
    _add_scene(evaluate)
    _add_device(evaluate)
    add_each(evaluate, "dataset")


def _add_bag(bag: argparse.ArgumentParser) -> None:
    bag.add_argument("model", type=Path)
    bag.add_argument("bag", type=Path)
    bag.add_argument("--topic", help="image topic (default: the only one)")
    bag.add_argument("--out", type=Path, required=True, metavar="DIR")
    bag.add_argument("--json", action="store_true", help="print one JSON object per image")
    bag.add_argument("--labels", metavar="FILE|TOPIC",
                     help="what the images show; then metrics.json and report.html as of `pad evaluate`")  # fmt: skip
    bag.add_argument("--record", type=Path, metavar="BAG", help="write results and heatmaps into a new rosbag2")
    _add_record_to(bag)
    for name, what in (("false-reject", "good images rejected"), ("escape", "defective images passed"),
                       ("hold", "images held")):  # fmt: skip
        bag.add_argument(f"--max-{name}", type=_rate, metavar="SHARE", help=f"limit: exit status 1 if more {what}")
    bag.add_argument("--max-p95-ms", type=_positive, metavar="MS", help="limit for 95 %% of the times per image")
    _add_scene(bag)
    _add_device(bag)


def _add_changes(changes: argparse.ArgumentParser) -> None:
    changes.add_argument("before", type=Path, metavar="BEFORE",
                         help="the scene as it was: VIEWS as of `pad train`, or a model of it")  # fmt: skip
    changes.add_argument("after", type=Path, metavar="AFTER", help="photographs of it as it is, poses not needed")
    changes.add_argument("--out", type=Path, required=True, metavar="DIR")
    changes.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                         help="change one setting of the preset scene_change")  # fmt: skip
    changes.add_argument("--budget", type=_positive, default=180.0, metavar="SECONDS",
                         help="time for learning BEFORE (default: %(default)g)")  # fmt: skip
    changes.add_argument("--poses", choices=("colmap", "transforms", "none"), help="of BEFORE, as of `pad train`")
    changes.add_argument("--max-side", type=int, metavar="PX", help="shrink larger images to this size first")
    _add_device(changes)


def _add_weights(weights: argparse.ArgumentParser) -> None:
    actions = weights.add_subparsers(dest="action", required=True, metavar="list|fetch|path")
    listing = actions.add_parser("list", help="all weights with size, licence, commercial use and purpose")
    fetch = actions.add_parser("fetch", help="download weights and check them")
    fetch.add_argument("names", nargs="+", metavar="NAME")
    fetch.add_argument("--sha256", default="", metavar="HASH",
                       help="for weights without a known hash: that of the file you trust")  # fmt: skip
    path = actions.add_parser("path", help="the weights folder, or the file of some weights")
    path.add_argument("names", nargs="*", metavar="NAME")
    for action in (listing, fetch, path):
        action.add_argument("--weights", type=Path, metavar="DIR",
                            help="folder (default: PAD_WEIGHTS, else pad_ros/weights in XDG_DATA_HOME)")  # fmt: skip


def _add_record_to(command: argparse.ArgumentParser) -> None:
    command.add_argument("--record-to", type=Path, metavar="STATION",
                         help="keep the results in the history of this station, a folder")  # fmt: skip
    command.add_argument("--cell", default="pad", metavar="NAME", help="name of the cell there (default: %(default)s)")
    _add_database(command)


def _add_database(command: argparse.ArgumentParser) -> None:
    command.add_argument("--database", default=os.environ.get("PAD_STATION_DATABASE", ""), metavar="URL",
                         help="of the history, such as postgresql://user:password@host/name (default: "
                         "PAD_STATION_DATABASE, else a SQLite file in STATION)")  # fmt: skip


def _add_history(history: argparse.ArgumentParser) -> None:
    actions = history.add_subparsers(dest="action", required=True, metavar="list|stats|export")
    listing = actions.add_parser("list", help="results, the newest first")
    listing.add_argument("--limit", type=int, default=0, metavar="N", help="at most so many (default: 50 on screen)")
    listing.add_argument("--out", type=Path, metavar="FILE", help="write all columns to FILE.csv or FILE.parquet")
    stats = actions.add_parser("stats", help="rates, reasons, places of defects, latency, drift")
    stats.add_argument("--by", choices=("hour", "shift", "day"), default="shift")
    stats.add_argument("--shifts", default="6,14,22", metavar="HOURS",
                       help="local hours at which shifts begin (default: %(default)s)")  # fmt: skip
    stats.add_argument("--json", action="store_true")
    export = actions.add_parser("export", help="reviewed results as a data set for `pad evaluate` and `pad calibrate`")
    export.add_argument("--out", type=Path, required=True, metavar="DATASET")
    for action in (listing, stats, export):
        action.add_argument("station", type=Path, metavar="STATION")
        _add_database(action)
        for bound in ("since", "until"):
            action.add_argument(f"--{bound}", metavar="TIME", help="2026-06-01T14:00 (local), or 8h, 7d ago")
        for name, what in (("cell", "NAME"), ("part", "PART_ID"), ("model", "NAME|HASH")):
            action.add_argument(f"--{name}", default="", metavar=what)
        action.add_argument("--verdict", choices=("PASS", "REJECT", "HOLD"))
        action.add_argument("--reason", metavar="REASON", help="a name, such as BLUR")
        action.add_argument("--opinion", choices=("good", "defect", "unsure"), default="", help="of a reviewer")


def _add_station(station: argparse.ArgumentParser) -> None:
    station.add_argument("station", type=Path, metavar="STATION", help="folder of the recorder, or of --record-to")
    _add_database(station)
    station.add_argument("--host", default="127.0.0.1", help="address to serve at (default: %(default)s)")
    station.add_argument("--port", type=int, default=8090, help="(default: %(default)s)")
    station.add_argument("--allowed-host", action="append", default=[], metavar="NAME",
                         help="name by which browsers may ask, where it is not --host; again for more")  # fmt: skip
    station.add_argument("--tls-cert", type=Path, metavar="FILE")
    station.add_argument("--tls-key", type=Path, metavar="FILE")
    station.add_argument("--shifts", default="6,14,22", metavar="HOURS",
                         help="local hours at which shifts begin (default: %(default)s)")  # fmt: skip
    station.add_argument("--add-user", metavar="NAME",
                         help="make a user, or set its role and password anew, and end; the password is asked for, or "
                         "taken from PAD_STATION_PASSWORD")  # fmt: skip
    station.add_argument("--role", choices=("viewer", "operator", "engineer"), default="viewer")


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _add_scene(command: argparse.ArgumentParser) -> None:
    command.add_argument("--background", type=Path, action="append", default=[], metavar="IMAGE",
                         help="what the camera sees without a part; again for each frame of a moving belt")  # fmt: skip
    command.add_argument("--roi", type=_region, metavar="X0,Y0,X1,Y1", help="where in the images to look for the part")
    command.add_argument("--min-view-share", type=_rate, default=0.98, metavar="SHARE",
                         help="of the part's surface in view that must be compared for a PASS")  # fmt: skip


def _place(each: bool) -> Callable[[str], Path | str]:
    """A folder of this machine; of many parts a URL, which a Path would spoil."""
    return str if each else Path


def _region(text: str) -> tuple[int, int, int, int]:
    from .imaging.scene import parse_region

    try:
        return parse_region(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _part(text: str) -> Region | str:
    from .training.region import parse_part

    try:
        return parse_part(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _number(expected: str, low: float, high: float, closed: bool = False) -> Callable[[str], float]:
    """A parser of numbers between `low` and `high`, these two included where `closed`."""

    def parse(text: str) -> float:
        with suppress(ValueError):
            value = float(text)
            if low < value < high or (closed and value in (low, high)):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")

    return parse


_positive = _number("a positive number", 0.0, float("inf"))
_share = _number("between 0 and 1", 0.0, 1.0)
_rate = _number("from 0 to 1", 0.0, 1.0, closed=True)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:12]) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
