from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def weights_folder(shared: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A weights folder with a shared ALIKED under its registered name."""

    def make(name: str) -> Path:
        (tmp_path / f"{name}.pth").symlink_to(shared / "weights" / "aliked" / f"{name}.pth")
        return tmp_path

    return make
