"""Work that takes longer than a page may: calibrating a model, in a process of its own, one after the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, select

from ...errors import InputError, PadError
from ..database import writing
from ..export import export
from ..place import Place
from ..queries import Filter
from ..registry import note, register
from ..schema import models

KEPT = 20  # jobs that the page shows
LONGEST = 4 * 3600  # seconds
Run = Callable[[Sequence[str]], str]


@dataclass(eq=False)
class Job:
    """state: waiting, running, done or failed; lines: what came of it."""

    title: str
    user: str
    began: float
    state: str = "waiting"
    lines: list[str] = field(default_factory=list)
    model_hash: str = ""


def run_pad(arguments: Sequence[str]) -> str:
    """What a command of `pad` prints; InputError with its line of error."""
    command = [sys.executable, "-m", "pad_ros.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST, env=environment, preexec_fn=_behind_the_line
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()[-1:]
        raise InputError((errors or [f"exit status {done.returncode}"])[-1].removeprefix("pad: error: "))
    return done.stdout


def _behind_the_line() -> None:
    os.nice(10)  # the inspection comes first


class Jobs:
    """run: runs a command of `pad`."""

    def __init__(self, place: Place, engine: Engine, run: Run = run_pad) -> None:
        self._place, self._engine, self._run = place, engine, run
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="jobs")

    def all(self) -> list[Job]:
        """The newest first."""
        with self._lock:
            return self._jobs[::-1]

    def calibrate(self, model_hash: str, user: str, since_ns: int, trust: bool) -> Job:
        """Make a new model of this one from the images of good units that were reviewed since then."""
        name, folder = self._model(model_hash)

        def work(job: Job) -> tuple[Path, str]:
            images = self._place.folder / "work" / f"{time.time_ns()}"
            try:
                with self._engine.connect() as connection:
                    asked = Filter(since_ns=since_ns, model=name)
                    job.lines += export(connection, self._place, asked, images, only_good=True)
                target = self._target(name)
                options = ["--trust"] if trust else []
                job.lines += self._run(["calibrate", folder, str(images), "--out", str(target), *options]).splitlines()
            finally:
                shutil.rmtree(images, ignore_errors=True)
            return target, "calibrated"

        return self._start(f"calibrate {name} {model_hash[:8]}", user, model_hash, work)

    def change_rate(self, model_hash: str, user: str, rate: float) -> Job:
        """Make a new model of this one with the threshold for another rate of false rejects."""
        name, folder = self._model(model_hash)

        def work(job: Job) -> tuple[Path, str]:
            from dataclasses import replace

            from ...model import ReferenceModel

            model = ReferenceModel.load(Path(folder))
            if model.calibration is None:
                raise InputError(f"{name}: the model has no threshold")
            calibration = model.calibration.at_rate(rate)
            target = self._target(name)
            replace(model, calibration=calibration).save(target)
            before = model.calibration.threshold
            job.lines.append(f"threshold {calibration.threshold:.3f}, was {before:.3f}")
            return target, f"threshold for {100 * rate:g} % false rejects"

        return self._start(f"threshold of {name} {model_hash[:8]}", user, model_hash, work)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, title: str, user: str, parent: str, work: Callable[[Job], tuple[Path, str]]) -> Job:
        job = Job(title, user, time.time())
        with self._lock:
            if any(other.title == title and other.state in ("waiting", "running") for other in self._jobs):
                raise InputError(f"{title}: is at work already")
            self._jobs = [*self._jobs, job][-KEPT:]

        def run() -> None:
            job.state = "running"
            try:
                target, how = work(job)
                job.model_hash = self._register(target, user, parent, how)
                job.state = "done"
            except Exception as error:  # the page shows whatever went wrong
                job.lines.append(str(error) if isinstance(error, PadError) else f"{type(error).__name__}: {error}")
                job.state = "failed"

        self._pool.submit(run)
        return job

    def _register(self, target: Path, user: str, parent: str, how: str) -> str:
        from ...model import ReferenceModel

        model = ReferenceModel.load(target)
        register(self._engine, model, target, user, parent)
        with writing(self._engine).begin() as connection:
            note(connection, user, "model made", model.hash, {"from": parent, "how": how})
        return model.hash

    def _model(self, model_hash: str) -> tuple[str, str]:
        with self._engine.connect() as connection:
            row = connection.execute(select(models.c.name, models.c.folder).where(models.c.hash == model_hash)).first()
        if row is None:
            raise InputError(f"model {model_hash[:12]}: this station does not know it")
        return row.name, row.folder

    def _target(self, name: str) -> Path:
        plain = "".join(c if c.isalnum() or c in "_-" else "_" for c in name)[:60]
        return self._place.models / f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"
