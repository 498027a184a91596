"""A station on disk: a folder with the history's database (unless that is a server), pictures and models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

DATABASE = "history.sqlite"


@dataclass(frozen=True)
class Place:
    """folder: of the station; url: of its database, "" for the SQLite file in the folder."""

    folder: Path
    url: str = ""

    @property
    def database_file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return None if self.url else self.folder / DATABASE

    @property
    def database_url(self) -> str:
        if not self.url:
            return f"sqlite:///{self.folder / DATABASE}"
        # The driver that setup.py names.
        head, _, rest = self.url.partition("://")
        return f"postgresql+pg8000://{rest}" if head in ("postgresql", "postgres") else self.url

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def live(self, cell: str) -> Path:
        """A link to the model that is approved for a cell: what its node is to be started with."""
        name = "".join(c if c.isalnum() or c in "_-" else "_" for c in cell.strip("/")) or "cell"
        return self.folder / "live" / name

    def make(self) -> Place:
        """Make the folder; InputError where that is impossible."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: no station can be kept there ({error.strerror})") from error
        return self

    def existing(self) -> Place:
        """InputError where there is no history yet."""
        if self.database_file is not None and not self.database_file.is_file():
            raise InputError(
                f"{self.folder}: no history ({DATABASE}) in this folder; the recorder "
                "makes one, or --record-to of `pad inspect`"
            )
        return self
