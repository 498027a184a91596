"""The vision system behind the OPC UA server, without OPC UA: states, recipe, jobs and results.

Runs in one thread, that of the server's event loop. What a client must see of it comes out as `Happening`s, in order.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable

from ...verdicts import Reason
from ..cell import Cell, RecipeRefused
from ..plant_result import PlantResult, believed, content, no_result
from .machine import State, Transition, VisionMachine
from .records import (
    Answered,
    BecameReady,
    Error,
    Happening,
    Job,
    JobStarted,
    Moved,
    Recipe,
    RecipePrepared,
    Refused,
    ResultState,
    Said,
    Settings,
    StoredResult,
    state_of,
)

MAX_ID = 200  # characters of a part, measurement or recipe id
MAX_OPEN = 16  # jobs that were stopped before their results came, and the present one
REMEMBERED = 256  # answers of a continuous job
RECIPE = re.compile(r"\w[\w .+-]*")


class VisionSystem:
    """One cell as a vision system. A job gets exactly one result: the cell's, or HOLD where none comes."""

    def __init__(self, cell: Cell, settings: Settings, emit: Callable[[Happening], None]) -> None:
        self.machine = VisionMachine()
        self.recipe: Recipe | None = None
        self.results: OrderedDict[str, StoredResult] = OrderedDict()
        self.ignored = 0  # results that belong to no job
        self._cell, self._settings, self._emit = cell, settings, emit
        self._single: Job | None = None  # the one of SINGLE_EXECUTION
        self._continuous: Job | None = None
        self._open: dict[tuple[str, int, int], Job] = {}  # single jobs without a result
        self._answered: deque[tuple[str, int, int]] = deque(maxlen=REMEMBERED)
        self._preparing: asyncio.Task[Recipe] | None = None
        self._last_stamp = 0
        self._gone_since: float | None = None

    # ---- recipe ----

    async def prepare(self, external_id: str, expected_hash: str = "") -> Recipe | None:
        """Load a model; None: it still goes on, and RecipePrepared or Said will come. Refused where it cannot be."""
        if self.machine.state not in (State.INITIALIZED, State.READY):
            raise Refused(Error.WRONG_STATE, f"no recipe can be prepared in {self.machine.state.browse_name}")
        if self._preparing is not None:
            raise Refused(Error.BUSY, "a recipe is being prepared")
        if len(external_id) > MAX_ID or not RECIPE.fullmatch(external_id):
            raise Refused(Error.BAD_ARGUMENT, "a recipe's id is the plain name of a model folder")
        if self.machine.state is State.READY:  # what the cell judges by is not known until it is loaded
            self._unprepare(f"recipe {external_id} is being prepared")
        task = self._preparing = asyncio.get_running_loop().create_task(self._load(external_id, expected_hash))
        done, _ = await asyncio.wait({task}, timeout=self._settings.prepare_wait)
        if done:
            return task.result()
        task.add_done_callback(self._report_refusal)
        return None

    def unprepare(self, external_id: str) -> Recipe:
        """Refused where it is not prepared."""
        transition, recipe = self._allowed("UnprepareRecipe"), self.recipe
        if recipe is None or external_id not in ("", recipe.external_id, recipe.model.hash):
            raise Refused(Error.UNKNOWN_RECIPE, f"recipe {external_id[:MAX_ID]!r} is not prepared")
        self.recipe = None
        self._go(transition, f"recipe {recipe.external_id} is no longer prepared")
        return recipe

    async def _load(self, external_id: str, expected_hash: str) -> Recipe:
        try:
            recipe = Recipe(external_id, await self._cell.load_model(external_id, expected_hash))
        except RecipeRefused as error:
            raise Refused(Error.RECIPE_REFUSED, str(error)) from error
        finally:
            self._preparing = None
        if expected_hash and recipe.model.hash != expected_hash:
            raise Refused(Error.RECIPE_REFUSED, f"the cell loaded {recipe.model.hash[:12]}, not {expected_hash[:12]}")
        if not recipe.model.hash:
            raise Refused(Error.RECIPE_REFUSED, "the cell does not say which model it has loaded")
        transition = self.machine.by_method("PrepareRecipe")
        if transition is None:  # halted, reset or failed meanwhile
            raise Refused(Error.WRONG_STATE, f"{self.machine.state.browse_name} by the time the recipe was loaded")
        self.recipe = recipe
        self._emit(RecipePrepared(recipe))
        self._go(transition, f"recipe {external_id} is prepared")
        return recipe

    def _report_refusal(self, task: asyncio.Task[Recipe]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._emit(Said(f"recipe not prepared: {error}"))

    def _unprepare(self, text: str) -> None:
        self.recipe = None
        if (transition := self.machine.by_itself(State.INITIALIZED)) is not None:
            self._go(transition, text)

    # ---- jobs ----

    def start_single(self, part_id: str, meas_id: str = "", recipe_id: str = "") -> Job:
        """Trigger the inspection of one part. Refused where that cannot be."""
        transition, job = self._new_job("StartSingleJob", part_id, meas_id, recipe_id)
        if len(self._open) >= MAX_OPEN:
            raise Refused(Error.BUSY, f"{MAX_OPEN} jobs wait for their results")
        if problem := self._cell.trigger_problem():
            raise Refused(Error.CELL_GONE, problem)
        self._single = self._open[job.key] = job
        self._go(transition, f"job {job.job_id}")
        self._emit(JobStarted(job))
        self._cell.trigger(job.key[0], job.key[1])
        return job

    def start_continuous(self, part_id: str = "", meas_id: str = "", recipe_id: str = "") -> Job:
        """From now on each result of the cell is told, whoever triggers it. Refused where that cannot be."""
        transition, self._continuous = self._new_job("StartContinuous", part_id, meas_id, recipe_id)
        self._go(transition, f"job {self._continuous.job_id}")
        self._emit(JobStarted(self._continuous))
        return self._continuous

    def stop(self) -> None:
        """Ready for the next job; the result of a single one is still told when it comes."""
        self._leave(self._allowed("Stop"), "stopped")

    def abort(self) -> None:
        """Ready for the next job; the one that runs is answered by HOLD."""
        transition, job = self._allowed("Abort"), self._single
        if job is not None and job.key in self._open:
            self._give_up(job, Reason.DROPPED, "the job was aborted", ResultState.ABORTED)
        self._leave(transition, "aborted")

    def halt(self) -> None:
        self._end(self._allowed("Halt"), "halted")

    def reset(self) -> None:
        """Back to PREOPERATIONAL, and on as soon as the cell can be used. The recipe must be prepared again."""
        self._end(self._allowed("Reset"), "reset")

    def close(self) -> None:
        """Answer what is open; nothing more will come."""
        self._abort_all("the OPC UA server ends")

    # ---- what comes from the cell ----

    def hear(self, result: PlantResult) -> None:
        """A result of the cell. The first one that answers a job counts."""
        key = result.key
        job = self._open.pop(key, None)
        if job is not None:
            self._answer(job, result)
            if job is self._single and (transition := self.machine.by_itself(State.READY)) is not None:
                self._leave(transition, f"job {job.job_id} is done")
        elif self._continuous is not None and key not in self._answered:
            self._answer(self._continuous, result)
        else:
            self.ignored += 1
        if any(key):
            self._answered.append(key)

    def tick(self) -> None:
        """Look at the clock and at the cell; to be called every few tenths of a second."""
        now = time.monotonic()
        for job in [job for job in self._open.values() if now > job.ends]:
            text = f"no result within {self._settings.job_timeout:g} s"
            self._give_up(job, Reason.TIMEOUT, text, ResultState.FAILED)
            if job is self._single and (transition := self.machine.by_itself(State.READY)) is not None:
                self._leave(transition, text)
        problem = self._cell.problem()
        if problem and self._gone_since is None:
            self._gone_since = now
        if not problem:
            self._gone_since = None
            self._recover()
        elif self.machine.state.automatic and now - (self._gone_since or now) >= self._settings.patience:
            transition = self.machine.by_itself(State.ERROR)
            if transition is not None:
                self._end(transition, problem)

    def _recover(self) -> None:
        if self.machine.state is State.ERROR and (back := self.machine.by_itself(State.PREOPERATIONAL)) is not None:
            self._go(back, "the cell can be reached again")
        if self.machine.state is State.PREOPERATIONAL and (on := self.machine.by_itself(State.INITIALIZED)) is not None:
            self._go(on, "the cell can be used")

    # ---- parts of these ----

    def _allowed(self, method: str) -> Transition:
        transition = self.machine.by_method(method)
        if transition is None:
            raise Refused(Error.WRONG_STATE, f"{method} is not allowed in {self.machine.state.browse_name}")
        return transition

    def _new_job(self, method: str, part_id: str, meas_id: str, recipe_id: str) -> tuple[Transition, Job]:
        transition, recipe = self._allowed(method), self.recipe
        if any(len(text) > MAX_ID or not text.isprintable() for text in (part_id, meas_id)):
            raise Refused(Error.BAD_ARGUMENT, f"ids are at most {MAX_ID} printable characters")
        if recipe is None or recipe_id not in ("", recipe.external_id):
            raise Refused(Error.UNKNOWN_RECIPE, f"recipe {recipe_id[:MAX_ID]!r} is not prepared")
        if problem := self._cell.problem():
            raise Refused(Error.CELL_GONE, problem)
        job_id = str(uuid.uuid4())
        self._last_stamp = max(time.time_ns(), self._last_stamp + 1)  # no two jobs of one part look the same
        ends = time.monotonic() + self._settings.job_timeout
        return transition, Job(job_id, part_id, meas_id, recipe, (part_id or job_id, self._last_stamp, 0), ends)

    def _answer(self, job: Job, result: PlantResult) -> None:
        told = believed(result, self._cell.doubt(), job.recipe.model.hash)
        self._store(job, told, state_of(told), told.result_id(self._cell.name))

    def _give_up(self, job: Job, reason: Reason, text: str, state: ResultState) -> None:
        self._open.pop(job.key, None)
        self._answered.append(job.key)
        part_id, trigger_ns, _ = job.key
        self._store(job, no_result(part_id, trigger_ns, time.time_ns(), reason, text), state, str(uuid.uuid4()))

    def _store(self, job: Job, result: PlantResult, state: ResultState, result_id: str) -> None:
        text = json.dumps(content(result, self._cell.name, result_id, job.job_id), allow_nan=False)
        stored = StoredResult(result_id, job, state, result, text)
        self.results[result_id] = stored
        while len(self.results) > self._settings.keep_results:
            self.results.popitem(last=False)
        self._emit(Answered(stored))

    def _leave(self, transition: Transition, text: str) -> None:
        """From an execution to READY."""
        job = self._single or self._continuous
        self._single = self._continuous = None
        self._go(transition, text)
        self._emit(BecameReady("" if job is None else job.job_id))

    def _end(self, transition: Transition, text: str) -> None:
        """Out of OPERATIONAL, from wherever it was."""
        self._abort_all(text)
        self.recipe = None
        self._go(transition, text)

    def _abort_all(self, text: str) -> None:
        for job in list(self._open.values()):
            self._give_up(job, Reason.DROPPED, text, ResultState.ABORTED)
        self._single = self._continuous = None

    def _go(self, transition: Transition, text: str) -> None:
        self.machine.go(transition)
        self._emit(Moved(transition, text))
