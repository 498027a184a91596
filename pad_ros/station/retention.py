"""Pictures that are too old or too many go, the oldest first. Queries that somebody reviewed stay: they are what
`pad calibrate` learns from."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, delete, exists, func, select

from .database import writing
from .picture_store import KINDS, QUERY, Keeping, PictureSettings, PictureStore
from .schema import pictures, reviews
from .storing import DAY

AT_ONCE = 500  # files of a kind in one turn, so that results need not wait long


def remove_old(engine: Engine, store: PictureStore, settings: PictureSettings, now_ns: int) -> int:
    """Remove what is beyond the limits, at most AT_ONCE files of each kind; how many were removed."""
    removed = 0
    for kind in KINDS:
        keeping = settings.keeping.get(kind, Keeping())
        with engine.connect() as connection:
            found = _beyond(connection, kind, keeping, now_ns)
        if not found:
            continue
        store.remove([path for _, path in found])  # first: a row without its file does no harm
        with writing(engine).begin() as connection:
            connection.execute(delete(pictures).where(pictures.c.id.in_([key for key, _ in found])))
        removed += len(found)
    return removed


def _beyond(connection: Connection, kind: str, keeping: Keeping, now_ns: int) -> list[tuple[int, str]]:
    """(id, path) of the oldest pictures of a kind that have to go."""
    total = connection.scalar(select(func.coalesce(func.sum(pictures.c.bytes), 0)).where(pictures.c.kind == kind))
    surplus = int(total or 0) - keeping.size if keeping.size else 0
    oldest = now_ns - int(keeping.days * DAY) if keeping.days else 0
    asked = select(pictures.c.id, pictures.c.path, pictures.c.bytes, pictures.c.time_ns).where(pictures.c.kind == kind)
    if kind == QUERY:
        asked = asked.where(~exists().where(reviews.c.result_id == pictures.c.result_id))
    found = []
    for key, path, size, time_ns in connection.execute(asked.order_by(pictures.c.time_ns).limit(AT_ONCE)):
        if surplus <= 0 and time_ns >= oldest:
            break
        surplus -= size
        found.append((key, path))
    return found
