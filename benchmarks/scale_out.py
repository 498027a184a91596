"""Many parts: overhead of a task, one worker against two, a killed worker, and 1,000 parts on 100 machines simulated.

    python benchmarks/scale_out.py OUT [--on local,ray] [--what overhead,kill,speedup,simulate] [--pairs 1]

overhead: 200 tasks that do nothing. kill: 12 tasks of a second; a worker that has one is killed (kill -9). speedup:
`pad train` of 12 small parts with a fixed number of steps, one thread per worker, with one worker and with two, one
after the other, `pairs` times. simulate: no measurement, see `simulated`. Exit status 1 where a result was lost.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import signal
import statistics
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from common import chosen, option_parser, write_result

from pad_ros import commands
from pad_ros.cli import _parser
from pad_ros.demo.generator import make_dataset
from pad_ros.scale_out.each import run_each
from pad_ros.scale_out.task import Run

SMALL = ("splatting.steps=600", "splatting.gaussians=800", "splatting.sh_degree=0")
PARTS, TRIVIAL = 12, 200


def train(arguments: argparse.Namespace) -> int:
    """In place of a training: nothing, or a wait of the seconds in the input; its process is named in `pids`."""
    (arguments.pids / f"{arguments.views.name}.{os.getpid()}").touch()
    time.sleep(float((arguments.views / "seconds").read_text()))
    arguments.out.mkdir(parents=True)
    (arguments.out / "manifest.json").write_text("{}")
    return 0


def main() -> int:
    parser = option_parser(__doc__, "out")
    parser.add_argument("--on", default="local")
    parser.add_argument("--what", default="overhead,kill,speedup,simulate")
    parser.add_argument("--pairs", type=int, default=1)
    arguments = parser.parse_args()
    pools = chosen(parser, arguments.on, ("local", "ray"))
    what = chosen(parser, arguments.what, ("overhead", "kill", "speedup", "simulate"))
    rows: list[list[object]] = []
    lost = 0
    for on in pools:
        if "overhead" in what:
            rows.append(overhead(arguments.out / on, on))
            print(*rows[-1], flush=True)
        if "kill" in what:
            row, missing = killed(arguments.out / on, on)
            rows.append(row)
            lost += missing
        if "speedup" in what:
            rows += speedup(arguments.out, on, arguments.pairs)
    if rows:
        columns = ["on", "what", "parts", "workers", "seconds", "seconds per part", "ratio", "tries of the killed",
                   "load of the machine"]  # fmt: skip
        text = (
            "Nothing to do: what a task costs beside its work, the start of the workers included. Killed: all parts "
            "done, none twice but the one whose worker was killed. Small parts: `pad train` with a fixed number of "
            "steps, one thread for each worker; ratio: seconds with one worker to those with two, run one after the "
            "other. Load: mean number of processes that want a core, before and after; above the number of cores "
            "others took part of them, and two workers get a larger share than one."
        )
        measured = [name for name in what if name != "simulate"]
        title = f"Many parts on {' and '.join(pools)}: {', '.join(measured)}"
        write_result("_".join(["scale_out", *pools, *measured]), title, columns, rows, text)
    if "simulate" in what:
        simulate()
    return int(lost > 0)


def load() -> float:
    return os.getloadavg()[0]


def loads(before: float) -> str:
    return f"{before:.1f}, {load():.1f}"


def each(words: list[str], run: Run, **further: object) -> tuple[float, dict[str, dict[str, object]]]:
    """(seconds, what became of each part)."""
    arguments = _parser(True).parse_args(["train", "--device", "cpu", *words])
    vars(arguments).update(further)
    began = time.perf_counter()
    run_each(arguments, run)
    seconds = time.perf_counter() - began
    found = json.loads((Path(arguments.out) / "parts.json").read_text())["parts"]
    return seconds, {part["name"]: part for part in found}


def waiting_parts(folder: Path, count: int, seconds: float) -> tuple[list[str], Path]:
    """Arguments for parts that take so long, and the folder of their processes."""
    (folder / "pids").mkdir(parents=True)
    for i in range(count):
        (folder / "parts" / f"part_{i:03}").mkdir(parents=True)
        (folder / "parts" / f"part_{i:03}" / "seconds").write_text(str(seconds))
    return ["--each", str(folder / "parts"), "--out", str(folder / "made")], folder / "pids"


def overhead(folder: Path, on: str) -> list[object]:
    words, pids = waiting_parts(folder / "trivial", TRIVIAL, 0.0)
    before = load()
    seconds, found = each([*words, "--on", on, "--workers", "2"], train, pids=pids)
    done = sum(part["state"] == "done" for part in found.values())
    return [on, "nothing to do", done, 2, seconds, seconds / TRIVIAL, None, None, loads(before)]


def killed(folder: Path, on: str) -> tuple[list[object], int]:
    """A row, and how many results are missing."""
    words, pids = waiting_parts(folder / "killed", PARTS, 1.0)
    victim: list[str] = []

    def kill() -> None:
        while len(started := sorted(pids.iterdir(), key=lambda file: file.stat().st_mtime)) < PARTS // 2:
            time.sleep(0.02)
        time.sleep(0.3)
        victim.append(started[-1].stem)
        os.kill(int(started[-1].suffix[1:]), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    before = load()
    seconds, found = each([*words, "--on", on, "--workers", "2"], train, pids=pids)
    done = [
        name for name, part in found.items() if part["state"] == "done" and (folder / "killed/made" / name).is_dir()
    ]
    tries = len(list(pids.glob(f"{victim[0]}.*"))) if victim else 0
    twice = len(list(pids.iterdir())) - PARTS - (tries - 1)
    print(f"killed the worker of {victim}; tries {tries}, others begun twice {twice}")
    return [on, "worker killed", len(done), 2, seconds, seconds / PARTS, None, tries, loads(before)], PARTS - len(done)


def speedup(folder: Path, on: str, pairs: int) -> list[list[object]]:
    parts, first = folder / "small", folder / "first"
    for path in (first / "part", *(parts / f"part_{i:02}" for i in range(PARTS))):
        if not path.is_dir():
            make_dataset(path, "bracket", views=14, size=160, queries={"good": 1})
    words = ["--on", on, "--budget", "1e6", *(word for setting in SMALL for word in ("--set", setting))]
    each([*words, "--each", str(first), "--out", str(folder / f"first_{on}")], commands.train)  # compiles, if need be
    words += ["--each", str(parts)]
    rows: list[list[object]] = []
    for pair in range(pairs):
        times = []
        for workers in (1, 2):
            before = load()
            out = folder / f"{on}_{pair}_{workers}"
            seconds, found = each([*words, "--workers", str(workers), "--out", str(out)], commands.train)
            times.append(seconds)
            done = sum(part["state"] == "done" for part in found.values())
            ratio = times[0] / times[1] if workers == 2 else None
            rows.append([on, "small parts", done, workers, seconds, seconds / PARTS, ratio, None, loads(before)])
            print(*rows[-1], flush=True)
    return rows


@dataclass(frozen=True)
class Plant:
    """What is simulated. seconds: of a part's work, mean, and deviation as a share of it; MB and MB/s are 10**6 bytes.

    One task runs on a machine at a time. `store`: bandwidth of the store for all machines; `link`: of each machine.
    """

    parts: int = 1000
    machines: int = 100
    seconds: float = 420.0
    deviation: float = 0.1
    overhead: float = 1.0
    read_mb: float = 5.0
    written_mb: float = 35.0
    store: float = 1250.0
    link: float = 125.0
    start: float = 60.0  # of a machine, until it takes tasks

    def bounds(self) -> tuple[float, float]:
        """Seconds in which all parts are done, at least and at most: transfers alone on the link, and the slowest case
        of the store, in which all machines transfer at once; the last part begins when all others have ended."""
        moved = self.read_mb + self.written_mb
        fast, slow = moved / self.link, moved / min(self.link, self.store / self.machines)
        work = self.seconds + self.overhead
        least = self.start + self.parts / self.machines * (work + fast)
        most = self.start + self.parts / self.machines * (work + slow) + (1 + 4 * self.deviation) * work + slow
        return least, most


def simulated(plant: Plant, seed: int = 0) -> tuple[float, float]:
    """(seconds until all parts are done, MB/s that the store moves on average), event by event.

    Machines draw parts as they become free. Transfers that run at the same time share the store's bandwidth evenly, and
    none is faster than the link of its machine.
    """
    draw = random.Random(seed)  # noqa: S311
    waiting = plant.parts
    now, each_got = 0.0, 0.0  # each_got: MB that a transfer would have got which ran from the beginning
    working = [(plant.start, i, "read") for i in range(plant.machines)]  # (until, number, what comes then)
    moving: list[tuple[float, int, str]] = []  # (each_got at which it ends, number, what comes then)
    number, left = plant.machines, plant.parts
    while left:
        rate = min(plant.link, plant.store / len(moving)) if moving else 0.0
        ends = now + (moving[0][0] - each_got) / rate if moving else float("inf")
        at = min(ends, working[0][0]) if working else ends
        each_got += (at - now) * rate
        now, number = at, number + 1
        if moving and ends <= at:
            _, _, then = heapq.heappop(moving)
            if then == "work":
                work = plant.overhead + max(plant.seconds * draw.gauss(1.0, plant.deviation), 0.0)
                heapq.heappush(working, (now + work, number, "write"))
            else:
                left -= 1
                heapq.heappush(working, (now, number, "read"))
            continue
        _, _, then = heapq.heappop(working)
        if then == "write":
            heapq.heappush(moving, (each_got + plant.written_mb, number, "next"))
        elif waiting:
            waiting -= 1
            heapq.heappush(moving, (each_got + plant.read_mb, number, "work"))
    return now, plant.parts * (plant.read_mb + plant.written_mb) / now


def simulate() -> None:
    rows: list[list[object]] = []
    for name, plant in (
        ("as above", Plant()),
        ("1 machine", Plant(machines=1)),
        ("10 machines", Plant(machines=10)),
        ("1,000 machines", Plant(machines=1000)),
        ("store of 1 Gbit/s", Plant(store=125.0)),
        ("store of 0.1 Gbit/s", Plant(store=12.5)),
        ("210 photographs of 5 MP, 1 GB", Plant(read_mb=1000.0)),
        ("the same, store of 1 Gbit/s", Plant(read_mb=1000.0, store=125.0)),
    ):
        runs = [simulated(plant, seed) for seed in range(5)]
        seconds, rate = (statistics.mean(values) for values in zip(*runs))
        least, most = plant.bounds()
        ideal = plant.parts * plant.seconds / plant.machines
        hours = plant.machines * seconds / 3600
        rows.append([name, plant.parts, plant.machines, seconds / 3600, least / 3600, most / 3600, ideal / seconds,
                     plant.parts * (plant.read_mb + plant.written_mb) / 1000, rate, hours])  # fmt: skip
    columns = ["case", "parts", "machines", "hours", "at least", "at most", "share of time that is work", "GB moved",
               "MB/s", "machine hours"]  # fmt: skip
    plant = Plant()
    text = (
        f"Simulated, not measured. A part: {plant.seconds:.0f} s of work (the default budget; deviation "
        f"{100 * plant.deviation:.0f} %), {plant.overhead:.0f} s beside it, {plant.read_mb:.0f} MB read and "
        f"{plant.written_mb:.0f} MB written. A machine: one part at a time, 1 Gbit/s, {plant.start:.0f} s to start. "
        "The store: 10 Gbit/s for all. At least and at most: the arithmetic of docs/many_parts.md."
    )
    write_result("scale_out_simulation", "1,000 parts on 100 machines, simulated", columns, rows, text)


if __name__ == "__main__":
    sys.exit(main())
