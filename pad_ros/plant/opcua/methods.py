"""The methods that a client can call, on the vision system."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from asyncua import Server, ua

from ..cell import Cell
from . import nodeset as n
from .address_space import AddressSpace
from .records import Error, Refused, ResultState, StoredResult
from .structures import Structures, part_of, whole
from .vision_system import VisionSystem

MOST_LISTED = 100  # results or recipes in one answer
QUIET = 5.0  # seconds
TRUE, FALSE = 1, 0  # of TriStateBooleanDataType

log = logging.getLogger(__name__)
Values = dict[str, Any]
Handler = Callable[[Values], Awaitable[Values]]


class Methods:
    """Answers calls. settled: waits until the nodes show what a method has done, so that its caller then reads it."""

    def __init__(
        self, system: VisionSystem, cell: Cell, structures: Structures, settled: Callable[[], Awaitable[None]]
    ) -> None:
        self._system, self._cell, self._structures, self._settled = system, cell, structures, settled
        self._hashes: dict[str, str] = {}  # of the recipes that were prepared
        self._noted: dict[tuple[str, Error], float] = {}  # steady clock, s

    def link(self, server: Server, space: AddressSpace) -> None:
        """Let the server's methods be these."""
        handlers: dict[str, Handler] = {
            "Halt": self._simple(self._system.halt),
            "Reset": self._simple(self._system.reset),
            "Stop": self._simple(self._system.stop),
            "Abort": self._simple(self._system.abort),
            "StartSingleJob": self._start_single,
            "StartContinuous": self._start_continuous,
            "PrepareRecipe": self._prepare,
            "UnprepareRecipe": self._unprepare,
            "GetRecipeListFiltered": self._list_recipes,
            "GetResultById": self._get_result,
            "GetResultComponentsById": self._get_components,
            "GetResultListFiltered": self._list_results,
        }
        for methods in n.METHODS.values():
            for method in methods:
                server.link_method(space.methods[method.name], self._callback(method, handlers[method.name]))

    def _callback(self, method: n.Method, handler: Handler) -> Callable[..., Awaitable[Any]]:
        async def called(parent: ua.NodeId, *arguments: ua.Variant) -> Any:
            if len(arguments) != len(method.inputs):
                fewer = len(arguments) < len(method.inputs)
                codes = ua.StatusCodes
                return ua.StatusCode(codes.BadArgumentsMissing if fewer else codes.BadTooManyArguments)
            values = {name: given.Value for (name, _, _), given in zip(method.inputs, arguments, strict=True)}
            try:
                answer = {**await handler(values), "Error": Error.NONE.value}
            except Refused as refused:
                self._note(method.name, refused)
                empty = {"Result": self._structures.result(None)} if method.name == "GetResultById" else {}
                partial = {"IsPartial": True} if method.name == "GetResultComponentsById" else {}
                answer = {**empty, **partial, "Error": refused.error.value}
            await self._settled()
            return self._structures.outputs(method, answer)

        return called

    def _note(self, method: str, refused: Refused) -> None:
        """Into the log, the same again only after a while: a client may ask without end."""
        now = time.monotonic()
        if now - self._noted.get((method, refused.error), -QUIET) >= QUIET:
            self._noted[method, refused.error] = now
            log.warning("%s is refused: %s", method, refused)

    def _simple(self, do: Callable[[], None]) -> Handler:
        async def handler(values: Values) -> Values:
            do()
            return {}

        return handler

    # ---- jobs ----

    async def _start_single(self, values: Values) -> Values:
        job = self._system.start_single(*self._job_ids(values))
        return {"JobId": self._structures.id("Job", job.job_id)}

    async def _start_continuous(self, values: Values) -> Values:
        job = self._system.start_continuous(*self._job_ids(values))
        return {"JobId": self._structures.id("Job", job.job_id)}

    def _job_ids(self, values: Values) -> tuple[str, str, str]:
        text = self._structures.text_of
        if text(values["ProductId"], "Product"):
            raise Refused(Error.BAD_ARGUMENT, "there are no products: name the recipe")
        if values["Parameters"]:
            raise Refused(Error.BAD_ARGUMENT, "recipes have no parameters")
        recipe = text(values["RecipeId"], "RecipeIdExternalDataType")
        return text(values["PartId"], "Part"), text(values["MeasId"], "Meas"), recipe

    # ---- recipes ----

    def _recipe_of(self, values: Values) -> tuple[str, str]:
        """Name and hash that an external or internal id asks for. Both have the name of the model's folder as Id."""
        given = [
            (self._structures.text_of(values[name], kind), self._structures.hash_of(values[name]))
            for name, kind in (
                ("ExternalId", "RecipeIdExternalDataType"),
                ("InternalIdIn", "RecipeIdInternalDataType"),
            )
        ]
        names, hashes = ({pair[i] for pair in given if pair[i]} for i in (0, 1))
        if len(names) > 1 or len(hashes) > 1:
            raise Refused(Error.BAD_ARGUMENT, "ExternalId and InternalIdIn name different recipes")
        return "".join(names), "".join(hashes)

    async def _prepare(self, values: Values) -> Values:
        name, wanted = self._recipe_of(values)
        known = self._cell.recipes()
        if known and name not in known:
            raise Refused(Error.UNKNOWN_RECIPE, f"no recipe {name[:200]!r}")
        recipe = await self._system.prepare(name, wanted)
        if recipe is None:
            return {"InternalIdOut": self._structures.internal(name), "IsCompleted": False}
        return {"InternalIdOut": self.remember(name, recipe.model.hash), "IsCompleted": True}

    def remember(self, name: str, model_hash: str) -> Any:
        """Note the hash of a recipe; its internal id."""
        self._hashes[name] = model_hash
        return self._structures.internal(name, model_hash)

    async def _unprepare(self, values: Values) -> Values:
        recipe = self._system.unprepare(self._recipe_of(values)[0])
        return {"InternalIdOut": self._structures.internal(recipe.external_id, recipe.model.hash)}

    async def _list_recipes(self, values: Values) -> Values:
        wanted = self._structures.text_of(values["ExternalId"], "RecipeIdExternalDataType")
        prepared = self._system.recipe.external_id if self._system.recipe is not None else ""
        names = sorted({*self._cell.recipes(), *self._hashes})
        if wanted:
            names = [name for name in names if name == wanted]
        if values["IsPrepared"] in (TRUE, FALSE):
            names = [name for name in names if (name == prepared) == (values["IsPrepared"] == TRUE)]
        page, complete = _page(names, values)
        listed = [self._structures.internal(name, self._hashes.get(name, "")) for name in page]
        return {"IsComplete": complete, "ResultCount": len(listed), "RecipeList": listed}

    # ---- results ----

    async def _get_result(self, values: Values) -> Values:
        return {"Result": self._structures.result(self._stored(values))}

    async def _get_components(self, values: Values) -> Values:
        return self._structures.fields(self._stored(values))

    def _stored(self, values: Values) -> StoredResult:
        wanted = self._structures.text_of(values["ResultId"], "Result")
        stored = self._system.results.get(wanted)
        if stored is None:
            raise Refused(Error.UNKNOWN_RESULT, f"no result {wanted[:200]!r}")
        return stored

    async def _list_results(self, values: Values) -> Values:
        """Newest first. An empty id, and the state 0, fit every result."""
        text = self._structures.text_of
        recipe = text(values["ExternalRecipeId"], "RecipeIdExternalDataType") or text(
            values["InternalRecipeId"], "RecipeIdInternalDataType"
        )
        part, meas, job_id = (text(values[f"{kind}Id"], kind) for kind in ("Part", "Meas", "Job"))
        state = values["ResultState"] or ResultState.UNDEFINED

        def fits(stored: StoredResult) -> bool:
            job = stored.job
            pairs = (part, part_of(stored)), (meas, job.meas_id), (job_id, job.job_id), (recipe, job.recipe.external_id)
            return state in (ResultState.UNDEFINED, stored.state) and all(w in ("", found) for w, found in pairs)

        page, complete = _page([s for s in reversed(self._system.results.values()) if fits(s)], values)
        listed = [self._structures.result(stored) for stored in page]
        return {"IsComplete": complete, "ResultCount": len(listed), "ResultList": listed}


def _page(found: list[Any], values: Values) -> tuple[list[Any], bool]:
    """The part of a list that was asked for, and whether it reaches the end."""
    start, most = whole(values["StartIndex"], 0, len(found)), whole(values["MaxResults"], MOST_LISTED, MOST_LISTED)
    return found[start : start + most], start + most >= len(found)
