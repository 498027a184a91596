"""kill -9 at random moments of training, saving and evaluating: the old model or report must be there, or the new one.

    python benchmarks/kills.py OUT [--train 30] [--save 100] [--evaluate 40] [--seed 0]

A toy part, in OUT; a number of 0 leaves a kind out. Each run begins on what the killed one before has left. Exit status
1 if a model or a report could not be read, or leftovers stayed after a run that was not killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from common import REPOSITORY, option_parser, write_result

from pad_ros.demo.generator import make_dataset
from pad_ros.errors import PadError
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.evaluation.evaluate import evaluate
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.training.train import train

sys.path.append(str(REPOSITORY / "test"))
from model_factory import make_model  # noqa: E402

CHEAP = ("splatting.steps=150", "splatting.gaussians=1500", "splatting.sh_degree=0", "scoring.photographs=0")
QUERIES = {"good": 2, "Missing": 2}
BUDGET = 1e9  # seconds: the steps end the training


def main() -> int:
    parser = option_parser(__doc__, "out")
    for name, count in (("train", 30), ("save", 100), ("evaluate", 40)):
        parser.add_argument(f"--{name}", type=int, default=count, metavar="KILLS")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    out: Path = arguments.out
    if not (out / "dataset").is_dir():
        in_child(lambda: make_dataset(out / "dataset", "bracket", views=16, size=160, queries=QUERIES))
    views, method, model = read_views(out / "dataset"), load_method("pad", CHEAP), out / "model"

    def learn(number: int) -> None:
        train(views, method, name=f"run {number}", budget=BUDGET, false_reject_rate=0.1).save(model)

    def save(number: int) -> None:
        make_model(gaussians=5000, name=f"run {number}").save(out / "saved")

    def judge(number: int) -> None:
        evaluate(Inspector.load(model), read_dataset(out / "dataset"), out / "report")

    jobs: dict[str, tuple[Callable[[int], None], Callable[[], str]]] = {
        "train": (learn, lambda: name_of(model)),
        "save": (save, lambda: name_of(out / "saved")),
        "evaluate": (judge, lambda: report_of(out / "report")),
    }
    if not model.is_dir():
        in_child(lambda: learn(0))
    columns = ["what", "kills", "the old was there", "the new was there", "neither", "seconds of a whole run"]
    broken = False
    for name, (job, state) in jobs.items():
        if (kills := getattr(arguments, name)) > 0:
            problems: list[str] = []
            row = [name, *killed(name, job, state, kills, arguments.seed, problems)]
            left = [path.name for path in out.rglob(".*")]
            problems += [f"{path} is left after a run to its end" for path in left]
            text = problems or ["Each kill left what can be read: of the run before, or of the killed one."]
            write_result(f"kills_{name}", f"kill -9 at random moments: {name}", columns, [row], "\n".join(text))
            broken |= bool(problems)
    return int(broken)


def killed(
    name: str, job: Callable[[int], None], state: Callable[[], str], kills: int, seed: int, problems: list[str]
) -> list[object]:
    """(kills, old, new, neither, seconds of a whole run); `state` reads what is there, and names the run it is of."""
    choose, counts = random.Random(seed), {"old": 0, "new": 0, "neither": 0}
    in_child(lambda: job(0))
    began = time.monotonic()
    in_child(lambda: job(0))
    whole = time.monotonic() - began
    before = state()
    for number in range(1, kills + 1):
        child = forked(lambda number=number: job(number))
        time.sleep(choose.uniform(0.0, 1.1 * whole))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            now = state()
            counts["old" if now == before else "new"] += 1
            before = now
        except (PadError, ValueError, OSError, KeyError) as error:
            counts["neither"] += 1
            problems.append(f"{name}, kill {number}: {error}")
        if number % 10 == 0:
            print(name, number, counts, flush=True)
    in_child(lambda: job(kills + 1))
    return [kills, *counts.values(), whole]


def forked(job: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        job()
        os._exit(0)
    except BaseException as error:  # the child must not return into the parent's code
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)


def in_child(job: Callable[[], object]) -> None:
    """In a process of its own: threads that a job starts here would be missing in the next ones."""
    if os.waitstatus_to_exitcode(os.waitpid(forked(job), 0)[1]):
        sys.exit("a run that was not killed failed")


def name_of(model: Path) -> str:
    return ReferenceModel.load(model).name


def report_of(folder: Path) -> str:
    """The date and hash in metrics.json; ValueError where it or the report is not whole."""
    found = json.loads((folder / "metrics.json").read_text())
    page = (folder / "report.html").read_text()
    if not page.rstrip().endswith("</html>") or len(found["per_image"]) != sum(QUERIES.values()):
        raise ValueError("a report that is not whole")
    return f"{found['model_hash']} {(folder / 'metrics.json').stat().st_mtime_ns}"


if __name__ == "__main__":
    sys.exit(main())
