"""A running line under faults: one result for each trigger, no PASS by a fault, and no part with another part's image.

    python benchmarks/ros_faults.py OUT [--nodes cell|stages] [--triggers 8000] [--rate 12.5] [--seed 0]

The nodes run as processes, a killed one is started again at once, as `respawn` in a launch file does. Images say which
part they show (coded_inspector.py), so that a swapped part is proved. Every fourth part has a fault; every
fiftieth fault is a killed or stopped node, a flood, or a forged result, if the line has recovered from the one before:
nobody answers for a watchdog that is killed beside a dead cell. Logs are left in OUT. Exit status 1 if a promise was
broken.

"wrong PASS": of a defective part, or of one whose image was lost or damaged, on `result`; or a rise of line/pass while
no good part was there. Recovery: from the fault until the line gives a part's own verdict again.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import rclpy
from coded_inspector import write_bundle
from common import option_parser, write_result
from rclpy.node import Node
from ros_fault_client import FLOODS, FORGED, FORGERIES, SMALL_FAULTS, Client, Part
from ros_line import Line, launch_graph

from pad_ros.verdicts import Reason, Verdict

READY = 120.0  # seconds for the nodes to start
NODES = {"cell": ("cell",), "stages": ("localizer", "renderer", "scorer")}
TRIGGER_TIMEOUT = 0.2  # seconds
CELL_DEADLINE, DEADLINE = 0.5, 1.4  # seconds of cell or scorer, and of the watchdog
FAULT_EVERY, LARGE_EVERY = 4, 50  # parts, small faults
QUIET = 8.0  # seconds at the end without large faults: the line must be seen to recover
FORGED_PARTS = 4  # defective parts in a row that a forger answers
BAD_BEFORE = 3.0  # seconds of defective parts before those: no PASS of theirs can be on its way
AROUND_FLOOD = 40  # parts
LOOK_BACK = slice(-16, -4)  # parts by which to see whether the line is sound
STOPPED = (0.1, 3.0)  # seconds that a stopped node stands still


def main() -> int:
    parser = option_parser(__doc__, "out")
    parser.add_argument("--nodes", choices=sorted(NODES), default="cell")
    parser.add_argument("--triggers", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=12.5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    nodes = NODES[arguments.nodes]
    parts = plan(arguments.triggers, arguments.rate, [*nodes, "watchdog"], arguments.seed)
    launch_graph()
    rclpy.init()
    namespace = "/faults"
    line = Line(parameters(nodes, arguments), namespace, arguments.out, Path(__file__).with_name("coded_inspector.py"))
    client = Client(namespace, 1 / arguments.rate, arguments.seed)
    try:
        wait_ready(client)
        run(client, line, parts, arguments)
    finally:
        line.stop()
        client.destroy_node()
        rclpy.try_shutdown()
    return report(client, arguments)


def parameters(nodes: tuple[str, ...], arguments: argparse.Namespace) -> dict[str, dict[str, object]]:
    period = 1 / arguments.rate
    first = {
        "triggered": True, "trigger_timeout": TRIGGER_TIMEOUT, "match_before": 0.3 * period,
        "match_after": 0.6 * period, "queue_size": 16,
    }  # fmt: skip
    model = {"model": write_bundle(arguments.out / "model")}
    found: dict[str, dict[str, object]] = {name: dict(model) for name in nodes}
    found[nodes[0]] |= first
    found[nodes[-1]] |= {"deadline": CELL_DEADLINE}
    return found | {"watchdog": {"triggered": True, "deadline": DEADLINE}}


def plan(triggers: int, rate: float, nodes: list[str], seed: int) -> list[Part]:
    """The parts and their faults. Large faults come in turn, with time to recover from each."""
    choose = random.Random(seed)
    parts = [Part(number, choose.random() < 0.5) for number in range(triggers)]
    large = [*(f"{name} killed" for name in nodes), *FORGERIES, *(f"{name} stopped" for name in nodes), *FLOODS]
    last = triggers - int(QUIET * rate)
    for i, number in enumerate(range(FAULT_EVERY, triggers - FAULT_EVERY, FAULT_EVERY)):
        parts[number].fault = choose.choice(SMALL_FAULTS)
        if i % LARGE_EVERY == LARGE_EVERY - 1 and number < last:
            parts[number].fault = large[i // LARGE_EVERY % len(large)]
            if parts[number].fault in FORGERIES:
                for part in parts[max(0, number - int(BAD_BEFORE * rate)) : number + FORGED_PARTS]:
                    part.good = False
    for number in [part.number for part in parts if part.fault == FLOODS[0]]:
        for part in parts[number - AROUND_FLOOD : number + AROUND_FLOOD]:
            if part.fault.startswith("trigger unstamped"):  # takes anybody's image: it does not say which it means
                part.fault = ""
    return parts


def wait_ready(client: Client) -> None:
    """Return when a good part has got its verdict from the line."""
    end, number = time.monotonic() + READY, 10**6
    while time.monotonic() < end:
        number += 1
        client.send(part := Part(number, good=True), time.monotonic())
        client.spin_until(time.monotonic() + 1.0)
        if part.right:
            client.spin_until(time.monotonic() + 2 * DEADLINE)
            client.parts.clear()
            client.foreign["unknown"] = client.wrong_line = 0
            return
    sys.exit(f"the line gave no verdict within {READY:.0f} s")


def run(client: Client, line: Line, parts: list[Part], arguments: argparse.Namespace) -> None:
    period, choose = 1 / arguments.rate, random.Random(arguments.seed)
    began, forgers = time.monotonic(), []
    for part in parts:
        client.spin_until(began + part.number * period)
        if part.number % 1000 == 0:
            print(f"{part.number} triggers", flush=True)
        ahead = parts[min(len(parts) - 1, part.number + int(arguments.rate))]
        if ahead.fault in FORGERIES and not sound(parts[: part.number]):
            ahead.fault = ""
        elif ahead.fault in FORGERIES:  # known to all by the time its part comes
            answered = parts[ahead.number : ahead.number + FORGED_PARTS]
            starts = [began + one.number * period for one in answered]
            forgers.append((client.forge(ahead.fault, answered, starts), starts[-1] + 1.0))
        if part.fault not in ("", *SMALL_FAULTS, *FORGERIES) and not sound(parts[: part.number]):
            part.fault = ""
        client.send(part, began + part.number * period)
        disturb(client, line, part.fault, choose)
        forgers = [one for one in forgers if not ended(*one)]
    client.spin_until(time.monotonic() + 3 * DEADLINE)  # long enough for a second, wrong answer


def sound(parts: list[Part]) -> bool:
    """Whether the last parts without a fault got their own verdicts."""
    return all(part.right for part in parts[LOOK_BACK] if not part.fault)


def ended(node: Node, until: float) -> bool:
    if time.monotonic() > until:
        node.destroy_node()
        return True
    return False


def disturb(client: Client, line: Line, fault: str, choose: random.Random) -> None:
    name, _, what = fault.partition(" ")
    if fault in FLOODS:
        client.flood(fault)
    elif what == "killed":
        client.at(time.monotonic() + choose.uniform(0, 1.5) / client.rate, lambda: line.kill(name))
    elif what == "stopped":
        now = time.monotonic()
        client.at(now + choose.uniform(0, 1.5) / client.rate, lambda: line.signal(name, signal.SIGSTOP))
        client.at(now + choose.uniform(*STOPPED), lambda: line.signal(name, signal.SIGCONT))


def violations(client: Client) -> list[str]:
    """What was promised and not kept."""
    parts = list(client.parts.values())
    return [
        *(f"part {p.number} ({p.fault}): {len(p.answers)} results for {p.triggers} triggers: {p.answers}"
          for p in parts if len(p.answers) != p.triggers),
        *(f"part {p.number} ({p.fault}): wrong PASS" for p in parts if p.passed and not p.may_pass),
        *(f"part {p.number} ({p.fault}): the result of another part's image: {p.answers}" for p in parts if p.swapped),
        *(f"no recovery after part {p.number} ({p.fault})" for p in parts if p.fault and recovery(parts, p) is None),
        *([f"line/pass rose {client.wrong_line} times without a good part"] if client.wrong_line else []),
        *([f"{client.foreign['unknown']} results that nobody asked for"] if client.foreign["unknown"] else []),
    ]  # fmt: skip


def recovery(parts: list[Part], fault: Part) -> float | None:
    """Seconds until the line gives a part's own verdict again."""
    after = (one for one in parts[fault.number + 1 :] if not one.fault and one.right)
    return next((one.sent + one.answers[0][3] - fault.sent for one in after), None)


