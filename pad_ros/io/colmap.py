"""Views of a COLMAP sparse model, text or binary: its cameras and images alone."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..imaging.views import ReferenceViews
from .colmap_files import read_shots
from .loading import ImageSource, check_inside, load_views

SUBFOLDERS = ("sparse/0", "sparse", "")


def find_colmap(folder: Path) -> tuple[Path, str] | None:
    """Where below `folder` the sparse model lies, and the suffix of its files; None if there is none."""
    for sub in SUBFOLDERS:
        for suffix in (".bin", ".txt"):
            if all((folder / sub / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
                return folder / sub, suffix
    return None


def read_colmap(folder: Path, model: Path, suffix: str, max_side: int | None) -> ReferenceViews:
    """The registered images of the sparse model in `model`, by name, with poses.

    The image files are looked for in images/ of `folder`, of the model and of the two folders above it,
    then in `folder` itself. Raises InputError for a damaged model, a missing image, or a camera model
    other than SIMPLE_PINHOLE, PINHOLE, SIMPLE_RADIAL, RADIAL and OPENCV.
    """
    shots = sorted(read_shots(model, suffix), key=lambda shot: shot.name)
    if not shots:
        raise InputError(f"{model}: the COLMAP model has no registered images")
    roots = [p / "images" for p in (folder, model, model.parent, model.parent.parent)] + [folder]
    found: dict[str, ImageSource] = {}
    for shot in shots:
        if shot.name in found:
            raise InputError(f"{model}: image {shot.name} is listed twice")
        root = next((root for root in roots if (root / shot.name).is_file()), None)
        if root is None:
            raise InputError(f"{model}: image {shot.name} is not in {folder / 'images'}")
        check_inside(file := root / shot.name, root)
        found[shot.name] = file, shot.camera, shot.pose
    return load_views(found, max_side, str(model))
