"""Results, recipes and ids as the structures of OPC 40100-1, and arguments of methods back from them."""

from __future__ import annotations

import re
from typing import Any

from asyncua import ua

from ... import __version__
from ..plant_result import STAGES, as_utc
from . import nodeset as n
from .records import Error, Recipe, Refused, ResultState, StoredResult

SHA256 = "SHA-256"
HEX = re.compile("[0-9a-f]{64}")
VARIANTS = {
    n.BOOLEAN: ua.VariantType.Boolean,
    n.INT32: ua.VariantType.Int32,
    n.UINT32: ua.VariantType.UInt32,
    n.UTC_TIME: ua.VariantType.DateTime,
    n.BASE_DATA: ua.VariantType.Variant,
    n.HANDLE: ua.VariantType.UInt32,
    n.RESULT_STATE: ua.VariantType.Int32,
}


class Structures:
    """Makes values of the generated classes, by name."""

    def __init__(self, classes: dict[str, type]) -> None:
        self._classes = classes

    def id(self, kind: str, value: str, **more: Any) -> Any:
        """One of the ...IdDataTypes."""
        return self._classes[f"{kind}IdDataType"](Id=value, **more)

    def external(self, recipe: Recipe) -> Any:
        return self._classes["RecipeIdExternalDataType"](Id=recipe.external_id)

    def internal(self, name: str, model_hash: str = "") -> Any:
        """A recipe's internal id: its name, and the hash of its model where that is known."""
        more: dict[str, Any] = {"Version": model_hash[:12]} if model_hash else {}
        if HEX.fullmatch(model_hash):
            more |= {"Hash": bytes.fromhex(model_hash), "HashAlgorithm": SHA256}
        return self._classes["RecipeIdInternalDataType"](Id=name, **more)

    def configuration(self) -> Any:
        """There is one configuration: this version of the software."""
        return self._classes["ConfigurationIdDataType"](Id=f"pad_ros {__version__}")

    def fields(self, stored: StoredResult | None) -> dict[str, Any]:
        """What a ResultDataType holds; without a result what says "nothing": undefined and partial."""
        if stored is None:
            return {
                "ResultId": self.id("Result", ""), "IsPartial": True, "ResultState": ResultState.UNDEFINED.value,
                "InternalRecipeId": self.internal(""), "InternalConfigurationId": self.configuration(),
                "JobId": self.id("Job", ""), "CreationTime": ua.get_win_epoch(),
            }  # fmt: skip
        job, result = stored.job, stored.result
        total_ms = result.timings_ms[STAGES.index("total")]
        times = self._classes["ProcessingTimesDataType"](
            StartTime=as_utc(result.received_ns - int(1e6 * total_ms)), EndTime=as_utc(result.received_ns),
            ProcessingDuration=float(total_ms),
        )  # fmt: skip
        return {
            "ResultId": self.id("Result", stored.result_id), "HasTransferableDataOnFile": False, "IsPartial": False,
            "IsSimulated": False, "ResultState": stored.state.value, "MeasId": self.id("Meas", job.meas_id),
            "PartId": self.id("Part", part_of(stored)), "ExternalRecipeId": self.external(job.recipe),
            "InternalRecipeId": self.internal(job.recipe.external_id, job.recipe.model.hash),
            "InternalConfigurationId": self.configuration(), "JobId": self.id("Job", job.job_id),
            "CreationTime": as_utc(result.received_ns), "ProcessingTimes": times,
            "ResultContent": [ua.Variant(stored.json, ua.VariantType.String)],
        }  # fmt: skip

    def result(self, stored: StoredResult | None) -> Any:
        return self.structure(self.fields(stored))

    def structure(self, fields: dict[str, Any]) -> Any:
        """A ResultDataType."""
        return self._classes["ResultDataType"](**fields)

    def outputs(self, method: n.Method, values: dict[str, Any]) -> list[ua.Variant]:
        """The output arguments of a method; those without a value are empty."""
        return [self._output(name, kind, how, values) for name, kind, how in method.outputs]

    def _output(self, name: str, kind: n.DataType, how: str, values: dict[str, Any]) -> ua.Variant:
        structure = next((known for number, known, *_ in n.STRUCTURES if n.Ref(number) == kind), None)
        variant = ua.VariantType.ExtensionObject if structure else VARIANTS[kind]
        value = values.get(name)
        if value is not None and not (how and value == []):
            return ua.Variant(value, variant)
        if how:
            return ua.Variant([], variant, is_array=True)
        if structure:
            return ua.Variant(self._classes[structure](), variant)
        empty = {n.BOOLEAN: False, n.UTC_TIME: ua.get_win_epoch()}
        return ua.Variant(empty.get(kind, 0) if isinstance(kind, int) else 0, variant)

    # ---- arguments of methods ----

    def text_of(self, value: Any, kind: str) -> str:
        """The Id of an argument; "" for none. Refused for anything else."""
        if value is None:
            return ""
        name = kind if kind.endswith("Type") else f"{kind}IdDataType"
        text = getattr(value, "Id", None) if isinstance(value, self._classes[name]) else 0
        if text is None:
            return ""
        if not isinstance(text, str):
            raise Refused(Error.BAD_ARGUMENT, f"not a {name}")
        return text.strip()

    def hash_of(self, value: Any) -> str:
        """The hash (hex) that a recipe's id asks for; "" for none. Refused for an unknown kind of hash."""
        data = getattr(value, "Hash", None)
        if not data:
            return ""
        algorithm = str(getattr(value, "HashAlgorithm", None) or SHA256)
        if algorithm.upper().replace("-", "") != "SHA256" or len(data) != 32:
            raise Refused(Error.BAD_ARGUMENT, "the hash of a recipe is SHA-256")
        return bytes(data).hex()


def part_of(stored: StoredResult) -> str:
    """The part that a result is about: of a single job the client's word for it."""
    single = stored.job.key[0] == stored.result.part_id and stored.job.key[1] == stored.result.trigger_ns
    return stored.job.part_id if single else stored.result.part_id


def whole(value: Any, otherwise: int, most: int) -> int:
    """A number that a client gave, within bounds; `otherwise` for none or 0."""
    return min(value, most) if isinstance(value, int) and value > 0 else otherwise
