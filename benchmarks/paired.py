"""Latency of two checkouts, or of two models, on the same images in turn: the ratio of their medians.

    python benchmarks/paired.py IMAGE... --before CHECKOUT MODEL --after CHECKOUT MODEL [--rounds 10] [--batch 8]
                                [--name NAME]

Each side is a process of its own that has loaded its model and is warm. The sides take turns, batch by batch, so that
whatever else the machine does falls on both. A round gives one ratio, of the medians of its two batches; the spread is
that of these ratios. CPU time counts all threads and says more on a busy machine. CHECKOUT is a folder with pad_ros in
it, also one from before the modules got their folders; it is run by its own .venv/bin/python where it has one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LIMIT = 1.03  # of the ratio: exit status 1 above


class Side:
    """One checkout in a process that answers a line of image paths with times [ms] and verdicts."""

    def __init__(self, checkout: str, model: str) -> None:
        root = Path(checkout).resolve()
        own = root / ".venv/bin/python"
        command = [own if own.is_file() else sys.executable, __file__, "--worker", root, Path(model).resolve()]
        self.process = subprocess.Popen(
            [str(word) for word in command], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.times: list[float] = []
        self.cpu_times: list[float] = []
        self.verdicts: dict[str, str] = {}

    def inspect(self, files: list[str]) -> list[float]:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(files), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"a side ended with status {self.process.wait()}")
        times, cpu_times, verdicts = json.loads(line)
        self.times += times
        self.cpu_times += cpu_times
        self.verdicts.update(zip(files, verdicts))
        return times

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def worker(checkout: str, model: str) -> None:
    """Runs in a checkout: it may know only the names of modules of its own time."""
    out, sys.stdout = sys.stdout, sys.stderr  # what the library prints must not mix with the answers
    sys.path[0] = checkout
    import pad_ros

    if Path(pad_ros.__file__).resolve().parents[1] != Path(checkout):
        sys.exit(f"pad_ros comes from {pad_ros.__file__} and not from {checkout}")
    try:
        from pad_ros.imaging import images
    except ImportError:
        from pad_ros import images  # type: ignore[attr-defined, no-redef]
    from pad_ros.inspector import Inspector

    inspector = Inspector.load(Path(model), "cpu")
    inspector.warm_up()
    for line in sys.stdin:
        times, cpu_times, verdicts = [], [], []
        for file in json.loads(line):
            began, cpu_began = time.perf_counter(), time.process_time()
            result = inspector.inspect(images.load(Path(file)))
            times.append(1000 * (time.perf_counter() - began))
            cpu_times.append(1000 * (time.process_time() - cpu_began))
            verdicts.append(result.verdict.name)
        print(json.dumps([times, cpu_times, verdicts]), file=out, flush=True)


def main() -> int:
    from common import option_parser, write_result

    parser = option_parser(__doc__, "images...")
    for name in ("--before", "--after"):
        parser.add_argument(name, nargs=2, required=True, metavar=("CHECKOUT", "MODEL"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--name", default="paired", help="of the result")
    arguments = parser.parse_args()
    files = [str(file.resolve()) for file in arguments.images]
    sides = {name: Side(*getattr(arguments, name)) for name in ("before", "after")}
    ratios = []
    for side in sides.values():  # builds what is left to the first inspection
        side.inspect(files[: arguments.batch])
        side.times, side.cpu_times = [], []
    for i in range(arguments.rounds):
        batch = [files[(i * arguments.batch + k) % len(files)] for k in range(arguments.batch)]
        order = list(sides) if i % 2 else list(sides)[::-1]  # neither side is always the first
        median = {name: float(np.median(sides[name].inspect(batch))) for name in order}
        ratios.append(median["after"] / median["before"])
        print(f"round {i + 1} of {arguments.rounds}: {ratios[-1]:.3f}", flush=True)
    for side in sides.values():
        side.close()
    rows: list[list[Any]] = []
    for name, side in sides.items():
        p50, p95 = np.percentile(side.times, [50, 95])
        rows.append([name, len(side.times), *(round(float(t), 1) for t in (p50, p95, np.median(side.cpu_times)))])
    ratio, cpu_ratio = rows[1][2] / rows[0][2], rows[1][4] / rows[0][4]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    before = sides["before"].verdicts
    different = sum(verdict != before[file] for file, verdict in sides["after"].verdicts.items())
    text = (
        f"Ratio of the medians after/before: {ratio:.3f}; round by round {middle:.3f} "
        f"(quartiles {low:.3f} to {high:.3f}); of CPU time {cpu_ratio:.3f}. "
        f"{different} of {len(before)} verdicts differ."
    )
    kind = arguments.name.removeprefix("paired").strip("_").replace("_", " ")
    title = "Latency before and after" + (f": {kind}" if kind else "")
    write_result(arguments.name, title, ["side", "runs", "p50 ms", "p95 ms", "CPU ms p50"], rows, text)
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(worker(*sys.argv[2:4]) if sys.argv[1:2] == ["--worker"] else main())
