"""The vision system without OPC UA: states, recipe, jobs."""

import asyncio
import contextlib
import json
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from plant_cell import MODEL_HASH, PretendedCell, result

from pad_ros.plant.opcua import vision_system
from pad_ros.plant.opcua.machine import TRANSITIONS, State, VisionMachine
from pad_ros.plant.opcua.records import (
    Answered,
    BecameReady,
    Error,
    JobStarted,
    Moved,
    RecipePrepared,
    Refused,
    ResultState,
    Said,
    Settings,
)
from pad_ros.plant.opcua.vision_system import MAX_OPEN, VisionSystem
from pad_ros.verdicts import Reason, Verdict


class Bench:
    """A vision system with a pretended cell, and what has happened."""

    def __init__(self, **settings) -> None:
        self.cell = PretendedCell()
        self.happened: list = []
        chosen = {"job_timeout": 1000.0, "patience": 0.0, **settings}
        self.system = VisionSystem(self.cell, Settings(**chosen), self.happened.append)
        self.cell.hear = self.system.hear
        self.system.tick()

    def prepare(self, recipe: str = "bracket", wanted: str = ""):
        return asyncio.run(self.system.prepare(recipe, wanted))

    @property
    def state(self) -> State:
        return self.system.machine.state

    def answers(self) -> list:
        return [h.stored for h in self.happened if isinstance(h, Answered)]

    def kinds(self) -> list[str]:
        return [type(h).__name__ for h in self.happened]


@contextlib.contextmanager
def refused(error: Error):
    with pytest.raises(Refused) as caught:
        yield
    assert caught.value.error is error and str(caught.value) and "\n" not in str(caught.value)


def ready(**settings) -> Bench:
    bench = Bench(**settings)
    bench.prepare()
    return bench


def test_a_part_from_recipe_to_result():
    bench = Bench()
    assert bench.state is State.INITIALIZED
    recipe = bench.prepare()
    assert (recipe.external_id, recipe.model.hash, bench.state) == ("bracket", MODEL_HASH, State.READY)
    job = bench.system.start_single("p1", "m1", "bracket")
    (stored,) = bench.answers()
    assert stored.job is job and stored.state is ResultState.COMPLETED and bench.state is State.READY
    assert bench.system.results[stored.result_id] is stored
    told = json.loads(stored.json)
    assert (told["job_id"], told["part_id"], told["good"]) == (job.job_id, "p1", True)
    assert bench.kinds()[1:] == ["RecipePrepared", "Moved", "Moved", "JobStarted", "Answered", "Moved", "BecameReady"]


@pytest.mark.parametrize("verdict, state", [(Verdict.REJECT, -1), (Verdict.HOLD, 4)])
def test_what_is_not_good_is_not_completed(verdict, state):
    bench = ready()
    bench.cell.verdict = verdict
    bench.system.start_single("p1")
    assert [stored.state for stored in bench.answers()] == [state]


def test_a_job_without_an_answer_is_held_and_a_late_pass_changes_nothing():
    bench = ready(job_timeout=0.0)
    bench.cell.verdict = None
    bench.system.start_single("p1")
    time.sleep(0.01)
    bench.system.tick()
    (stored,) = bench.answers()
    assert (stored.state, stored.result.verdict, stored.result.reason) == (
        ResultState.FAILED, Verdict.HOLD, Reason.TIMEOUT)  # fmt: skip
    assert bench.state is State.READY
    bench.cell.answer(Verdict.PASS, *bench.cell.triggers[0])
    assert len(bench.answers()) == 1 and bench.system.ignored == 1


def test_only_the_first_answer_counts():
    bench = ready()
    bench.cell.verdict = Verdict.HOLD
    bench.system.start_single("p1")
    bench.cell.answer(Verdict.PASS, *bench.cell.triggers[0])
    assert [stored.result.verdict for stored in bench.answers()] == [Verdict.HOLD]


