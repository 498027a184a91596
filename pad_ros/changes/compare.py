"""A scene as it was beside photographs of it as it is: what changed, of which kind, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..compute.threads import only_our_threads
from ..errors import InputError
from ..imaging.geometry import Camera
from ..imaging.images import Image
from ..io.read_views import Poses, read_views
from ..methods.presets import Method
from ..model import MANIFEST, ReferenceModel
from ..progress import progress, say
from .cues import cues_of
from .fusion import Floats, Points, carve, fuse_gaussians
from .known_scene import KnownScene, Seen
from .regions import Change, find_changes

MARGIN = 0.12  # of the scene's longest side, around it: what came may stand higher than all that was there


class Photo(NamedTuple):
    """A photograph [H, W, 3] of the scene as it is. camera None: that of the scene's own photographs."""

    name: str
    image: Image
    camera: Camera | None = None


@dataclass(frozen=True, eq=False)
class Shown:
    """What one photograph shows of the changes. cue, mask [H, W]: its own signs, and the pixels that changed."""

    seen: Seen
    cue: Floats
    mask: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SceneChanges:
    """changes: the largest first, places in the frame of the scene. left_out: name and reason of photographs that were
    not found in it; nothing is known of them."""

    changes: tuple[Change, ...]
    shown: tuple[Shown, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def read_scene(path: Path, method: Method, budget: float, device: str, max_side: int | None = None,
               poses: Poses | None = None) -> KnownScene:  # fmt: skip
    """The scene as it was: of a model's folder, or learned from photographs in about `budget` seconds."""
    if (path / MANIFEST).is_file():
        return KnownScene.of_model(ReferenceModel.load(path), device)
    return KnownScene.learn(read_views(path, max_side, poses), method, budget, device)


def read_photos(path: Path, max_side: int | None = None) -> list[Photo]:
    """The photographs of the scene as it is; their poses, if any, are not used: they may be in another frame."""
    views = read_views(path, max_side)
    return [Photo(view.name, view.image, view.camera if views.posed else None) for view in views.views]


def compare(known: KnownScene, photos: Sequence[Photo]) -> SceneChanges:
    """All changes that the photographs show together. InputError where none of them shows the scene."""
    found, left_out = [], []
    for photo in progress(photos, "finding photographs", len(photos)):
        seen = known.find(photo.name, photo.image, photo.camera)
        if isinstance(seen, str):
            left_out.append((photo.name, seen))
            say(f"{photo.name}: left out: {seen}")
        else:
            found.append(seen)
    if not found:
        why = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise InputError(f"none of the {len(left_out)} photographs shows the scene as it was{why}")
    return changes_of(known, found, left_out)


def changes_of(known: KnownScene, seen: Sequence[Seen], left_out: Sequence[tuple[str, str]] = ()) -> SceneChanges:
    """The changes that photographs which were found in the scene show."""
    with only_our_threads():
        both = [cues_of(s.image, s.rendering) for s in seen]
        cues, with_light = [cue for cue, _ in both], [shaded for _, shaded in both]
        low, high = _bounds(known)
        signs = [(s.rendering, cue) for s, cue in zip(seen, cues, strict=True)]
        hull = carve(signs, low, high)
        shaded = carve([(s.rendering, cue) for s, cue in zip(seen, with_light, strict=True)], low, high)
        if not (hull.filled.any() or shaded.filled.any()):
            masks: tuple[NDArray[np.bool_], ...] = tuple(np.zeros(cue.shape, bool) for cue in cues)
            changes: tuple[Change, ...] = ()
        else:
            fused = fuse_gaussians(known.gaussians, signs, known.device)
            changes, masks = find_changes(known, seen, cues, hull, fused, (with_light, shaded))
    return SceneChanges(changes, tuple(map(Shown, seen, cues, masks)), tuple(left_out))


def _bounds(known: KnownScene) -> tuple[Points, Points]:
    """(low, high) corners [3] of the space in which changes are looked for."""
    low, high = np.percentile(known.sfm_map.points, [1, 99], axis=0)
    margin = MARGIN * float((high - low).max())
    return low - margin, high + margin
