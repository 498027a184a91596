"""Folders by their fsspec URL: of this machine, s3://bucket/..., and others. What is local is used where it lies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from ..errors import InputError, MissingDependencyError, PadError, first_line
from ..reporting.output import plain
from ..reporting.output import write_text as write_local

Listing = dict[str, list[Any]]  # path below the folder -> size in bytes, and what changes with the content


@contextmanager
def _reached(url: str) -> Iterator[tuple[Any, str]]:
    """(file system, path) of a URL. InputError, in one line, for what the store refuses; its errors are of any type."""
    try:
        yield url_to_fs(url)
    except PadError:
        raise
    except ImportError as error:
        raise MissingDependencyError(f"{url}: {first_line(error)}; for s3: pip install 'pad_ros[s3]'") from error
    except Exception as error:
        raise InputError(f"{url}: cannot be used ({first_line(error)})") from error


def local(url: str) -> Path | None:
    """Where it is on this machine; None for what is elsewhere."""
    with _reached(url) as (files, path):
        return Path(path) if isinstance(files, LocalFileSystem) else None


def joined(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/{name}"


def absolute(url: str) -> str:
    """The same from any working folder."""
    here = local(url)
    return url.rstrip("/") if here is None else str(here)


def subfolders(url: str) -> list[str]:
    """The names of the folders in a folder, hidden ones left out; InputError where it cannot be read."""
    with _reached(url) as (files, path):
        names = [
            os.path.basename(entry["name"].rstrip("/"))
            for entry in files.ls(path, detail=True)
            if entry["type"] == "directory" or isinstance(files, LocalFileSystem) and os.path.isdir(entry["name"])
        ]
    return sorted(name for name in names if not name.startswith("."))


def listing(url: str) -> Listing:
    """All files below a folder, or the file itself; empty where there is nothing."""
    with _reached(url) as (files, path):
        files.invalidate_cache()  # a worker lives long, others write meanwhile
        return {
            name.removeprefix(path).lstrip("/"): [
                int(entry["size"]),
                str(entry.get("ETag") or entry.get("mtime") or entry.get("LastModified")),
            ]
            for name, entry in sorted(files.find(path, detail=True).items())
        }


def fetched(url: str, folder: Path) -> Path:
    """The folder on this machine: itself where it is local, else a copy of it in `folder`."""
    with _reached(url) as (files, path):
        if isinstance(files, LocalFileSystem):
            return Path(path)
        copy = folder / os.path.basename(path)
        files.get(f"{path}/", f"{copy}/", recursive=True)
        return copy


def stored(folder: Path, url: str) -> None:
    """Let the folder at `url`, not of this machine, hold the files of `folder` and no others. Each arrives as a whole;
    all of them are there when this ends."""
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    old = listing(url)
    with _reached(url) as (files, path):
        for name in names:
            files.put_file(str(folder / name), f"{path}/{name}")
        if surplus := [f"{path}/{name}" for name in old if name not in names]:
            files.rm(surplus)


def read_json(url: str) -> dict[str, Any]:
    """A JSON object; empty where there is no such file, or another thing in it."""
    with _reached(url) as (files, path):
        files.invalidate_cache()
        try:
            found = json.loads(files.cat_file(path))
        except (FileNotFoundError, ValueError):
            return {}
    return found if isinstance(found, dict) else {}


def write_json(url: str, value: Mapping[str, Any]) -> None:
    write_text(url, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def write_text(url: str, text: str) -> None:
    """Replace a file in one step."""
    with _reached(url) as (files, path):
        if isinstance(files, LocalFileSystem):
            write_local(Path(path), text)
        else:
            files.pipe_file(path, text.encode("utf-8"))
