"""Reviews: what people say of results that were rejected or held, and how far two of them agree."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, and_, exists, func, insert, select, update

from ..errors import InputError
from .database import writing
from .picture_store import share_of
from .queries import OPINIONS
from .registry import note
from .schema import DONE, FIRST, SAMPLE, SECOND_OPINION, WAITING, results, reviews

STAGES = FIRST, SECOND_OPINION, SAMPLE
SECOND_SHARE = 0.1  # of reviewed results that another person is to judge as well, without sight of the first opinion


@dataclass(frozen=True)
class Agreement:
    """Of results that two people judged: how many, the share on which they agree, and Cohen's kappa (1960), which is 0
    where they agree no more than by chance; NaN without any."""

    pairs: int
    share: float
    kappa: float


def next_for(connection: Connection, user: str, after: int | None = None) -> int | None:
    """Id of a result that this user is to judge: the newest that did not pass and nobody has judged, then second
    opinions, then samples of what passed. after: skip to older results than this one; None where nothing waits."""
    r = results.c
    older = []
    if after is not None:
        limit = connection.scalar(select(r.time_ns).where(r.id == after))
        older = [] if limit is None else [r.time_ns < limit]
    judged = exists().where(and_(reviews.c.result_id == r.id, reviews.c.user == user))
    for stage in STAGES:
        asked = select(r.id).where(WAITING, r.queue == stage, ~judged, *older).order_by(r.time_ns.desc()).limit(1)
        found = connection.scalar(asked)
        if found is not None:
            return int(found)
    return None


def waiting(connection: Connection) -> dict[int, int]:
    """How many results wait, by stage."""
    asked = select(results.c.queue, func.count()).where(WAITING).group_by(results.c.queue)
    return dict.fromkeys(STAGES, 0) | {int(stage): int(count) for stage, count in connection.execute(asked)}


def give(engine: Engine, result_id: int, user: str, opinion: str, second_share: float = SECOND_SHARE) -> None:
    """Keep an opinion, with who and when; a later one of the same user replaces it, and the audit keeps both."""
    if opinion not in OPINIONS:
        raise InputError(f"opinion {opinion!r}: none of {', '.join(OPINIONS)}")
    with writing(engine).begin() as connection:
        row = connection.execute(select(results.c.uid, results.c.queue).where(results.c.id == result_id)).first()
        if row is None:
            raise InputError(f"result {result_id}: there is none")
        mine = and_(reviews.c.result_id == result_id, reviews.c.user == user)
        before = connection.scalar(select(reviews.c.opinion).where(mine))
        others = connection.scalar(select(func.count()).where(reviews.c.result_id == result_id, reviews.c.user != user))
        values = {"time_ns": time.time_ns(), "opinion": opinion}
        if before is None:
            second = row.queue == SECOND_OPINION and bool(others)
            connection.execute(insert(reviews).values(result_id=result_id, user=user, second=second, **values))
            stage = row.queue
            if stage in (FIRST, SAMPLE):
                stage = SECOND_OPINION if share_of(row.uid, "second") < second_share else DONE
            elif second:
                stage = DONE
            connection.execute(update(results).where(results.c.id == result_id).values(queue=stage))
        else:
            connection.execute(update(reviews).where(mine).values(**values))
        note(connection, user, "reviewed", result_id, {"opinion": opinion, "before": before})


def agreement(connection: Connection) -> Agreement:
    """How far second opinions agree with the first."""
    first, other = reviews.alias(), reviews.alias()
    asked = (
        select(first.c.opinion, other.c.opinion, func.count())
        .join(other, and_(first.c.result_id == other.c.result_id, other.c.second, ~first.c.second))
        .group_by(first.c.opinion, other.c.opinion)
    )
    counts = {(one, two): int(count) for one, two, count in connection.execute(asked)}
    pairs = sum(counts.values())
    if not pairs:
        return Agreement(0, float("nan"), float("nan"))
    share = sum(counts.get((name, name), 0) for name in OPINIONS) / pairs
    firsts, seconds = (
        [sum(count for pair, count in counts.items() if pair[side] == name) for name in OPINIONS] for side in (0, 1)
    )
    by_chance = sum(one * two for one, two in zip(firsts, seconds)) / pairs**2
    return Agreement(pairs, share, (share - by_chance) / (1 - by_chance) if by_chance < 1 else 1.0)
