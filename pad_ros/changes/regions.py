"""Changes as objects: voxels that hang together, what kind of change each is, and where each photograph shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_fill_holes, find_objects, label

from ..imaging.lab import lab
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from .cues import cue_of
from .fusion import SHOWN, Floats, Hull, Points, in_image
from .known_scene import KnownScene, Seen

Mask = NDArray[np.bool_]

MIN_VOXELS = 20
MIN_PIXELS = 0.0006  # of a photograph, in the one that shows most of a change
WAS_THERE = 0.65  # of a change's pixels that show, as the scene was, a surface within the change
FREE = 0.5  # of a vanished object's pixels that show what was behind it
CHANGED = 0.5  # fused, from which a Gaussian counts as changed
ALIKE = 0.16  # L*a*b* / 100 between what vanished and what appeared, that is the same object moved
SIZES = 2.5  # ratio of their sizes at most
NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, eq=False)
class Change:
    """One object-level change. kind: appeared, vanished, moved or repainted.

    place [3]: its middle in the frame of the scene, of one that vanished where it was; was: where one that moved was
    before. size: edges of its box [3]. photographs: how many show it.
    """

    kind: str
    place: tuple[float, float, float]
    size: tuple[float, float, float]
    photographs: int
    was: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class _Group:
    """One group of voxels, and its pixels in each photograph. colours [6]: mean and deviation of what it shows."""

    voxels: Mask
    masks: tuple[Mask, ...]
    kind: str
    colours: Floats
    place: Points
    size: Points

    def change(self, kind: str = "", was: Points | None = None) -> Change:
        shown = sum(bool(mask.any()) for mask in self.masks)
        before = None if was is None else _plain(was)
        return Change(kind or self.kind, _plain(self.place), _plain(self.size), shown, before)


def find_changes(
    known: KnownScene, seen: Sequence[Seen], cues: Sequence[Floats], hull: Hull, fused: Floats
) -> tuple[tuple[Change, ...], tuple[Mask, ...]]:
    """The changes, largest first, and for each photograph the mask [H, W] of all of them."""
    labels, count = label(hull.filled, NEIGHBOURS)
    boxes = find_objects(labels)
    groups = []
    for number in range(1, count + 1):
        voxels = np.zeros_like(hull.filled)
        voxels[boxes[number - 1]] = labels[boxes[number - 1]] == number
        if np.count_nonzero(voxels) >= MIN_VOXELS:
            group = _group(known, seen, cues, replace(hull, filled=voxels), fused)
            if group is not None:
                groups.append(group)
    groups.sort(key=lambda group: -np.count_nonzero(group.voxels))
    empty = tuple(np.zeros(cue.shape, bool) for cue in cues)
    masks = tuple(np.logical_or.reduce([empty[k], *(g.masks[k] for g in groups)]) for k in range(len(cues)))
    return _with_moves(groups), masks


def _group(known: KnownScene, seen: Sequence[Seen], cues: Sequence[Floats], part: Hull, fused: Floats) -> _Group | None:
    centres = part.centres()
    masks = tuple(_shown(s.rendering, cue, centres, part.size) for s, cue in zip(seen, cues, strict=True))
    if max(float(mask.mean()) for mask in masks) < MIN_PIXELS:
        return None
    was_there = _share([_within(part, s.rendering, mask) for s, mask in zip(seen, masks, strict=True)], masks)
    kind = "appeared"
    if was_there >= WAS_THERE:
        without = _without(known, part, fused)
        free = [_behind_shows(without, s, mask) for s, mask in zip(seen, masks, strict=True)]
        kind = "vanished" if _share(free, masks) >= FREE else "repainted"
    low, high = centres.min(axis=0), centres.max(axis=0)
    pictures = [s.rendering.rgb if kind == "vanished" else s.image for s in seen]
    return _Group(part.filled, masks, kind, _colours(pictures, masks), 0.5 * (low + high), high - low + part.size)


def _shown(rendering: ReferenceRendering, cue: Floats, centres: Points, size: float) -> Mask:
    """The pixels [H, W] where a photograph shows the change of these voxels."""
    camera = rendering.camera
    index, x, y, depth = in_image(centres, camera, rendering.pose)
    near = np.zeros(cue.shape, np.uint8)
    if len(index):
        near[y, x] = 1
        radius = max(int(np.ceil(0.9 * size * camera.fx / float(np.median(depth)))), 1)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        near = cv2.dilate(near, disc)
    small = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    shown = cv2.morphologyEx((cue >= SHOWN).astype(np.uint8), cv2.MORPH_CLOSE, small) & near
    return np.asarray(cv2.morphologyEx(binary_fill_holes(shown).astype(np.uint8), cv2.MORPH_OPEN, small) > 0)


def _within(part: Hull, rendering: ReferenceRendering, mask: Mask) -> Mask:
    """Which pixels of the mask show, as the scene was, a surface inside of the voxels or beside them."""
    y, x = np.nonzero(mask)
    rays = rendering.camera.rays(np.stack([x, y], axis=1) + 0.5) * rendering.depth[y, x][:, None]
    points = rendering.pose.inverse().transform(rays)
    at = np.floor((points - part.low) / part.size).astype(int)
    inside = np.all((at >= 0) & (at < part.filled.shape), axis=1)
    at = np.clip(at, 0, np.array(part.filled.shape) - 1)
    found = np.zeros_like(mask)
    found[y, x] = inside & binary_dilation(part.filled, NEIGHBOURS)[tuple(at.T)]
    return found


def _without(known: KnownScene, part: Hull, fused: Floats) -> Renderer:
    """The scene as it was, without the changed Gaussians in and beside the voxels."""
    at = np.floor((known.gaussians.means - part.low) / part.size).astype(int)
    inside = np.all((at >= 0) & (at < part.filled.shape), axis=1)
    grown = binary_dilation(part.filled, NEIGHBOURS, iterations=2)
    near = inside & grown[tuple(np.clip(at, 0, np.array(part.filled.shape) - 1).T)]
    kept = ~(near & (fused >= CHANGED))
    return Renderer(known.gaussians.take(kept), known.background, known.usual[kept], known.device)


def _behind_shows(without: Renderer, seen: Seen, mask: Mask) -> Mask:
    """Which pixels of the mask show what was behind an object that is gone."""
    rendering = without.part(seen.camera, seen.pose)
    return mask & (rendering.alpha > 0.5) & (cue_of(seen.image, rendering) < SHOWN)


def _share(parts: Sequence[Mask], masks: Sequence[Mask]) -> float:
    whole = sum(np.count_nonzero(mask) for mask in masks)
    return float(sum(np.count_nonzero(part & mask) for part, mask in zip(parts, masks, strict=True)) / max(whole, 1))


def _colours(pictures: Sequence[NDArray[np.generic]], masks: Sequence[Mask]) -> Floats:
    found = np.concatenate([lab(picture)[mask] for picture, mask in zip(pictures, masks, strict=True)])  # type: ignore[arg-type]
    return np.concatenate([found.mean(axis=0), found.std(axis=0)])


def _with_moves(groups: Sequence[_Group]) -> tuple[Change, ...]:
    """Changes, in the order of the groups; what vanished in one place and appeared in another has moved."""
    came = [g for g in groups if g.kind == "appeared"]
    pairs: dict[int, _Group] = {}
    taken = set()
    for gone in (g for g in groups if g.kind == "vanished"):
        apart = [float(np.linalg.norm(g.colours - gone.colours)) for g in came]
        for k in np.argsort(apart):
            ratio = np.count_nonzero(came[k].voxels) / np.count_nonzero(gone.voxels)
            if apart[k] <= ALIKE and 1 / SIZES <= ratio <= SIZES and id(came[k]) not in pairs:
                pairs[id(came[k])] = gone
                taken.add(id(gone))
                break
    return tuple(
        group.change("moved", pairs[id(group)].place) if id(group) in pairs else group.change()
        for group in groups
        if id(group) not in taken
    )


def _plain(point: Points) -> tuple[float, float, float]:
    x, y, z = map(float, point)
    return x, y, z
