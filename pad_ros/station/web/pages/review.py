"""Review: what was rejected or held, one after the other, for a person to judge; and single results."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ....errors import InputError
from ....verdicts import Verdict
from ... import reviews
from ...queries import defects_of
from ...record import reason_name
from ...schema import SECOND_OPINION, audit, pictures, results
from ...schema import reviews as review_table
from ..context import Context, route


def queue(context: Context) -> Response:
    """The next result for this user."""
    after = context.query("after")
    with context.station.engine.connect() as connection:
        key = reviews.next_for(connection, context.user, int(after) if after.isdigit() else None)
        if key is None and after:
            key = reviews.next_for(connection, context.user)
        waiting, agreement = reviews.waiting(connection), reviews.agreement(connection)
    return _page(context, key, waiting=waiting, agreement=agreement, queue=True)


def single(context: Context) -> Response:
    """One result with all that is known of it."""
    return _page(context, context.request.path_params["result"], waiting={}, agreement=None, queue=False)


def _page(context: Context, key: int | None, queue: bool, **values: Any) -> Response:
    if key is None:
        return context.page("review.html.j2", result=None, queue=queue, **values)
    with context.station.engine.connect() as connection:
        row = connection.execute(select(results).where(results.c.id == key)).first()
        if row is None:
            return context.page("refused.html.j2", 404, text="There is no such result.")
        kinds = list(connection.scalars(select(pictures.c.kind).where(pictures.c.result_id == key)))
        asked = select(review_table).where(review_table.c.result_id == key).order_by(review_table.c.id)
        given = connection.execute(asked).all()
        changed = audit.c.action == "reviewed", audit.c.subject == str(key)
        history = connection.execute(select(audit).where(*changed).order_by(audit.c.id)).all()
        found = defects_of(connection, [key]).get(key, [])
    mine = next((one.opinion for one in given if one.user == context.user), None)
    blind = row.queue == SECOND_OPINION and mine is None  # whoever judges second must not see the first opinion
    return context.page(
        "review.html.j2", result=row, kinds=kinds, defects=found, given=[] if blind else given, mine=mine, blind=blind,
        verdict=Verdict(row.verdict).name, reason=reason_name(row.reason), queue=queue,
        history=[] if blind else [(one, json.loads(one.details)) for one in history], **values,
    )  # fmt: skip


def give(context: Context) -> Response:
    key = context.request.path_params["result"]
    reviews.give(
        context.station.engine, key, context.user, context.form.get("opinion", ""), context.station.second_share
    )
    return RedirectResponse(f"/review?after={key}" if context.form.get("queue") else f"/result/{key}", 303)


def find(context: Context) -> Response:
    """The newest result of a part."""
    asked = select(results.c.id).where(results.c.part_id == context.query("part").strip())
    with context.station.engine.connect() as connection:
        key = connection.scalar(asked.order_by(results.c.time_ns.desc()).limit(1))
    if key is None:
        raise InputError(f"part {context.query('part')[:80]!r}: no result of it is known")
    return RedirectResponse(f"/result/{key}", 303)


ROUTES: list[Route] = [
    route("/review", queue),
    route("/result/{result:int}", single),
    route("/result/{result:int}/opinion", give, "operator", methods=("POST",)),
    route("/find", find),
]
