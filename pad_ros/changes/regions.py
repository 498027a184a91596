"""Changes as objects: voxels that hang together, what kind of change each is, and where each photograph shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, label

from ..imaging.lab import lab
from ..rendering.renderer import Renderer
from ..rendering.result import ReferenceRendering
from .cues import cue_of
from .fusion import AGREEING, SHOWN, Floats, Hull, Points, in_image, shows, speck, votes
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
    kept, masks = [], tuple(np.zeros(cue.shape, bool) for cue in cues)
    for group in groups:
        own = sum(np.count_nonzero(mask & ~others) for mask, others in zip(group.masks, masks, strict=True))
        if own >= OWN * sum(map(np.count_nonzero, group.masks)):
            kept.append(group)
            masks = tuple(mask | others for mask, others in zip(group.masks, masks, strict=True))
    return _with_moves(kept), masks


def _group(known: KnownScene, seen: Sequence[Seen], cues: Sequence[Floats], part: Hull, fused: Floats) -> _Group | None:
    centres = part.centres()
    masks = tuple(_shown(s.rendering, cue, centres, part.size) for s, cue in zip(seen, cues, strict=True))
    if max(float(mask.mean()) for mask in masks) < MIN_PIXELS:
        return None
    signs = [(s.rendering, cue) for s, cue in zip(seen, cues, strict=True)]
    changed = _changed(known, part, signs)
    kind = _kind(known, seen, signs, masks, (changed, part.size))
    if kind != "appeared":  # what was there shows where the others say it does, also where this photograph is unsure
        fusion = Renderer(known.gaussians, known.background, np.where(changed, fused, 0)[:, None], known.device)
        rendered = (fusion.part(s.camera, s.pose).features[..., 0] >= CHANGED for s in seen)
        masks = tuple(mask | more for mask, more in zip(masks, rendered, strict=True))
    low, high = centres.min(axis=0), centres.max(axis=0)
    pictures = [s.rendering.rgb if kind == "vanished" else s.image for s in seen]
    return _Group(part.filled, masks, kind, _colour(pictures, masks), 0.5 * (low + high), high - low + part.size)


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


def _kind(
    known: KnownScene, seen: Sequence[Seen], signs: Sequence[Sign], masks: Sequence[Mask], changed: tuple[Mask, float]
) -> str:
    """What happened to the surfaces that were where a change shows; changed: its Gaussians, and the size of a voxel.

    Where something appeared, they are what is behind it: other photographs see most of them unchanged. Where something
    vanished, photographs show what is behind it.
    """
    surfaces = np.concatenate([_surface(s.rendering, mask) for s, mask in zip(seen, masks, strict=True)])
    views, shown = votes(surfaces, signs)
    several = views >= min(2, len(signs))  # one photograph alone shows all as changed
    if several.any() and float(np.mean(shown[several] >= AGREEING * views[several])) < WAS_THERE:
        return "appeared"
    kept, free, behind = ~changed[0], 0, 0
    without = Renderer(known.gaussians.take(kept), known.background, known.usual[kept], known.device)
    for s, mask in zip(seen, masks, strict=True):
        rendering = without.part(s.camera, s.pose)
        farther = mask & (rendering.alpha > 0.8) & (rendering.depth > s.rendering.depth + changed[1])
        # What the object stood on was never seen, and says nothing.
        seen_by, changed_in = votes(_surface(rendering, farther), signs)
        y, x = (axis[changed_in < AGREEING * seen_by] for axis in np.nonzero(farther))
        free += int(np.count_nonzero(cue_of(s.image, rendering)[y, x] < SHOWN))
        behind += len(y)
    enough = behind >= LEAST_BEHIND * sum(np.count_nonzero(mask) for mask in masks)
    return "vanished" if enough and free >= FREE * behind else "repainted"


def _surface(rendering: ReferenceRendering, mask: Mask) -> Points:
    """The points [P, 3] of the scene that a rendering shows at the pixels of a mask, in the order of np.nonzero."""
    y, x = np.nonzero(mask)
    rays = rendering.camera.rays(np.stack([x, y], axis=1).astype(np.float64) + 0.5)
    return rendering.pose.inverse().transform(rays * rendering.depth[y, x][:, None])


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
