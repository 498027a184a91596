"""Jobs, results and what happens to them: the records of a vision system, and the codes that a client gets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from ...verdicts import Verdict
from ..cell import LoadedModel
from ..plant_result import PlantResult
from .machine import Transition


class Error(IntEnum):
    """`Error` of the methods: 0 is done, below 0 are ours (the specification keeps those above 0)."""

    NONE = 0
    WRONG_STATE = -1  # not allowed in the present state
    BAD_ARGUMENT = -2  # an id that is too long, not printable or of the wrong type
    UNKNOWN_RECIPE = -3  # no such recipe, or not the one that is prepared
    RECIPE_REFUSED = -4  # the cell did not load the model: damaged, foreign, another hash
    BUSY = -5  # a recipe is being prepared, or too many jobs are open
    UNKNOWN_RESULT = -6  # never known, or no longer kept
    CELL_GONE = -7  # the cell cannot be reached


class ResultState(IntEnum):
    """ResultStateDataType. COMPLETED stands for PASS and for nothing else; docs/plant.md says why."""

    REJECTED = -1  # ours: processing was completed, and the part is not good
    UNDEFINED = 0
    COMPLETED = 1
    PROCESSING = 2
    ABORTED = 3
    FAILED = 4


class Refused(Exception):
    """A method that is not done."""

    def __init__(self, error: Error, text: str) -> None:
        super().__init__(text)
        self.error = error


@dataclass(frozen=True)
class Settings:
    """job_timeout: s that a job waits for its result. prepare_wait: s after which PrepareRecipe answers before it is
    done. patience: s that the cell may be out of reach. keep_results: number."""

    job_timeout: float = 10.0
    prepare_wait: float = 2.0
    patience: float = 2.0
    keep_results: int = 1000


@dataclass(frozen=True)
class Recipe:
    """The one that is prepared."""

    external_id: str
    model: LoadedModel


@dataclass(frozen=True)
class Job:
    """A single or continuous one. key: of the result that answers a single one. ends: steady clock, s."""

    job_id: str
    part_id: str
    meas_id: str
    recipe: Recipe
    key: tuple[str, int, int]
    ends: float


@dataclass(frozen=True)
class StoredResult:
    """A result as told. json: its content."""

    result_id: str
    job: Job
    state: ResultState
    result: PlantResult
    json: str


@dataclass(frozen=True)
class Moved:
    transition: Transition
    text: str


@dataclass(frozen=True)
class JobStarted:
    job: Job


@dataclass(frozen=True)
class BecameReady:
    job_id: str


@dataclass(frozen=True)
class RecipePrepared:
    recipe: Recipe


@dataclass(frozen=True)
class Answered:
    stored: StoredResult


@dataclass(frozen=True)
class Said:
    """Something that a person should read."""

    text: str


Happening = Moved | JobStarted | BecameReady | RecipePrepared | Answered | Said


def state_of(result: PlantResult) -> ResultState:
    """COMPLETED only for PASS, so that whoever takes that for "good" is right."""
    if result.good:
        return ResultState.COMPLETED
    return ResultState.REJECTED if result.verdict is Verdict.REJECT else ResultState.FAILED
