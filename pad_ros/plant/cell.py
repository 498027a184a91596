"""What the plant's side asks of a cell. nodes/ has it over ROS, tests have a pretended one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..errors import PadError


class RecipeRefused(PadError):
    """The cell did not load a model; the one before stays in use."""


@dataclass(frozen=True)
class LoadedModel:
    """The model that a cell uses now. hash: sha256, hex."""

    name: str
    hash: str


class Cell(Protocol):
    """One inspection cell, as seen from the plant."""

    name: str  # unique in the plant

    def problem(self) -> str:
        """Why the cell cannot be used now, in one line; "" if it can."""

    def trigger_problem(self) -> str:
        """Why a trigger would not be heard now, in one line; "" if it would."""

    def doubt(self) -> str:
        """Why a PASS that comes now must not be believed, in one line; "" if it may."""

    def recipes(self) -> Sequence[str]:
        """Names of the models that could be loaded, as far as they are known here."""

    async def load_model(self, recipe: str, expected_hash: str) -> LoadedModel:
        """Change the model. RecipeRefused where that fails. expected_hash: "" for any."""

    def trigger(self, part_id: str, stamp_ns: int) -> None:
        """A part is in place; its result will bear both."""
