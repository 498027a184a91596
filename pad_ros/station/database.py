"""Opening the history: SQLite in WAL mode, or PostgreSQL by its URL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, make_url, select
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, NoSuchModuleError

from ..errors import InputError, MissingDependencyError, first_line
from .place import Place
from .schema import SCHEMA_VERSION, about, metadata

BUSY_MS = 2000  # that SQLite waits for another writer
STATEMENT_MS = 30_000  # that PostgreSQL may take for one statement
ANSWER = 60  # seconds in which a server must answer


def open_engine(place: Place, readers: int = 5) -> Engine:
    """An engine for the station's database; nothing is connected yet. InputError for an unusable URL."""
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": readers, "max_overflow": 2 * readers}
    try:
        url = make_url(place.database_url)
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise InputError(f"database URL: {url.get_backend_name()} is not supported; SQLite and PostgreSQL are")
        if url.get_driver_name() == "pg8000":
            options["connect_args"] = {"timeout": ANSWER}
        engine = create_engine(url, **options)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise InputError(f"database URL: {first_line(error)}") from error
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{error.name} is missing: pip install 'pad_ros[station]'") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgresql)
    return engine


def create_tables(engine: Engine) -> None:
    """Make what is missing; InputError for a database of another version. The driver's errors pass."""
    with writing(engine).begin() as connection:
        if engine.dialect.name == "postgresql":  # two that start at once would both make the tables
            connection.execute(select(func.pg_advisory_xact_lock(7_233_121)))
        metadata.create_all(connection)
        version = connection.scalar(select(about.c.value).where(about.c.name == "version"))
        if version is None:
            connection.execute(insert(about).values(name="version", value=str(SCHEMA_VERSION)))
        elif version != str(SCHEMA_VERSION):
            raise InputError(f"the history has version {version}, this program knows {SCHEMA_VERSION}")


def open_history(place: Place) -> Engine:
    """The engine of a history that exists, or is made; InputError where the database does not answer."""
    engine = open_engine(place)
    where = place.database_file or engine.url.render_as_string(hide_password=True)
    try:
        create_tables(engine)
    except (DatabaseError, InterfaceError, OSError) as error:
        raise InputError(f"{where}: the history cannot be opened: {first_line(error)}") from error
    return engine


def writing(engine: Engine) -> Engine:
    """The same engine, whose transactions are to write: SQLite then waits for other writers at the beginning, where it
    can."""
    return engine.execution_options(writes=True)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins transactions, not the driver
    cursor = connection.cursor()
    # FULL: what is committed survives a power cut as well.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={BUSY_MS}", "foreign_keys=ON",
                   "journal_size_limit=67108864"):  # fmt: skip
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _prepare_postgresql(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET statement_timeout = {STATEMENT_MS}")
    connection.commit()
    cursor.close()
