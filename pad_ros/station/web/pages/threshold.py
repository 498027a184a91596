"""Threshold: the scores of good, reviewed and defective parts, and what another threshold would have done."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select
from starlette.responses import Response
from starlette.routing import Route

from ... import storing
from ...schema import models, results, reviews, score_days
from ..context import Context, route

BINS = 48
STEP = 1.05  # tighter or looser by so much
NEAR = 6  # steps on either side that are shown side by side
MOST_REVIEWED = 20_000


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores that belong to one model. all: (start of a step, count) of every result with a score."""

    good: NDArray[np.float64]
    defective: NDArray[np.float64]
    calibration: NDArray[np.float64]
    all: list[tuple[float, int]]

    @property
    def highest(self) -> float:
        found = [*self.good, *self.defective, *self.calibration, *(score for score, _ in self.all)]
        return float(max(found, default=1.0))


@dataclass(frozen=True)
class Effect:
    """What a threshold would have done to the reviewed parts, and to all."""

    threshold: float
    good_rejected: int
    defective_passed: int
    rejected_share: float  # of all results with a score


def scores_of(connection: Connection, model_hash: str, calibration: list[float]) -> Scores:
    v = reviews.c
    opinions = (  # reviews first: they are few
        select(v.result_id, func.min(v.opinion).label("one"), func.max(v.opinion).label("other"))
        .group_by(v.result_id).order_by(v.result_id.desc()).limit(MOST_REVIEWED).subquery()
    )  # fmt: skip
    asked = select(results.c.score, opinions.c.one, opinions.c.other).join(
        opinions, opinions.c.result_id == results.c.id
    )
    asked = asked.where(results.c.model_hash == model_hash, results.c.score.is_not(None))
    reviewed: dict[str, list[float]] = {"good": [], "defect": []}
    for score, one, other in connection.execute(asked):
        if one == other and one in reviewed:
            reviewed[one].append(score)
    d = score_days.c
    steps = select(d.step, func.sum(d.count)).where(d.model_hash == model_hash).group_by(d.step).order_by(d.step)
    everything = [(storing.step_start(step), int(count)) for step, count in connection.execute(steps)]
    good, defective = (np.array(reviewed[name], np.float64) for name in ("good", "defect"))
    return Scores(good, defective, np.array(calibration, np.float64), everything)


def effect(scores: Scores, threshold: float) -> Effect:
    total = sum(count for _, count in scores.all)
    above = sum(count for score, count in scores.all if score > threshold)
    return Effect(
        threshold, int((scores.good > threshold).sum()), int((scores.defective <= threshold).sum()),
        above / total if total else 0.0,
    )  # fmt: skip


def histogram(scores: Scores, top: float) -> dict[str, list[float]]:
    """Height of each of BINS bars from 0 to `top`, 1 for the highest of its group."""
    edges = np.linspace(0, top, BINS + 1)
    found = {}
    for name in ("good", "defective", "calibration"):
        found[name] = np.histogram(np.minimum(getattr(scores, name), top), edges)[0].astype(float)
    whole = Counter[int]()
    for score, count in scores.all:
        whole[min(int(score / top * BINS), BINS - 1)] += count
    found["all"] = np.array([whole[i] for i in range(BINS)], float)
    return {name: [round(v, 4) for v in values / max(values.max(), 1)] for name, values in found.items()}


def threshold(context: Context) -> Response:
    with context.station.engine.connect() as connection:
        known = connection.execute(select(models).order_by(models.c.added_ns.desc())).all()
        asked = context.query("model")
        model = next((one for one in known if one.hash == asked), None) or (known[0] if known else None)
        if model is None:
            return context.page("threshold.html.j2", model=None, known=[])
        scores = scores_of(connection, model.hash, json.loads(model.summary)["scores"])
    present = model.threshold if model.threshold is not None else math.nan
    chosen = _number(context.query("at"), present)
    top = 1.05 * max(scores.highest if scores.highest < 4 * present or not present else 4 * present, present, 1e-6)
    settings = [effect(scores, present * STEP**i) for i in range(-NEAR, NEAR + 1)] if math.isfinite(present) else []
    data = {
        "top": top, "present": present, "good": scores.good.tolist(), "defective": scores.defective.tolist(),
        "all": scores.all, "step": STEP,
    }  # fmt: skip
    return context.page(
        "threshold.html.j2", model=model, known=known, scores=scores, bars=histogram(scores, top), top=top,
        present=present, chosen=chosen, effects=[effect(scores, chosen * s) for s in (1 / STEP, 1, STEP)],
        settings=settings, data=json.dumps(data), bins=BINS, near=NEAR, rates=_rates(context, model.hash),
    )  # fmt: skip


def _number(text: str, otherwise: float) -> float:
    try:
        value = float(text)
    except ValueError:
        return otherwise
    return value if math.isfinite(value) and value > 0 else otherwise


def _rates(context: Context, model_hash: str) -> list[float]:
    """Rates of false rejects that a model can be given: those of decision.calibration that its scores support."""
    from ....decision.calibration import COMMON_RATES
    from ....decision.threshold import supported_rates

    with context.station.engine.connect() as connection:
        summary = connection.scalar(select(models.c.summary).where(models.c.hash == model_hash))
    scores = np.array(json.loads(summary or '{"scores": []}')["scores"], np.float32)
    if not len(scores):
        return []
    least, most = supported_rates(scores)
    return [rate for rate in COMMON_RATES if least <= rate <= most]


ROUTES: list[Route] = [route("/threshold", threshold)]
