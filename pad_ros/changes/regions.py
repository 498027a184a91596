"""Changes as objects: voxels that hang together, what kind of change each is, and where each photograph shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from ..imaging.lab import lab
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from .cues import cue_of
from .fusion import AGREEING, SHOWN, Floats, Hull, Points, agreed, in_image, shows, speck, surface, votes
from .known_scene import KnownScene, Seen

Mask = NDArray[np.bool_]
Sign = tuple[ReferenceRendering, Floats]  # how the scene was, and the cue of a photograph

MIN_VOXELS = 20
MIN_PIXELS = 0.0006  # of a photograph, in the one that shows most of a change
WAS_THERE = 0.75  # of the surfaces in a change's pixels, as the scene was, that have changed as all photographs say
OWN = 0.5  # of a change's pixels no larger change may show: else rays to several of these happen to meet there
FREE = 0.5  # of a vanished object's pixels that show what was behind it,
LEAST_BEHIND = 0.08  # where so many of them have something behind that was seen
CHANGED = 0.5  # fused, from which a Gaussian counts as changed
ALIKE = 0.2  # L*a*b* / 100 between what vanished and what appeared, that is the same object moved
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
    """One group of voxels, and its pixels in each photograph. colour [3]: mean of what it shows, L*a*b* / 100."""

    voxels: Mask
    masks: tuple[Mask, ...]
    kind: str
    colour: Floats
    place: Points
    size: Points

    def change(self, kind: str = "", was: Points | None = None) -> Change:
        shown = sum(bool(mask.any()) for mask in self.masks)
        before = None if was is None else _plain(was)
        return Change(kind or self.kind, _plain(self.place), _plain(self.size), shown, before)


def find_changes(
    known: KnownScene,
    seen: Sequence[Seen],
    cues: Sequence[Floats],
    hull: Hull,
    fused: Floats,
    shaded: tuple[Sequence[Floats], Hull],
) -> tuple[tuple[Change, ...], tuple[Mask, ...]]:
    """The changes, largest first, and for each photograph the mask [H, W] of all of them.

    shaded: cues and voxels of what may be light or shadow as well. These lie on surfaces; of what stands in front of
    them it counts, too: a dark object on a grey ground.
    """
    found = [group for part in _parts(hull) if (group := _group(known, seen, cues, part, fused)) is not None]
    standing = [group for part in _parts(shaded[1]) if (group := _standing(seen, shaded[0], part)) is not None]
    kept = _with_own_pixels(standing, _with_own_pixels(found, []))
    kept.sort(key=lambda group: -np.count_nonzero(group.voxels))
    masks = tuple(np.any(shown, axis=0) for shown in zip(*(group.masks for group in kept), strict=True))
    return _with_moves(kept), masks or tuple(np.zeros(cue.shape, bool) for cue in cues)


def _parts(hull: Hull) -> Iterator[Hull]:
    """The voxels that hang together, the largest first."""
    labels, count = label(hull.filled, NEIGHBOURS)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    for i in np.argsort(-sizes, kind="stable"):
        if sizes[i] >= MIN_VOXELS:
            yield replace(hull, filled=labels == i + 1)


def _with_own_pixels(groups: Sequence[_Group], kept: Sequence[_Group]) -> list[_Group]:
    """What is kept, and of the groups those that mostly show where nothing else does; such a group takes the place of
    what shows mostly inside of it."""
    all_kept = list(kept)
    for group in groups:
        others = [np.any([k.masks[i] for k in all_kept], axis=0) for i in range(len(group.masks))] if all_kept else []
        if not others or _within(group.masks, others) <= 1 - OWN:
            all_kept = [k for k in all_kept if _within(k.masks, group.masks) <= 1 - OWN] + [group]
    return all_kept


def _within(masks: Sequence[Mask], others: Sequence[Mask]) -> float:
    """The share of the pixels of masks that is in the others as well."""
    common = sum(np.count_nonzero(mask & other) for mask, other in zip(masks, others, strict=True))
    return common / max(sum(map(np.count_nonzero, masks)), 1)


def _group(known: KnownScene, seen: Sequence[Seen], cues: Sequence[Floats], part: Hull, fused: Floats) -> _Group | None:
    """What these voxels show; None where that is too little."""
    masks = _masks(seen, cues, part)
    if masks is None:
        return None
    signs = _signs(seen, cues)
    kind = "appeared"
    if not _stands(seen, signs, masks):
        changed = _changed(known, part, signs)
        kind = "vanished" if _vanished(known, seen, signs, masks, (changed, part.size)) else "repainted"
        # What was there shows where the others say it does, also where this photograph is unsure.
        fusion = Renderer(known.gaussians, known.background, np.where(changed, fused, 0)[:, None], known.device)
        rendered = (fusion.part(s.camera, s.pose).features[..., 0] >= CHANGED for s in seen)
        masks = tuple(mask | more for mask, more in zip(masks, rendered, strict=True))
    return _of_kind(kind, seen, part, masks)


def _standing(seen: Sequence[Seen], cues: Sequence[Floats], part: Hull) -> _Group | None:
    """What stands in front of the surfaces, without the shadow that it casts on them; None where nothing does.

    Where the shadow lies, all photographs see the surface changed. So they do below the thing, in the middle of it: the
    convex hull of the rest closes that.
    """
    masks = _masks(seen, cues, part)
    signs = _signs(seen, cues)
    if masks is None or not _stands(seen, signs, masks):
        return None
    own = []
    for s, mask in zip(seen, masks, strict=True):
        views, shown = votes(surface(s.rendering, mask), signs)
        free = np.zeros(mask.shape, np.uint8)
        free[mask] = shown < AGREEING * views
        own.append((mask & _hull_of(free)).astype(np.float32))
    inside = part.filled.copy()
    inside[part.filled] = agreed(part.centres(), _signs(seen, own))
    part = replace(part, filled=inside)
    found = _masks(seen, own, part) if np.count_nonzero(inside) >= MIN_VOXELS else None
    return None if found is None else _of_kind("appeared", seen, part, found)


def _hull_of(pixels: NDArray[np.uint8]) -> Mask:
    """The convex hull [H, W] of pixels without specks."""
    filled = np.zeros_like(pixels)
    found = cv2.findNonZero(cv2.morphologyEx(pixels, cv2.MORPH_OPEN, speck(pixels)))
    if found is not None:
        cv2.fillConvexPoly(filled, cv2.convexHull(found), 1)
    return np.asarray(filled > 0)


def _of_kind(kind: str, seen: Sequence[Seen], part: Hull, masks: tuple[Mask, ...]) -> _Group:
    centres = part.centres()
    low, high = centres.min(axis=0), centres.max(axis=0)
    pictures = [s.rendering.rgb if kind == "vanished" else s.image for s in seen]
    return _Group(part.filled, masks, kind, _colour(pictures, masks), 0.5 * (low + high), high - low + part.size)


def _signs(seen: Sequence[Seen], cues: Sequence[Floats]) -> list[Sign]:
    return [(s.rendering, cue) for s, cue in zip(seen, cues, strict=True)]


def _masks(seen: Sequence[Seen], cues: Sequence[Floats], part: Hull) -> tuple[Mask, ...] | None:
    """Where photographs show the change of these voxels; None where that is too little."""
    centres = part.centres()
    masks = tuple(_shown(s.rendering, cue, centres, part.size) for s, cue in zip(seen, cues, strict=True))
    return None if max(float(mask.mean()) for mask in masks) < MIN_PIXELS else masks


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
    shown = shows(cue).astype(np.uint8) & near
    return np.asarray(cv2.morphologyEx(shown, cv2.MORPH_OPEN, speck(shown)) > 0)


def _stands(seen: Sequence[Seen], signs: Sequence[Sign], masks: Sequence[Mask]) -> bool:
    """Whether something stands in front of the surfaces that were where a change shows.

    Then these are what is behind it, and other photographs see most of them unchanged.
    """
    surfaces = np.concatenate([surface(s.rendering, mask) for s, mask in zip(seen, masks, strict=True)])
    views, shown = votes(surfaces, signs)
    several = views >= min(2, len(signs))  # one photograph alone shows all as changed
    return bool(several.any()) and float(np.mean(shown[several] >= AGREEING * views[several])) < WAS_THERE


def _vanished(
    known: KnownScene, seen: Sequence[Seen], signs: Sequence[Sign], masks: Sequence[Mask], changed: tuple[Mask, float]
) -> bool:
    """Whether photographs show what was behind the changed Gaussians; changed: these, and the size of a voxel."""
    kept, free, behind = ~changed[0], 0, 0
    without = Renderer(known.gaussians.take(kept), known.background, known.usual[kept], known.device)
    for s, mask in zip(seen, masks, strict=True):
        rendering = without.part(s.camera, s.pose)
        farther = mask & (rendering.alpha > 0.8) & (rendering.depth > s.rendering.depth + changed[1])
        # What the object stood on was never seen, and says nothing.
        seen_by, changed_in = votes(surface(rendering, farther), signs)
        y, x = (axis[changed_in < AGREEING * seen_by] for axis in np.nonzero(farther))
        free += int(np.count_nonzero(cue_of(s.image, rendering)[y, x] < SHOWN))
        behind += len(y)
    enough = behind >= LEAST_BEHIND * sum(np.count_nonzero(mask) for mask in masks)
    return enough and free >= FREE * behind


def _changed(known: KnownScene, part: Hull, signs: Sequence[Sign]) -> Mask:
    """The Gaussians [N] in and beside the voxels that have changed as all photographs say, or that are inside."""
    means = known.gaussians.means.astype(np.float64)
    at = np.floor((means - part.low) / part.size).astype(int)
    inside = np.all((at >= 0) & (at < part.filled.shape), axis=1)
    grown = binary_dilation(part.filled, NEIGHBOURS, iterations=2)
    near = inside & grown[tuple(np.clip(at, 0, np.array(part.filled.shape) - 1).T)]
    views, shown = votes(means[near], signs)
    near[near] = shown >= AGREEING * views
    return near


def _colour(pictures: Sequence[NDArray[np.generic]], masks: Sequence[Mask]) -> Floats:
    found = np.concatenate([lab(picture)[mask] for picture, mask in zip(pictures, masks, strict=True)])  # type: ignore[arg-type]
    return np.asarray(found.mean(axis=0))


def _with_moves(groups: Sequence[_Group]) -> tuple[Change, ...]:
    """Changes, in the order of the groups; what vanished in one place and appeared in another has moved."""
    came, gone = ([g for g in groups if g.kind == kind] for kind in ("appeared", "vanished"))
    apart = sorted(
        (float(np.linalg.norm(a.colour - b.colour)), i, k) for i, a in enumerate(gone) for k, b in enumerate(came)
    )
    pairs: dict[int, _Group] = {}
    taken: set[int] = set()
    for distance, i, k in apart:  # the most alike first
        ratio = np.count_nonzero(came[k].voxels) / np.count_nonzero(gone[i].voxels)
        free = id(came[k]) not in pairs and id(gone[i]) not in taken
        if free and distance <= ALIKE and 1 / SIZES <= ratio <= SIZES:
            pairs[id(came[k])] = gone[i]
            taken.add(id(gone[i]))
    return tuple(
        group.change("moved", pairs[id(group)].place) if id(group) in pairs else group.change()
        for group in groups
        if id(group) not in taken
    )


def _plain(point: Points) -> tuple[float, float, float]:
    x, y, z = map(float, point)
    return x, y, z
