"""What stands in for a command of `pad` in tests of many parts: in milliseconds, and as bad as its input says."""

import argparse
import json
import os
import signal
from pathlib import Path

from pad_ros.errors import TrainingError


def train(arguments: argparse.Namespace) -> int:
    """Input: a file `number`, the figure; `refused`, `bug`; `kills`: how many workers die of it, one mark each."""
    views = arguments.views
    number = float((views / "number").read_text())
    print(f"training {views.name}")
    if (views / "refused").exists():
        raise TrainingError(f"{views.name}: too few views")
    if (views / "bug").exists():
        raise RuntimeError("a bug")
    if (views / "kills").exists():
        died = len(list(Path(arguments.marks).glob(f"{views.name}.*")))
        if died < int((views / "kills").read_text()):
            (Path(arguments.marks) / f"{views.name}.{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    (arguments.out / "map").mkdir(parents=True)
    (arguments.out / "map" / "points").write_bytes(bytes(100))
    document = {"training": {"held_out": {"psnr_part": number + arguments.seed}}}
    (arguments.out / "manifest.json").write_text(json.dumps(document))
    return 0


def make_parts(folder: Path, **parts: dict[str, object]) -> Path:
    """A folder with a subfolder for each part; its files by name."""
    for i, (name, files) in enumerate(parts.items()):
        (folder / name).mkdir(parents=True)
        for file, content in {"number": i, **files}.items():
            (folder / name / file).write_text(str(content))
    return folder


def arguments(folder: object, out: object, marks: object = "", **changed: object) -> argparse.Namespace:
    """As the parser of `pad train --each` gives them."""
    given = {"each": str(folder), "out": str(out), "part_argument": "views", "on": "local", "workers": 2, "cpus": 1,
             "gpus": None, "retries": 2, "device": "cpu", "seed": 0, "marks": str(marks), "run": train}  # fmt: skip
    return argparse.Namespace(**{**given, **changed})
