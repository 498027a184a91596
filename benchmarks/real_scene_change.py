"""Changes edited into real photographs of a scene: masks against the truth, and unchanged pairs.

    python benchmarks/real_scene_change.py [--data fox,temple_ring] [--budget SECONDS] [--seed 0] [--pictures DIR]
        [--shared FOLDER]

Four of five photographs are the scene before, with their poses; every fifth is one after. The same edit is made in all
of them, by their poses and the depth that Gaussians of the untouched scene give: a ball that stands on a surface
("appeared"; with the ball in the photographs before, "vanished"), or what lies within a ball in another colour
("repainted"). What hides the ball in a photograph hides its mask too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from common import add_shared, chosen, option_parser, write_result
from edited_photos import FOLDERS, HELD_OUT, Mask, Photo, read_fox, read_temple
from numpy.typing import NDArray

from pad_ros.changes.compare import Photo as AfterPhoto
from pad_ros.changes.compare import SceneChanges, compare
from pad_ros.changes.known_scene import KnownScene
from pad_ros.changes.report import write_changes
from pad_ros.evaluation.change_masks import change_figures
from pad_ros.imaging.geometry import undistort_image
from pad_ros.imaging.images import Image
from pad_ros.imaging.views import ReferenceViews, View
from pad_ros.methods.presets import load_method

READERS = {"fox": read_fox, "temple_ring": read_temple}
COLUMNS = ("scene", "what happened", "photographs", "found", "mIoU", "F1", "unchanged ones without finds", "kinds")
BALL, PAINT = 0.05, 0.09  # radius, times the distance from the cameras to the place
PLACES = 200  # that are looked at; the one which most photographs show is taken
SEEN_WITHIN = 0.02  # of the distance: a place at that depth is seen
BALL_COLOURS = ((205, 60, 40), (235, 225, 205))  # of its stripes
PAINT_COLOUR = (60, 90, 190)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Place:
    """A point on a surface [3], the way to the cameras [3], and the distance to them."""

    point: Floats
    outwards: Floats
    distance: float


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--data", default=",".join(READERS))
    parser.add_argument("--budget", type=float, default=180.0, help="seconds to learn each scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write a report of each pair")
    add_shared(parser)
    a = parser.parse_args()
    rows: list[list[object]] = []
    for name in chosen(parser, a.data, list(READERS)):
        photos = [_pinhole(p) for p in READERS[name](a.shared / "data" / FOLDERS.get(name, name))]
        held = photos[HELD_OUT // 2 :: HELD_OUT]
        before = [p for k, p in enumerate(photos) if k % HELD_OUT != HELD_OUT // 2]
        known = _learned(name, before, a.budget)
        place = _place(known, held, np.random.default_rng(a.seed))
        with_ball = [_with_ball(known, place, p) for p in before]
        known_ball = _learned(
            name, [replace(p, image=i) for p, (i, _) in zip(before, with_ball, strict=True)], a.budget
        )
        nothing = [(p.image, np.zeros(p.image.shape[:2], bool)) for p in held]
        balls = [_with_ball(known, place, p) for p in held]
        gone = [(p.image, mask) for p, (_, mask) in zip(held, balls, strict=True)]
        painted = [_repainted(known, place, p) for p in held]
        for what, scene, edited in (
            ("appeared", known, balls), ("vanished", known_ball, gone), ("repainted", known, painted),
            ("unchanged", known, nothing),
        ):  # fmt: skip
            after = [
                AfterPhoto(f"{k}.png", image, p.camera)
                for k, ((image, _), p) in enumerate(zip(edited, held, strict=True))
            ]
            found = compare(scene, after)
            rows.append([name, what, *_figures(found, [mask for _, mask in edited])])
            print(*rows[-1], flush=True)
            if a.pictures is not None:
                write_changes(found, a.pictures / f"{name}_{what}", f"{what}, {name}")
    write_result("real_scene_change", "Changes edited into real photographs", COLUMNS, rows)


def _pinhole(photo: Photo) -> Photo:
    return replace(photo, image=undistort_image(photo.image, photo.camera), camera=photo.camera.pinhole())


def _learned(name: str, photos: Sequence[Photo], budget: float) -> KnownScene:
    views = tuple(View(f"{k}.png", p.image, p.camera, p.pose) for k, p in enumerate(photos))
    # The edits were made by these poses: adjusted ones would not fit them.
    return KnownScene.learn(ReferenceViews(views, name, exact=True), load_method("scene_change"), budget)


def _points(known: KnownScene, photo: Photo) -> tuple[Floats, Floats]:
    """(points of the scene [H, W, 3], depth [H, W]) that a photograph shows."""
    camera = photo.camera
    depth = known.renderer.part(camera, photo.pose).depth.astype(np.float64)
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = camera.rays(np.stack([x.ravel(), y.ravel()], axis=1))
    return photo.pose.inverse().transform(depth.reshape(-1, 1) * rays).reshape(*depth.shape, 3), depth


def _place(known: KnownScene, photos: Sequence[Photo], rng: np.random.Generator) -> Place:
    """Where most of the photographs see a surface, among places that are drawn."""
    shown = [_points(known, photo) for photo in photos]
    best: tuple[int, Place] | None = None
    for _ in range(PLACES):
        k = int(rng.integers(len(photos)))
        rows, columns = np.nonzero(photos[k].allowed & (shown[k][1] > 0))
        i = int(rng.integers(len(rows)))
        point, distance = shown[k][0][rows[i], columns[i]], float(shown[k][1][rows[i], columns[i]])
        seeing = [p.pose.centre for p, (_, depth) in zip(photos, shown, strict=True) if _sees(p, depth, point)]
        if best is None or len(seeing) > best[0]:
            way = np.mean([(c - point) / np.linalg.norm(c - point) for c in seeing or [photos[k].pose.centre]], axis=0)
            best = len(seeing), Place(point, way / np.linalg.norm(way), distance)
    assert best is not None
    return best[1]


def _sees(photo: Photo, depth: Floats, point: Floats) -> bool:
    inside = photo.pose.transform(point[None])
    x, y = photo.camera.project(inside)[0]
    if not (0 <= x < photo.camera.width and 0 <= y < photo.camera.height):
        return False
    z = float(inside[0, 2])
    return bool(photo.allowed[int(y), int(x)]) and abs(depth[int(y), int(x)] - z) < SEEN_WITHIN * z


def _with_ball(known: KnownScene, place: Place, photo: Photo) -> tuple[Image, Mask]:
    """A striped ball that stands on the place, lit from above the cameras; what is in front of it hides it."""
    radius = BALL * place.distance
    middle = place.point + 0.8 * radius * place.outwards
    camera, centre = photo.camera, photo.pose.centre
    _, depth = _points(known, photo)
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = camera.rays(np.stack([x.ravel(), y.ravel()], axis=1)) @ photo.pose.rotation  # into the scene's frame
    away = centre - middle
    a, b, c = (rays**2).sum(axis=1), rays @ away, float(away @ away) - radius**2
    root = b**2 - a * c
    hit = (-b - np.sqrt(np.maximum(root, 0))) / a  # depth, as the rays have z = 1
    seen = ((root > 0) & (hit > 0)).reshape(depth.shape)
    seen &= (depth <= 0) | (hit.reshape(depth.shape) < depth * (1 + SEEN_WITHIN))
    normals = (centre + hit[:, None] * rays - middle) / radius
    up = -photo.pose.rotation[1]
    light = 0.45 + 0.55 * np.clip(normals @ (place.outwards + 0.7 * up) / 1.22, 0, 1)
    stripe = (np.floor(6 * (normals @ np.array([0.3, 0.5, 0.81])) + 20) % 2).astype(int)
    colour = (np.array(BALL_COLOURS, np.float64)[stripe] * light[:, None]).reshape(*depth.shape, 3)
    return _blended(photo.image, colour, seen), seen


def _repainted(known: KnownScene, place: Place, photo: Photo) -> tuple[Image, Mask]:
    """What lies within a ball around the place in another colour; it keeps its light and shade."""
    points, depth = _points(known, photo)
    seen = (depth > 0) & (np.linalg.norm(points - place.point, axis=2) < PAINT * place.distance)
    grey = cv2.cvtColor(photo.image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    shade = np.clip(grey / max(float(np.median(grey[seen])) if seen.any() else 1.0, 30.0), 0.3, 1.5)
    return _blended(photo.image, shade[..., None] * np.array(PAINT_COLOUR, np.float64), seen), seen


def _blended(image: Image, colour: Floats, mask: Mask) -> Image:
    weight = cv2.GaussianBlur(mask.astype(np.float64), (0, 0), 0.6)[..., None]
    return np.clip(image * (1 - weight) + colour * weight + 0.5, 0, 255).astype(np.uint8)


def _figures(found: SceneChanges, truths: Sequence[Mask]) -> list[object]:
    shown = {s.seen.name: s.mask for s in found.shown}
    masks = [shown.get(f"{k}.png", np.zeros_like(truth)) for k, truth in enumerate(truths)]
    f = change_figures(masks, truths)
    values = [None if np.isnan(value) else round(value, 3) for value in (f.miou, f.f1, f.clean)]
    return [len(truths), len(shown), *values, ", ".join(change.kind for change in found.changes) or "none"]


if __name__ == "__main__":
    main()
