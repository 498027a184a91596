"""What a recorder that was killed left behind: results that wait for pictures in vain, files that no row names, and
rows whose files are gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, select, update

from .database import writing
from .picture_store import KINDS, Keeping, PictureSettings, PictureStore
from .record import SECOND
from .schema import DROPPED, PENDING, pictures, results
from .storing import DAY

HOUR = 3600 * SECOND
FEW = 500  # names in one question


def give_up(engine: Engine, cell: str) -> None:
    """Results of this cell whose pictures were in the memory of a process that ended."""
    waiting = (results.c.picture_state == PENDING) & (results.c.cell == cell)
    with writing(engine).begin() as connection:
        connection.execute(update(results).where(waiting).values(picture_state=DROPPED))


def swept(engine: Engine, store: PictureStore, settings: PictureSettings, now_ns: int) -> Iterator[int]:
    """Sweep step by step, one folder a step; each gives the number of files and rows that went.

    Files are written after their results and before their rows. So a file is nobody's where its result is known, has no
    row for it and waits for none; this holds beside other recorders of the same station. Files of unknown results may
    be those of another database: they go when all pictures of their age would.
    """
    keeping = [settings.keeping.get(kind, Keeping()).days for kind in KINDS]
    oldest = now_ns - int(max(keeping) * DAY) if all(keeping) else 0
    for folder in sorted(store.folder.glob("*/*")) if store.folder.is_dir() else []:
        if (begin := _hour(folder)) is not None:
            yield _sweep_hour(engine, store, folder, begin, oldest)


def _hour(folder: Path) -> int | None:
    """The beginning of a folder's hour, Unix ns; None for a folder that is none of ours."""
    try:
        begin = datetime.strptime(f"{folder.parent.name}/{folder.name}", "%Y-%m-%d/%H")
    except ValueError:
        return None
    return int(begin.replace(tzinfo=timezone.utc).timestamp()) * SECOND


def _sweep_hour(engine: Engine, store: PictureStore, folder: Path, begin: int, oldest: int) -> int:
    files = {path.relative_to(store.folder).as_posix() for path in folder.iterdir() if path.is_file()}  # before rows
    of_this_hour = (pictures.c.time_ns >= begin) & (pictures.c.time_ns < begin + HOUR)
    asked = select(pictures.c.path, pictures.c.id).where(pictures.c.kind.in_(KINDS), of_this_hour)
    with engine.connect() as connection:
        rows: dict[str, int] = {row.path: row.id for row in connection.execute(asked)}
        unnamed = sorted(files - rows.keys())
        states = _states(connection, [_uid(path) for path in unnamed])
    unknown = PENDING if begin + HOUR > oldest else DROPPED
    nobodys = [path for path in unnamed if states.get(_uid(path), unknown) != PENDING]
    store.remove(nobodys)
    gone = [key for path, key in rows.items() if path not in files and not (store.folder / path).is_file()]
    if gone:
        with writing(engine).begin() as connection:
            for part in _parts(gone):
                connection.execute(delete(pictures).where(pictures.c.id.in_(part)))
    return len(nobodys) + len(gone)


def _uid(path: str) -> str:
    """Of the result that a file, or one that was begun, is named after."""
    return path.rpartition("/")[2].lstrip(".").partition("_")[0]


def _states(connection: Connection, uids: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in _parts(uids):
        asked = select(results.c.uid, results.c.picture_state).where(results.c.uid.in_(part))
        found |= {row.uid: row.picture_state for row in connection.execute(asked)}
    return found


def _parts(values: Sequence[str] | Sequence[int]) -> Iterator[Sequence[str] | Sequence[int]]:
    return (values[start : start + FEW] for start in range(0, len(values), FEW))
