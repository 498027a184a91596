"""A plain folder of photographs, poses unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pycolmap

from ..errors import InputError
from ..imaging import images
from ..imaging.views import ReferenceViews, View
from ..progress import progress
from .loading import FOCAL_LIMITS, check_inside, collect, guess_camera, load_view, with_guess

HEIC = (".heic", ".heif")
QUARTER_TURNS = {3: 2, 6: 1, 8: 3}  # EXIF orientation -> clockwise turns that show the image upright
SUBFOLDERS = ("train/good", "", "images")  # MAD without poses: what lies in test/ is not known to be good


def read_folder(folder: Path, max_side: int | None) -> ReferenceViews:
    """The images right in `folder` (or in its train/good or images), without poses.

    The focal length is a first guess for mapping to refine: from EXIF where the camera noted it, else
    1.2 times the longer side, as COLMAP does. InputError where there are no images, or of several sizes.
    """
    _refuse_heic(folder)
    try:
        found = ((sub, images.in_folder(sub)) for name in SUBFOLDERS if (sub := folder / name).is_dir())
        root, files = next(((root, files) for root, files in found if files), (folder, []))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not files:
        raise InputError(
            f"{folder}: no reference views (no images {', '.join(images.SUFFIXES)} in it or in its images/, "
            "no transforms.json, no COLMAP model, no rosbag2)"
        )
    views = collect(
        (_read_photograph(file, folder, max_side) for file in progress(files, "reading views", len(files))),
        str(folder),
    )
    sizes = sorted({f"{view.camera.width}x{view.camera.height}" for view in views.views})
    if len(sizes) > 1:
        raise InputError(f"{root}: images of different sizes ({', '.join(sizes[:4])}); use one camera at one zoom")
    return views


def _refuse_heic(folder: Path) -> None:
    """InputError where photographs lie here that would silently be left out."""
    subs = (sub for name in SUBFOLDERS if (sub := folder / name).is_dir())
    heic = sorted(file for sub in subs for file in sub.iterdir() if file.suffix.lower() in HEIC)
    if heic:
        raise InputError(
            f"{heic[0]}: HEIC photographs ({len(heic)} of them) cannot be read; save them as JPEG or PNG "
            "(on an iPhone: Settings, Camera, Formats, Most Compatible)"
        )


def _read_photograph(file: Path, folder: Path, max_side: int | None) -> View:
    name = file.relative_to(folder).as_posix()
    check_inside(file, folder)
    view = replace(load_view(name, file, guess_camera, None, max_side), quarter_turns=_quarter_turns(file))
    try:
        inferred = pycolmap.infer_camera_from_image(file)
    except (RuntimeError, ValueError):  # a format that COLMAP does not read
        return with_guess(view)
    share = float(inferred.mean_focal_length()) / max(inferred.width, inferred.height)
    if not inferred.has_prior_focal_length or not FOCAL_LIMITS[0] <= share <= FOCAL_LIMITS[1]:
        return with_guess(view)
    return with_guess(view, share)


def _quarter_turns(file: Path) -> int:
    """How the camera was held, as EXIF notes it; 0 where it does not."""
    try:
        bitmap = pycolmap.Bitmap.read(file, as_rgb=False)
    except (RuntimeError, ValueError):
        return 0
    return 0 if bitmap is None else QUARTER_TURNS.get(bitmap.exif_orientation() or 1, 0)
