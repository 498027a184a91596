"""A plain folder of photographs, poses unknown."""

from __future__ import annotations

from pathlib import Path

from .. import images
from ..errors import InputError
from ..progress import progress
from ..views import ReferenceViews
from .loading import load_view


def read_folder(folder: Path, max_side: int | None) -> ReferenceViews:
    """All images below `folder`, without poses; the focal length starts as COLMAP's guess and is refined."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in images.SUFFIXES and not p.name.startswith("."))
    if not files:
        raise InputError(f"{folder}: no images ({', '.join(images.SUFFIXES)}), no transforms.json, no COLMAP model")
    views = [
        load_view(file.relative_to(folder).as_posix(), file, None, None, max_side)
        for file in progress(files, "reading views", len(files))
    ]
    sizes = {(view.camera.width, view.camera.height) for view in views}
    if len(sizes) > 1:
        raise InputError(f"{folder}: images of different sizes {sorted(sizes)}; use one camera at one zoom")
    return ReferenceViews(tuple(views), str(folder))
