"""Who may do what on the station's pages: users with a role and a password, and their sessions."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from ..errors import InputError
from .database import writing
from .record import SECOND
from .registry import note
from .schema import sessions, users

ROLES = ("viewer", "operator", "engineer")  # each may do what those before it may
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
SESSION_HOURS = {"viewer": 24 * 30, "operator": 12, "engineer": 12}  # a viewer's screen hangs over the line
FREE_ATTEMPTS, LONGEST_WAIT = 5, 300.0  # wrong passwords before waiting begins; seconds
REMEMBERED = 10_000  # names with wrong passwords

_hasher = PasswordHasher()
_NOBODY = _hasher.hash(secrets.token_hex())  # verified for unknown names, so that the time does not tell them apart


@dataclass(frozen=True)
class User:
    name: str
    role: str

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Session:
    """csrf: what forms of this session must bring."""

    user: User
    csrf: str


class Throttle:
    """Makes who gives wrong passwords wait, longer each time. Safe to use from all threads."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, name: str) -> float:
        """Seconds until another attempt for this name is listened to."""
        with self._lock:
            count, last = self._failures.get(name, (0, 0.0))
        pause = 0.0 if count < FREE_ATTEMPTS else min(2.0 ** (count - FREE_ATTEMPTS), LONGEST_WAIT)
        return max(0.0, last + pause - time.monotonic())

    def failed(self, name: str) -> None:
        with self._lock:
            count, _ = self._failures.pop(name, (0, 0.0))
            self._failures[name] = count + 1, time.monotonic()
            while len(self._failures) > REMEMBERED:
                self._failures.popitem(last=False)

    def succeeded(self, name: str) -> None:
        with self._lock:
            self._failures.pop(name, None)


def set_user(engine: Engine, name: str, role: str, password: str, by: str) -> None:
    """Make a user, or give an existing one another role and password; its sessions end. InputError for a bad one."""
    if not NAME.fullmatch(name):
        raise InputError(f"user {name[:70]!r}: 1 to 64 letters, digits and _ . @ -, beginning with a letter or digit")
    if role not in ROLES:
        raise InputError(f"role {role!r}: none of {', '.join(ROLES)}")
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InputError(f"the password must have {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
    values = {"role": role, "password": _hasher.hash(password), "active": True}
    with writing(engine).begin() as connection:
        before = connection.scalar(select(users.c.role).where(users.c.name == name))
        if before is None:
            connection.execute(insert(users).values(name=name, **values))
        else:
            connection.execute(update(users).where(users.c.name == name).values(**values))
            connection.execute(delete(sessions).where(sessions.c.user == name))
        note(connection, by, "user set", name, {"role": role, "before": before})


def remove_user(engine: Engine, name: str, by: str) -> None:
    """Lock a user out; what it did stays under its name. InputError for the last engineer."""
    with writing(engine).begin() as connection:
        active = select(func.count()).where(users.c.role == "engineer", users.c.active, users.c.name != name)
        if not connection.scalar(active):
            raise InputError(f"{name}: the last engineer stays, or nobody could let others in")
        connection.execute(update(users).where(users.c.name == name).values(active=False))
        connection.execute(delete(sessions).where(sessions.c.user == name))
        note(connection, by, "user removed", name, {})


def anybody(connection: Connection) -> bool:
    """Whether there are users at all."""
    return connection.scalar(select(users.c.name).limit(1)) is not None


def sign_in(engine: Engine, name: str, password: str) -> str | None:
    """The token of a new session; None for a wrong name or password."""
    with engine.connect() as connection:
        row = connection.execute(select(users).where(users.c.name == name, users.c.active)).first()
    try:
        _hasher.verify(_NOBODY if row is None else row.password, password[:LONGEST_PASSWORD])
    except (VerificationError, InvalidHashError):
        return None
    if row is None:
        return None
    token, now = secrets.token_urlsafe(32), time.time_ns()
    expires = now + SESSION_HOURS[row.role] * 3600 * SECOND
    with writing(engine).begin() as connection:
        connection.execute(delete(sessions).where(sessions.c.expires_ns < now))
        values = {"token": _digest(token), "user": name, "csrf": secrets.token_urlsafe(32), "expires_ns": expires}
        connection.execute(insert(sessions).values(**values))
        note(connection, name, "signed in", name, {})
    return token


def session_of(connection: Connection, token: str) -> Session | None:
    """The session of a token, if it is open and its user still there."""
    asked = select(users.c.name, users.c.role, sessions.c.csrf).join(users)
    open_ones = sessions.c.token == _digest(token), sessions.c.expires_ns > time.time_ns(), users.c.active
    row = connection.execute(asked.where(*open_ones)).first()
    return None if row is None else Session(User(row.name, row.role), row.csrf)


def sign_out(engine: Engine, token: str) -> None:
    with writing(engine).begin() as connection:
        connection.execute(delete(sessions).where(sessions.c.token == _digest(token)))


def _digest(token: str) -> str:
    """What is kept of a token: who reads the database cannot use it."""
    return hashlib.sha256(token.encode()).hexdigest()
