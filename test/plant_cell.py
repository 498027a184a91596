"""A pretended cell for the tests of the plant's side, and messages as a cell sends them."""

import asyncio
import math
import time
from types import SimpleNamespace

from pad_ros.plant.cell import LoadedModel, RecipeRefused
from pad_ros.plant.plant_result import from_message
from pad_ros.verdicts import Reason, Verdict

MODEL_HASH = "ab" * 32
RECIPES = {"bracket": MODEL_HASH, "loader": "cd" * 32, "damaged": ""}


def message(verdict=Verdict.PASS, part_id="4711", trigger_ns=10**18, **changed) -> SimpleNamespace:
    """What has the fields of an InspectionResult."""
    passed = verdict == Verdict.PASS
    reasons = {Verdict.PASS: Reason.NONE, Verdict.REJECT: Reason.ANOMALY}
    stamp = SimpleNamespace(sec=trigger_ns // 10**9, nanosec=trigger_ns % 10**9)
    defect = SimpleNamespace(
        box=SimpleNamespace(x_offset=1, y_offset=2, width=3, height=4),
        centroid=SimpleNamespace(x=0.1, y=math.nan, z=0),
        peak_score=9.5, area=12, kind=1,
    )  # fmt: skip
    fields = {
        "header": SimpleNamespace(stamp=stamp, frame_id="camera"), "part_id": part_id, "model_name": "bracket",
        "model_hash": MODEL_HASH, "verdict": int(verdict), "reason": int(reasons.get(verdict, Reason.BLUR)),
        "reason_text": "", "score": 0.5 if passed else 9.5 if verdict == Verdict.REJECT else math.nan,
        "threshold": 1.0, "view_share": 0.99, "light_change": math.nan,
        "defects": [defect] if verdict == Verdict.REJECT else [], "localize_ms": 100.0, "render_ms": 20.0,
        "score_ms": 30.0, "total_ms": 160.0, "trigger_stamp": stamp,
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **changed})


def result(verdict=Verdict.PASS, part_id="4711", trigger_ns=10**18, **changed):
    """The PlantResult of such a message."""
    return from_message(message(verdict, part_id, trigger_ns, **changed), time.time_ns())


class PretendedCell:
    """Answers triggers at once by `verdict`; None: not at all. `gone`, `doubts`, `deaf`: what it says of itself."""

    def __init__(self) -> None:
        self.name = "cell_1"
        self.verdict: Verdict | None = Verdict.PASS
        self.gone = self.doubts = self.deaf = ""
        self.loading = 0.0  # seconds
        self.hear = lambda answer: None
        self.triggers: list[tuple[str, int]] = []
        self.loaded: list[tuple[str, str]] = []
        self.model = LoadedModel("", "")
        self.changed: dict = {}  # fields of the results

    def problem(self) -> str:
        return self.gone

    def trigger_problem(self) -> str:
        return self.deaf

    def doubt(self) -> str:
        return self.doubts

    def recipes(self) -> list[str]:
        return list(RECIPES)

    async def load_model(self, recipe: str, expected_hash: str) -> LoadedModel:
        self.loaded.append((recipe, expected_hash))
        await asyncio.sleep(self.loading)
        model_hash = RECIPES.get(recipe, "")
        if not model_hash:
            raise RecipeRefused(f"{recipe}: splats.ply: not the file of the manifest")
        if expected_hash and expected_hash != model_hash:
            raise RecipeRefused(f"{recipe}: the model's hash is {model_hash}")
        self.model = LoadedModel(recipe, model_hash)
        return self.model

    def trigger(self, part_id: str, stamp_ns: int) -> None:
        self.triggers.append((part_id, stamp_ns))
        if self.verdict is not None:
            self.answer(self.verdict, part_id, stamp_ns)

    def answer(self, verdict: Verdict, part_id: str, stamp_ns: int) -> None:
        self.hear(result(verdict, part_id, stamp_ns, **{"model_hash": self.model.hash, **self.changed}))