def test_results_of_other_parts_and_triggers_answer_no_job():
    bench = ready()
    bench.cell.verdict = None
    bench.system.start_single("p1")
    part, stamp = bench.cell.triggers[0]
    bench.cell.answer(Verdict.PASS, "p2", stamp)
    bench.cell.answer(Verdict.PASS, part, stamp + 1)
    assert not bench.answers() and bench.state is State.SINGLE_EXECUTION
    bench.cell.answer(Verdict.REJECT, part, stamp)
    assert [stored.state for stored in bench.answers()] == [ResultState.REJECTED]


def test_two_jobs_of_one_part_have_answers_of_their_own():
    bench = ready()
    bench.cell.verdict = None
    for _ in range(2):
        bench.system.start_single("p1")
        bench.system.stop()
    first, second = bench.cell.triggers
    assert first[1] < second[1]
    bench.cell.answer(Verdict.PASS, *second)
    bench.cell.answer(Verdict.REJECT, *first)
    assert [stored.state for stored in bench.answers()] == [ResultState.COMPLETED, ResultState.REJECTED]


def test_a_pass_by_another_model_than_the_recipe_is_held():
    bench = ready()
    bench.cell.changed = {"model_hash": "ee" * 32}
    bench.system.start_single("p1")
    (stored,) = bench.answers()
    assert (stored.state, stored.result.reason) == (ResultState.FAILED, Reason.NO_MODEL)


def test_a_doubted_pass_is_held():
    bench = ready()
    bench.cell.doubts = "a stranger publishes results"
    bench.system.start_single("p1")
    assert bench.answers()[0].state is ResultState.FAILED


def test_a_refused_model_leaves_no_recipe():
    bench = ready()
    with refused(Error.RECIPE_REFUSED):
        bench.prepare("damaged")
    assert bench.state is State.INITIALIZED and bench.system.recipe is None
    with refused(Error.WRONG_STATE):
        bench.system.start_single("p1")
    with refused(Error.RECIPE_REFUSED):
        bench.prepare("bracket", "ff" * 32)
    assert bench.prepare("loader").external_id == "loader" and bench.state is State.READY


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "a\\b", "/etc", "a\0", "a\n", "x" * 300, "a:b"])
def test_a_recipe_is_a_plain_name(name):
    bench = Bench()
    with refused(Error.BAD_ARGUMENT):
        bench.prepare(name)
    assert not bench.cell.loaded


def test_a_cell_that_does_not_name_its_model_has_none(monkeypatch):
    bench = Bench()
    monkeypatch.setitem(vision_system.__dict__, "RECIPE", vision_system.RECIPE)

    async def nameless(recipe, wanted):
        return type(bench.cell.model)("bracket", "")

    bench.cell.load_model = nameless
    with refused(Error.RECIPE_REFUSED):
        bench.prepare()


def test_a_long_preparation_is_told_when_it_is_done():
    bench = Bench(prepare_wait=0.01)

    async def run() -> None:
        bench.cell.loading = 0.1
        assert await bench.system.prepare("bracket") is None
        with refused(Error.BUSY):
            await bench.system.prepare("loader")
        with refused(Error.WRONG_STATE):
            bench.system.start_single("p1")
        await asyncio.sleep(0.3)
        assert bench.state is State.READY
        assert await bench.system.prepare("damaged") is None
        await asyncio.sleep(0.3)

    asyncio.run(run())
    assert bench.state is State.INITIALIZED
    assert "RecipePrepared" in bench.kinds() and any(isinstance(h, Said) for h in bench.happened)


def test_a_preparation_that_is_overtaken_by_a_halt_counts_for_nothing():
    bench = Bench(prepare_wait=0.01)

    async def run() -> None:
        bench.cell.loading = 0.1
        await bench.system.prepare("bracket")
        bench.system.halt()
        bench.system.reset()
        await asyncio.sleep(0.3)

    asyncio.run(run())
    assert bench.state is State.PREOPERATIONAL and bench.system.recipe is None
    assert not [h for h in bench.happened if isinstance(h, RecipePrepared)]


