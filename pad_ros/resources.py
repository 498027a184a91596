"""Files that belong to the package but lie outside it: messages and method presets."""

from __future__ import annotations

import sys
from pathlib import Path

from .errors import InputError


def resource_folder(name: str, holds: str) -> Path:
    """The folder `name` (such as "msg") beside the package in a checkout, or under share/pad_ros where installed.

    holds: glob pattern of a file that must be in it. InputError where no such folder is found.
    """
    package = Path(__file__).resolve().parent
    prefixes = (*package.parents, Path(sys.prefix))
    for folder in (package.parent / name, *(prefix / "share" / "pad_ros" / name for prefix in prefixes)):
        if folder.is_dir() and any(folder.glob(holds)):
            return folder
    raise InputError(
        f"pad_ros is not installed completely: no {name}/{holds} in {package.parent} or share/pad_ros; install it again"
    )
