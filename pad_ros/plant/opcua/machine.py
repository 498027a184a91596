"""The state machine of OPC 40100-1: VisionStateMachineType with VisionAutomaticModeStateMachineType inside Operational.

States, transitions, their numbers and causes are those of the specification, sections 8.2 and 8.3. Left out: what this
product has no use for (step models, SelectModeAutomatic, products, simulation).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class State(IntEnum):
    """StateNumber of each state. Those from 5 on lie inside OPERATIONAL."""

    PREOPERATIONAL = 1
    HALTED = 2
    ERROR = 3
    OPERATIONAL = 4
    INITIALIZED = 5
    READY = 6
    SINGLE_EXECUTION = 7
    CONTINUOUS_EXECUTION = 8

    @property
    def browse_name(self) -> str:
        return "".join(word.capitalize() for word in self.name.split("_"))

    @property
    def automatic(self) -> bool:
        """Whether it lies inside OPERATIONAL."""
        return self > State.OPERATIONAL


S = State


@dataclass(frozen=True)
class Transition:
    """One of the specification's. source OPERATIONAL: from any state inside it. cause: the method, "" for automatic."""

    number: int
    name: str
    source: State
    target: State
    cause: str = ""


TRANSITIONS = (
    Transition(120, "PreoperationalToHaltedAuto", S.PREOPERATIONAL, S.HALTED),
    Transition(121, "PreoperationalToHalted", S.PREOPERATIONAL, S.HALTED, "Halt"),
    Transition(130, "PreoperationalToErrorAuto", S.PREOPERATIONAL, S.ERROR),
    Transition(150, "PreoperationalToInitializedAuto", S.PREOPERATIONAL, S.INITIALIZED),
    Transition(210, "HaltedToPreoperationalAuto", S.HALTED, S.PREOPERATIONAL),
    Transition(211, "HaltedToPreoperational", S.HALTED, S.PREOPERATIONAL, "Reset"),
    Transition(310, "ErrorToPreoperationalAuto", S.ERROR, S.PREOPERATIONAL),
    Transition(311, "ErrorToPreoperational", S.ERROR, S.PREOPERATIONAL, "Reset"),
    Transition(320, "ErrorToHaltedAuto", S.ERROR, S.HALTED),
    Transition(321, "ErrorToHalted", S.ERROR, S.HALTED, "Halt"),
    Transition(410, "OperationalToPreoperationalAuto", S.OPERATIONAL, S.PREOPERATIONAL),
    Transition(411, "OperationalToPreoperational", S.OPERATIONAL, S.PREOPERATIONAL, "Reset"),
    Transition(420, "OperationalToHaltedAuto", S.OPERATIONAL, S.HALTED),
    Transition(421, "OperationalToHalted", S.OPERATIONAL, S.HALTED, "Halt"),
    Transition(430, "OperationalToErrorAuto", S.OPERATIONAL, S.ERROR),
    Transition(560, "InitializedToReadyAuto", S.INITIALIZED, S.READY),
    Transition(561, "InitializedToReadyRecipe", S.INITIALIZED, S.READY, "PrepareRecipe"),
    Transition(650, "ReadyToInitializedAuto", S.READY, S.INITIALIZED),
    Transition(651, "ReadyToInitializedRecipe", S.READY, S.INITIALIZED, "UnprepareRecipe"),
    Transition(671, "ReadyToSingleExecution", S.READY, S.SINGLE_EXECUTION, "StartSingleJob"),
    Transition(681, "ReadyToContinuousExecution", S.READY, S.CONTINUOUS_EXECUTION, "StartContinuous"),
    Transition(760, "SingleExecutionToReadyAuto", S.SINGLE_EXECUTION, S.READY),
    Transition(761, "SingleExecutionToReadyStop", S.SINGLE_EXECUTION, S.READY, "Stop"),
    Transition(762, "SingleExecutionToReadyAbort", S.SINGLE_EXECUTION, S.READY, "Abort"),
    Transition(860, "ContinuousExecutionToReadyAuto", S.CONTINUOUS_EXECUTION, S.READY),
    Transition(861, "ContinuousExecutionToReadyStop", S.CONTINUOUS_EXECUTION, S.READY, "Stop"),
    Transition(862, "ContinuousExecutionToReadyAbort", S.CONTINUOUS_EXECUTION, S.READY, "Abort"),
)


class VisionMachine:
    """Where the vision system is. Starts in PREOPERATIONAL."""

    def __init__(self) -> None:
        self.state = State.PREOPERATIONAL  # the innermost

    @property
    def top(self) -> State:
        """The state of VisionStateMachine."""
        return State.OPERATIONAL if self.state.automatic else self.state

    @property
    def automatic(self) -> State | None:
        """The state of AutomaticModeStateMachine; None outside of OPERATIONAL."""
        return self.state if self.state.automatic else None

    def by_method(self, cause: str) -> Transition | None:
        """What a method would do now; None where it may not be called."""
        here = (self.state, self.top)
        return next((t for t in TRANSITIONS if cause and t.cause == cause and t.source in here), None)

    def by_itself(self, target: State) -> Transition | None:
        """The automatic transition from here to a state; None where there is none."""
        here = (self.state, self.top)
        return next((t for t in TRANSITIONS if not t.cause and t.target is target and t.source in here), None)

    def go(self, transition: Transition) -> None:
        """ValueError where it does not begin here: a mistake of ours, never of a client."""
        if transition.source not in (self.state, self.top):
            raise ValueError(f"{transition.name} does not begin in {self.state.browse_name}")
        self.state = transition.target
