"""Files as they come in: read whole, none larger than its kind can be."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import InputError


def read_file(path: Path, max_bytes: int | None = None) -> bytes:
    """The content of a file; InputError where it cannot be read or is too large."""
    try:
        if max_bytes is not None and path.stat().st_size > max_bytes:
            raise InputError(f"{path}: larger than {size_text(max_bytes)}")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def size_text(size: int) -> str:
    return f"{size // 10**9} GB" if size >= 10**9 else f"{size // 10**6} MB"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
