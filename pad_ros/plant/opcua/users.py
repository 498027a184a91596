"""Who may connect: users with argon2 hashes in a file, and what their roles may do.

python -m pad_ros.plant.opcua.users FOLDER NAME [--role viewer] [--remove]   # asks for the password
"""

from __future__ import annotations

import argparse
import getpass
import hmac
import json
import logging
import os
import re
import secrets
import sys
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ...errors import InputError, PadError, first_line
from .certificates import write_private

FILE, FIRST_PASSWORD = "users.json", "first_password.txt"
FIRST_USER = "plc"
NAME = re.compile(r"[\w.@-]{1,64}")
MAX_PASSWORD = 512  # characters: hashing takes time and memory by length
SHORTEST = 10
MAX_TRIES, TRY_WINDOW = 5, 10.0  # passwords that are hashed within so many seconds, right ones that are known aside

log = logging.getLogger(__name__)


class Role(Enum):
    """viewer: reads and subscribes. operator: also calls methods."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Account:
    name: str
    role: Role
    password: str  # argon2 hash


class Users:
    """The accounts of a folder. InputError for a file that cannot be used. Check passwords in one thread only.

    A password costs tens of milliseconds; no more than MAX_TRIES are hashed within TRY_WINDOW, so that guessing is slow
    and does not stop the server. One that was right before is known again (by a keyed hash, in memory only): a PLC that
    reconnects is let in while somebody guesses.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._hasher = PasswordHasher()
        self._accounts = _read(self._file)
        self._nobody = self._hasher.hash(secrets.token_urlsafe())  # an unknown name takes as long as a known one
        self._secret = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}
        self._noted = -TRY_WINDOW  # steady clock, s
        self._tries: deque[float] = deque(maxlen=MAX_TRIES)

    def ensure_one(self) -> Path | None:
        """Make a first user where there is none; the file with the password, which the caller may name, else None."""
        if self._accounts:
            return None
        password, path = secrets.token_urlsafe(18), self._file.with_name(FIRST_PASSWORD)
        self.put(FIRST_USER, Role.OPERATOR, password)
        _write(path, f"{FIRST_USER} {password}\n".encode())
        return path

    def put(self, name: str, role: Role, password: str) -> None:
        """Add or change a user. InputError for a name or password that will not do."""
        if not NAME.fullmatch(name):
            raise InputError(f"{name[:80]!r}: a user's name has 1 to 64 letters, digits or . _ @ -")
        if not SHORTEST <= len(password) <= MAX_PASSWORD:
            raise InputError(f"a password has {SHORTEST} to {MAX_PASSWORD} characters")
        self._accounts = {**self._accounts, name: Account(name, role, self._hasher.hash(password))}
        self._save()

    def remove(self, name: str) -> None:
        """InputError where there is no such user."""
        if name not in self._accounts:
            raise InputError(f"{self._file}: no user {name[:80]!r}")
        self._accounts = {other: account for other, account in self._accounts.items() if other != name}
        self._save()

    def check(self, name: str | None, password: str | None) -> Account | None:
        """The account of a name and its password; None for a wrong one, and while too many are tried."""
        if not name or not password or len(password) > MAX_PASSWORD or len(name) > MAX_PASSWORD:
            return None
        account = self._accounts.get(name)
        digest = hmac.digest(self._secret, f"{name}\0{password}".encode(errors="surrogatepass"), "sha256")
        if account is not None and hmac.compare_digest(self._known.get(name, b""), digest):
            return account
        now = time.monotonic()
        if len(self._tries) == MAX_TRIES and now - self._tries[0] < TRY_WINDOW:
            if now - self._noted >= TRY_WINDOW:
                self._noted = now
                log.warning("logins are refused unseen: too many tries")
            return None
        self._tries.append(now)
        try:
            self._hasher.verify(self._nobody if account is None else account.password, password)
        except (VerificationError, InvalidHashError):
            log.warning("a login was refused: wrong name or password")
            return None
        if account is not None:
            self._known[name] = digest
        return account

    def _save(self) -> None:
        users = {a.name: {"role": a.role.value, "password": a.password} for a in self._accounts.values()}
        _write(self._file, json.dumps({"users": users}, indent=1).encode())
        self._known.clear()


def _read(file: Path) -> dict[str, Account]:
    if not file.exists():
        return {}
    try:
        users = json.loads(file.read_text(encoding="utf-8"))["users"]
        return {name: Account(name, Role(user["role"]), str(user["password"])) for name, user in users.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: not a readable file of users ({first_line(error)})") from error


def _write(path: Path, data: bytes) -> None:
    try:
        write_private(path, data)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({first_line(error)})") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pad_ros.plant.opcua.users", description="users of OPC UA")
    parser.add_argument("folder", type=Path, help="parameter `folder` of the node opcua")
    parser.add_argument("name")
    parser.add_argument("--role", choices=[role.value for role in Role], default=Role.OPERATOR.value)
    parser.add_argument("--remove", action="store_true")
    given = parser.parse_args(arguments)
    try:
        users = Users(given.folder)
        if given.remove:
            users.remove(given.name)
        else:
            users.put(given.name, Role(given.role), _ask())
    except PadError as error:
        print(f"pad_ros: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _ask() -> str:
    """From the terminal without showing it, else the first line of the input."""
    if os.isatty(sys.stdin.fileno()):
        return getpass.getpass("password: ")
    return sys.stdin.readline().rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