def report(client: Client, arguments: argparse.Namespace) -> int:
    """The table; 1 if what is promised was not kept."""
    parts = list(client.parts.values())
    groups: dict[str, list[Part]] = {"none": [p for p in parts if not p.fault]}
    for part in parts:
        if part.fault:
            groups.setdefault(part.fault, []).append(part)
    rows = []
    for name in sorted(groups, key=lambda name: (name != "none", name)):
        members = groups[name]
        verdicts = Counter(answer[0] for p in members for answer in p.answers)
        times = [s for p in members if p.fault if (s := recovery(parts, p)) is not None]
        rows.append([
            name, sum(p.triggers for p in members), sum(len(p.answers) for p in members),
            *(verdicts[v] for v in (Verdict.PASS, Verdict.REJECT, Verdict.HOLD)),
            sum(p.passed and not p.may_pass for p in members), sum(p.swapped for p in members),
            max(times, default=None),
        ])  # fmt: skip
    rows.append(["all", *(sum(row[i] for row in rows) for i in range(1, 8)), None])
    broken = violations(client)
    (arguments.out / "violations.txt").write_text("\n".join(broken))
    holds = Counter(Reason(answer[1]).name for p in parts for answer in p.answers if answer[0] is Verdict.HOLD)
    text = [
        f"{len(parts)} parts at {arguments.rate:g} Hz. HOLD for: {dict(holds.most_common())}. Of the floods' triggers "
        f"{client.foreign['flood']} were answered, {client.foreign[FORGED]} forged results were seen; line/pass rose "
        f"{client.wrong_line} times without a good part.",
        *(broken[:20] or ["One result for each trigger, no wrong PASS, no swapped part, recovered after each fault."]),
    ]
    columns = ["fault", "triggers", "results", "PASS", "REJECT", "HOLD", "wrong PASS", "swapped", "longest recovery s"]
    write_result(
        f"ros_faults_{arguments.nodes}", f"Faults in a running line, nodes: {arguments.nodes}", columns, rows,
        "\n".join(text),
    )  # fmt: skip
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
