"""Where models may lie that a node loads at the request of another."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from ...errors import ModelError


def check_location(folder: Path, root: str) -> None:
    """ModelError where the folder, or what a symbolic link in it leads to, lies outside of `root` ("": anywhere)."""
    if not root:
        return
    allowed = Path(root).resolve()
    for path in chain([folder], folder.rglob("*")):  # the folder first: nothing is read in one outside
        if (path is folder or path.is_symlink()) and not path.resolve().is_relative_to(allowed):
            raise ModelError(f"{path}: leads out of {root}, where models must lie (parameter models_root)")