def test_continuous_jobs_tell_every_result_once():
    bench = ready()
    job = bench.system.start_continuous()
    bench.cell.answer(Verdict.PASS, "a", 1)
    bench.cell.answer(Verdict.REJECT, "b", 2)
    bench.cell.answer(Verdict.PASS, "b", 2)  # a second answer to the same question
    bench.system.hear(result(part_id="", trigger_ns=0, model_hash=MODEL_HASH))  # free-running, without stamps
    bench.system.hear(result(part_id="", trigger_ns=0, model_hash=MODEL_HASH))
    assert [stored.state for stored in bench.answers()] == [1, -1, 1, 1]
    assert {stored.job.job_id for stored in bench.answers()} == {job.job_id}
    bench.system.stop()
    bench.cell.answer(Verdict.PASS, "c", 3)
    assert bench.system.ignored == 2 and bench.state is State.READY


@pytest.mark.parametrize("end", ["abort", "halt", "reset", "close"])
def test_what_ends_a_job_answers_it(end):
    bench = ready()
    bench.cell.verdict = None
    bench.system.start_single("p1")
    getattr(bench.system, end)()
    (stored,) = bench.answers()
    assert (stored.state, stored.result.verdict) == (ResultState.ABORTED, Verdict.HOLD)
    assert json.loads(stored.json)["part_id"] == "p1"
    bench.cell.answer(Verdict.PASS, *bench.cell.triggers[0])
    assert len(bench.answers()) == 1


def test_a_stopped_job_is_still_answered():
    bench = ready()
    bench.cell.verdict = None
    bench.system.start_single("p1")
    bench.system.stop()
    assert bench.state is State.READY and not bench.answers()
    bench.cell.answer(Verdict.PASS, *bench.cell.triggers[0])
    assert [stored.state for stored in bench.answers()] == [ResultState.COMPLETED]


def test_a_cell_that_is_gone_is_an_error_until_it_is_back():
    bench = ready()
    bench.cell.verdict = None
    bench.system.start_single("p1")
    bench.cell.gone = "no node cell publishes results"
    bench.system.tick()
    bench.system.tick()
    assert bench.state is State.ERROR and bench.answers()[0].state is ResultState.ABORTED
    bench.cell.gone = ""
    bench.system.tick()
    assert bench.state is State.INITIALIZED and bench.system.recipe is None  # it may hold another model now
    moved = [h.transition.name for h in bench.happened if isinstance(h, Moved)]
    assert moved[-3:] == ["OperationalToErrorAuto", "ErrorToPreoperationalAuto", "PreoperationalToInitializedAuto"]


def test_a_short_absence_of_the_cell_is_no_error():
    bench = ready(patience=1000.0)
    bench.cell.gone = "no node cell publishes results"
    bench.system.tick()
    bench.system.tick()
    assert bench.state is State.READY
    with refused(Error.CELL_GONE):
        bench.system.start_single("p1")
    bench.cell.gone, bench.cell.deaf = "", "no node takes triggers"
    with refused(Error.CELL_GONE):
        bench.system.start_single("p1")
    assert bench.state is State.READY and not bench.cell.triggers


def test_halted_is_left_by_reset_only():
    bench = ready()
    bench.system.halt()
    bench.system.tick()
    assert bench.state is State.HALTED
    for method in (bench.system.halt, bench.system.stop, bench.system.abort):
        with refused(Error.WRONG_STATE):
            method()
    with refused(Error.WRONG_STATE):
        bench.prepare()
    bench.system.reset()
    bench.system.tick()
    assert bench.state is State.INITIALIZED


@pytest.mark.parametrize("ids, error", [
    (("x" * 201, "", ""), Error.BAD_ARGUMENT), (("a\nb", "", ""), Error.BAD_ARGUMENT),
    (("a", "\x00", ""), Error.BAD_ARGUMENT), (("a", "", "loader"), Error.UNKNOWN_RECIPE),
])  # fmt: skip
def test_jobs_that_are_asked_for_wrongly_are_refused(ids, error):
    bench = ready()
    with refused(error):
        bench.system.start_single(*ids)
    with refused(error):
        bench.system.start_continuous(*ids)
    assert bench.state is State.READY and not bench.cell.triggers


