"""A folder that is replaced as a whole: at any moment, also after kill -9, the old or the new is in its place.

What belongs to a save of NAME lies next to it until the save ends: `.NAME.new.*` is what is being written and,
after the exchange, the old content; `.NAME.old.*` exists only where the file system cannot exchange two folders.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def files_in(folder: Path) -> list[str]:
    """All files and links below `folder`, relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


@contextmanager
def staging_for(folder: Path) -> Iterator[Path]:
    """A new folder to fill in and then `put_in_place`; removed at the end, with what dead processes left behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent):
        for left in _leftovers(folder, "new"):
            with suppress(OSError), _locked(left, wait=False):  # locked by its writer as long as that lives
                shutil.rmtree(left, ignore_errors=True)
        for left in _leftovers(folder, "old") if folder.exists() else ():
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.new.", dir=folder.parent))
        writer = os.open(staging, os.O_RDONLY)
        with suppress(OSError):
            fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(writer)


def flush(staging: Path) -> None:
    """Let all of it reach the disk, readable by other users: cells run as another one."""
    for path in (*staging.rglob("*"), staging):
        path.chmod(0o755 if path.is_dir() else 0o644)
        _sync(path)


def put_in_place(staging: Path, folder: Path) -> None:
    """Let `staging` be `folder`; the old content goes only after the new is in place."""
    if not folder.exists():
        staging.rename(folder)
    elif not _exchange(staging, folder):
        _rename_twice(staging, folder)
    _sync(folder.parent)


def recover(folder: Path) -> None:
    """Bring back what a process that was killed between the two renames has left without a name, as far as possible."""
    with suppress(
        OSError, RuntimeError, ValueError
    ):  # ValueError: a NUL byte in the path; RuntimeError: links in circles
        folder = folder.resolve()
        if folder.exists() or not any(_leftovers(folder, "old")):
            return
        with _locked(folder.parent):
            for left in _leftovers(folder, "old"):
                if (left / "content").exists() and not folder.exists():
                    (left / "content").rename(folder)
                shutil.rmtree(left, ignore_errors=True)


def _leftovers(folder: Path, kind: str) -> Iterator[Path]:
    return folder.parent.glob(f".{glob.escape(folder.name)}.{kind}.*")


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step; False where the system cannot."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(second))


def _rename_twice(staging: Path, folder: Path) -> None:
    with _locked(folder.parent):
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
        try:
            folder.rename(old / "content")
            staging.rename(folder)
        except BaseException:  # Ctrl-C too: the old content comes back
            if (old / "content").exists() and not folder.exists():
                (old / "content").rename(folder)
            raise
        finally:
            if folder.exists():
                shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Alone among the processes that do this; without `wait` OSError where another does. Some network file systems
    lock no folders: then nothing keeps two savers of one model apart."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            if not wait:
                raise
        yield
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
