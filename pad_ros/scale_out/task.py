"""One part as a task: a pure function of input folders, settings and seed to an output folder."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError, PadError
from ..io.bundle_folder import put_in_place, staging_for
from . import places
from .figures import read_figures

DONE, KEPT, FAILED = "done", "kept", "failed"
LOG_BYTES = 200_000  # of what a task printed, its end

Run = Callable[[argparse.Namespace], int]


@dataclass(frozen=True)
class Resources:
    """What a task takes of a machine while it runs."""

    cpus: int = 1
    gpus: float = 0.0

    def environment(self) -> dict[str, str]:
        """So that libraries start no more threads than that."""
        names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                 "OPENCV_FOR_THREADS_NUM")  # fmt: skip
        return dict.fromkeys(names, str(self.cpus))


@dataclass(frozen=True)
class Task:
    """run: a command of `pad`; settings: its arguments without places; inputs: argument -> URL of a folder.

    output: URL of the folder that it writes, alone. Beside it lie `.done.json` and `.log`.
    """

    name: str
    run: Run
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    output: str

    @property
    def command(self) -> str:
        return self.run.__name__


@dataclass(frozen=True)
class Outcome:
    """What came of a task. state: DONE, KEPT (it was done before) or FAILED; tries: workers that began it, 0: unknown.

    figures: as `figures.read_figures`; read, written: bytes of the input and output folders.
    """

    name: str
    state: str
    seconds: float = 0.0
    why: str = ""
    tries: int = 0
    read: int = 0
    written: int = 0
    figures: Mapping[str, float | None] = field(default_factory=dict)


def perform(task: Task) -> Outcome:
    """Do a task, unless its output is complete and was made of the same; what goes wrong is in the outcome."""
    began = time.monotonic()
    try:
        inputs = {name: places.listing(url) for name, url in task.inputs.items()}
        read = sum(size for files in inputs.values() for size, _ in files.values())
        fingerprint = _fingerprint(task, inputs)
        done = places.read_json(f"{task.output}.done.json")
        if done.get("fingerprint") == fingerprint and _complete(done, task.output):
            return Outcome(**{**done["outcome"], "name": task.name, "state": KEPT})
        if not done and places.listing(task.output):
            raise InputError(f"{task.output}: exists and is not of an earlier run of --each; choose another --out")
        # From here on the output is ours, whole or not.
        places.write_json(f"{task.output}.done.json", {"complete": False})
        figures = _run(task)
    except PadError as error:
        return Outcome(task.name, FAILED, time.monotonic() - began, str(error))
    except Exception as error:  # one part must not end the others
        return Outcome(task.name, FAILED, time.monotonic() - began, f"{type(error).__name__}: {error}")
    try:
        files = {name: size for name, (size, _) in places.listing(task.output).items()}
        written = sum(files.values())
        outcome = Outcome(task.name, DONE, time.monotonic() - began, "", 0, read, written, figures)
        document = {"fingerprint": fingerprint, "complete": True, "files": files, "outcome": asdict(outcome)}
        places.write_json(f"{task.output}.done.json", document)
    except PadError as error:
        return Outcome(task.name, FAILED, time.monotonic() - began, str(error))
    return outcome


def _fingerprint(task: Task, inputs: Mapping[str, places.Listing]) -> str:
    """Of all that the output depends on: settings, files that they name, inputs, the version of this package."""
    named = {name: _files_named(value) for name, value in task.settings.items()}
    content = [__version__, task.command, {k: repr(v) for k, v in task.settings.items()}, named, inputs]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _files_named(value: Any) -> Any:
    if isinstance(value, list):
        return [_files_named(one) for one in value]
    return places.listing(str(value)) if isinstance(value, Path) else None


def _complete(done: Mapping[str, Any], output: str) -> bool:
    return bool(done.get("complete")) and done.get("files") == {
        name: size for name, (size, _) in places.listing(output).items()
    }


def _run(task: Task) -> dict[str, float | None]:
    """Fetch, run, and put the output in its place; what was printed goes into the log in any case."""
    target = places.local(task.output)
    # Beside its place where that is on this machine, so that the output needs only a new name.
    with tempfile.TemporaryDirectory(prefix="pad_part_") if target is None else staging_for(target) as made:
        scratch = Path(made)
        out = scratch / "output" / task.name
        given = {argument: places.fetched(url, scratch / argument) for argument, url in task.inputs.items()}
        arguments = argparse.Namespace(**task.settings, **given, out=out)
        try:
            with _printed_to(scratch / "log"):
                if task.run(arguments) != 0:
                    raise InputError("it ended with an error, see its log")
        finally:
            text = (scratch / "log").read_bytes()[-LOG_BYTES:].decode(errors="replace")
            places.write_text(f"{task.output}.log", text)
        figures = read_figures(task.command, out)
        if target is None:
            places.stored(out, task.output)
        else:
            put_in_place(out, target)
        return figures


@contextmanager
def _printed_to(file: Path) -> Iterator[None]:
    """All that this process prints, libraries in C++ included, goes to a file; an exception's traceback as well."""
    with file.open("wb") as log:
        kept = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        try:
            yield
        except Exception:
            traceback.print_exc()
            raise
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for number, copy in zip((1, 2), kept):
                os.dup2(copy, number)
                os.close(copy)