def test_memory_is_bounded():
    bench = ready(keep_results=3)
    for _ in range(10):
        bench.system.start_single("p1")
    assert len(bench.system.results) == 3
    bench.cell.verdict = None
    for _ in range(MAX_OPEN):
        bench.system.start_single("p1")
        bench.system.stop()
    with refused(Error.BUSY):
        bench.system.start_single("p1")


def test_unprepare_takes_the_recipe_away():
    bench = ready()
    with refused(Error.UNKNOWN_RECIPE):
        bench.system.unprepare("loader")
    bench.system.unprepare("bracket")
    assert bench.state is State.INITIALIZED
    with refused(Error.WRONG_STATE):
        bench.system.unprepare("bracket")


def test_every_transition_begins_and_ends_where_its_name_says():
    for transition in TRANSITIONS:
        source, _, target = transition.name.partition("To")
        ending = target.removeprefix(transition.target.browse_name)
        assert source == transition.source.browse_name
        assert ending in ("Auto", "Stop", "Abort", "Recipe", "") and (ending == "Auto") == (not transition.cause)
    assert len({t.number for t in TRANSITIONS}) == len(TRANSITIONS)


def test_a_transition_that_does_not_begin_here_is_a_mistake():
    with pytest.raises(ValueError, match="does not begin in Preoperational"):
        VisionMachine().go(TRANSITIONS[-1])


class AnyOrder(RuleBasedStateMachine):
    """Clients and cells do whatever they like: each job gets exactly one result, and only a PASS is completed."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.bench.cell.verdict = None

    @rule(recipe=st.sampled_from(["bracket", "loader", "damaged", "../x"]))
    def prepare(self, recipe):
        with contextlib.suppress(Refused):
            self.bench.prepare(recipe)

    @rule(part=st.sampled_from(["", "a", "b"]), method=st.sampled_from(["start_single", "start_continuous"]))
    def start(self, part, method):
        with contextlib.suppress(Refused):
            getattr(self.bench.system, method)(part)

    @rule(method=st.sampled_from(["stop", "abort", "halt", "reset"]))
    def command(self, method):
        with contextlib.suppress(Refused):
            getattr(self.bench.system, method)()

    @rule(verdict=st.sampled_from(list(Verdict)), which=st.integers(0, 5))
    def answer(self, verdict, which):
        if triggers := self.bench.cell.triggers[-6:]:
            self.bench.cell.answer(verdict, *triggers[which % len(triggers)])

    @rule(gone=st.sampled_from(["", "gone"]), doubt=st.sampled_from(["", "a stranger"]))
    def change(self, gone, doubt):
        self.bench.cell.gone, self.bench.cell.doubts = gone, doubt
        self.bench.system.tick()
        self.bench.system.tick()

    @invariant()
    def only_a_pass_is_completed(self):
        for stored in self.bench.answers():
            told = json.loads(stored.json)
            assert (stored.state is ResultState.COMPLETED) == (told["verdict"] == "PASS") == told["good"]

    @invariant()
    def what_runs_has_a_recipe(self):
        if self.bench.state > State.INITIALIZED:
            assert self.bench.system.recipe is not None

    def teardown(self):
        self.bench.system.close()
        happened = self.bench.happened
        triggered = {(part, stamp) for part, stamp in self.bench.cell.triggers}
        singles = [h.job.job_id for h in happened if isinstance(h, JobStarted) and h.job.key[:2] in triggered]
        answered = [stored.job.job_id for stored in self.bench.answers()]
        assert sorted(job for job in answered if job in set(singles)) == sorted(singles)
        assert len([h for h in happened if isinstance(h, BecameReady)]) <= len(
            [h for h in happened if isinstance(h, JobStarted)]
        )


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
