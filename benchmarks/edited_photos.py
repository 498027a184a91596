"""Makes data sets with defects edited into real photographs: `python benchmarks/edited_photos.py OUT`.

Reads temple_ring and fox from the shared data (--shared, PAD_SHARED, or ../shared) and writes OUT/temple_ring, OUT/fox
and OUT/fox_part in the MAD layout. Four of five views become reference views; every fifth is held out: once untouched
(test/good) and once per kind of defect. Defects are painted with OpenCV: on the temple where it is brighter than the
cloth, in the room of the fox anywhere but near the border, for fox_part on the fox itself. Which edits are kept, the
demo's `Limits` say (size and contrast of the mask), no detector. The photographs are for research only: do not pass the
output on.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from common import add_shared, option_parser
from numpy.typing import NDArray

from pad_ros.demo.defects import Limits
from pad_ros.errors import InputError, PadError
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.images import Image

HELD_OUT = 5  # every fifth view
FOX_SIZE = (540, 960)
# Head and body of the fox in each of the views that are held out, px (x, y) of FOX_SIZE: well inside of what is seen.
FOX_OUTLINES = (
    "332,104 374,125 395,208 447,218 467,270 505,378 461,405 363,447 "
    "328,540 291,602 218,602 170,550 197,447 260,332 280,208 295,135",
    "253,114 301,156 332,218 384,228 426,228 426,312 451,411 405,436 353,467 "
    "332,561 291,602 218,582 166,530 197,436 239,332 228,208 233,145",
    "93,135 156,197 208,208 270,197 332,114 339,187 328,312 343,415 "
    "343,519 301,582 228,588 177,550 162,478 177,415 135,312 114,228",
    "104,270 156,301 208,291 274,218 301,270 312,374 374,447 405,540 395,644 "
    "343,696 280,675 228,613 208,530 166,505 114,482 125,405 120,332",
    "31,291 93,260 156,145 187,187 197,312 239,415 312,478 328,582 "
    "312,685 249,727 166,706 114,644 93,550 42,488 31,395",
    "228,21 478,21 498,125 467,228 436,332 363,467 270,488 156,415 108,322 156,187 208,83",
    "228,602 332,530 488,498 509,623 509,768 467,810 395,717 291,779 187,800 114,748 125,665",
    "125,498 208,488 312,467 415,488 405,540 353,602 343,706 322,831 291,872 260,841 218,727 177,644 145,582",
    "42,623 145,602 249,592 322,571 353,644 395,727 395,831 353,893 270,924 166,935 73,872 42,768",
    "62,62 135,83 156,208 177,312 249,415 291,519 280,623 249,727 197,800 104,831 42,810 31,623 31,415 42,208",
)
MAX_DRAWS = 500
COLOURS = ((38, 26, 18), (112, 56, 24), (196, 196, 188), (40, 70, 38), (120, 30, 34))  # oil, rust, putty, moss, paint

Field = NDArray[np.float32]  # [H, W]
Mask = NDArray[np.bool_]  # [H, W]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photograph with its camera (distorted as taken) and pose."""

    image: Image
    camera: Camera
    pose: Pose
    allowed: Mask  # [H, W], where a defect may lie


def read_temple(folder: Path) -> list[Photo]:
    """The 47 views of the temple ring."""
    views = json.loads((folder / "cameras.json").read_text())["images"]
    photos = []
    for name in sorted(views):
        entry = views[name]
        image = images.load(folder / "images_640x480" / name)
        k = np.array(entry["K"])
        camera = Camera(image.shape[1], image.shape[0], k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        pose = Pose.from_rt(np.array(entry["R_w2c"]), np.array(entry["t_w2c"]))
        bright = cv2.GaussianBlur(image.max(axis=2), (5, 5), 0) > 60
        plaster = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        photos.append(Photo(image, camera, pose, plaster.astype(bool)))
    return photos


def read_fox(folder: Path) -> list[Photo]:
    """The 50 views of the fox, at FOX_SIZE."""
    content = json.loads((folder / "transforms.json").read_text())
    distortion = (content["k1"], content["k2"], content["p1"], content["p2"])
    full = Camera(int(content["w"]), int(content["h"]), content["fl_x"], content["fl_y"], content["cx"], content["cy"],
                  distortion)  # fmt: skip
    photos = []
    for frame in sorted(content["frames"], key=lambda entry: entry["file_path"]):
        path = folder / frame["file_path"]
        if not path.exists():  # the list names more views than there are photographs
            continue
        image = np.asarray(cv2.resize(images.load(path), FOX_SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        allowed = np.zeros(image.shape[:2], bool)
        allowed[96:-96, 54:-54] = True
        pose = Pose.from_opengl_camera_to_world(np.array(frame["transform_matrix"]))
        photos.append(Photo(image, full.resized(*FOX_SIZE), pose, allowed))
    return photos


def read_fox_part(folder: Path) -> list[Photo]:
    """The same views; a defect may lie on the fox alone, within outlines that were drawn by hand."""
    photos = read_fox(folder)
    for photo, outline in zip(photos[HELD_OUT // 2 :: HELD_OUT], FOX_OUTLINES, strict=True):
        corners = np.array([corner.split(",") for corner in outline.split()], np.int32)
        photo.allowed[:] &= cv2.fillPoly(np.zeros(photo.allowed.shape, np.uint8), [corners], 1) > 0
    return photos


def stain(photo: Photo, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A ragged patch of colour that keeps the light and shade below it, or a smudge drawn out to one side."""
    image = photo.image.astype(np.float32)
    x, y = _place(photo, rng)
    unit = _unit(photo)
    alpha = _blob(image.shape[:2], x, y, unit * rng.uniform(0.018, 0.036), rng)
    if rng.random() < 0.4:
        alpha = _smeared(alpha, int(unit * rng.uniform(0.02, 0.05)), rng.uniform(0, np.pi))
    grey = cv2.cvtColor(photo.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    shade = np.clip(grey / max(30.0, float(np.median(grey[alpha > 0.3]))), 0.4, 1.6)[..., None]
    colour = np.array(COLOURS[rng.integers(len(COLOURS))], np.float32)
    weight = (alpha * rng.uniform(0.6, 0.95))[..., None]
    return _bytes(image * (1 - weight) + weight * colour * shade), alpha > 0.3


def scratch(photo: Photo, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A thin bent line, bright or dark, with a shadow along one side."""
    image = photo.image.astype(np.float32)
    unit = _unit(photo)
    points = [np.array(_place(photo, rng), np.float64)]
    heading = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(2, 5)):
        heading += rng.uniform(-0.35, 0.35)
        points.append(points[-1] + unit * rng.uniform(0.02, 0.05) * np.array([np.cos(heading), np.sin(heading)]))
    line = np.round(np.array(points) * 16).astype(np.int32)  # 4 binary digits after the point
    canvas = np.zeros((4 * image.shape[0], 4 * image.shape[1]), np.uint8)
    width = max(4, round(4 * unit * rng.uniform(0.0022, 0.0042)))
    cv2.polylines(canvas, [line * 4], False, 255, width, cv2.LINE_AA, 4)
    alpha = cv2.resize(canvas, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    alpha *= 0.75 + 0.25 * _noise(alpha.shape, unit * 0.008, rng)
    local = image[alpha > 0.3].mean(axis=0)
    target = np.minimum(local * 1.25 + 70, 250) if local.mean() < 130 or rng.random() < 0.3 else local * 0.35
    shadow = np.roll(alpha, (1, 1), axis=(0, 1))[..., None] * 0.25
    weight = alpha[..., None] * rng.uniform(0.75, 0.95)
    return _bytes(image * (1 - shadow) * (1 - weight) + weight * target), alpha > 0.3


def burr(photo: Photo, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A lump of the same material: texture from elsewhere, cloned in (Perez et al. 2003) and shaded as a bump."""
    unit = _unit(photo)
    x, y = _place(photo, rng)
    u, v = _place(photo, rng)
    size = int(unit * 0.06)
    height, width = photo.image.shape[:2]
    if min(u, v, x, y) < size or max(u, x) >= width - size or max(v, y) >= height - size:
        return photo.image, np.zeros((height, width), bool)
    alpha = _blob((height, width), x, y, unit * rng.uniform(0.014, 0.03), rng)
    mask = alpha > 0.3
    window = np.s_[y - size : y + size + 1, x - size : x + size + 1]
    patch = np.ascontiguousarray(photo.image[v - size : v + size + 1, u - size : u + size + 1])
    stencil = cv2.dilate(mask[window].astype(np.uint8) * 255, np.ones((3, 3), np.uint8))
    cloned = cv2.seamlessClone(patch, photo.image, stencil, _centre_for(stencil, x, y, size), cv2.NORMAL_CLONE)
    bump = cv2.GaussianBlur(
        np.maximum(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), 0), (0, 0), unit * 0.004
    )
    slope_x, slope_y = cv2.Sobel(bump, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(bump, cv2.CV_32F, 0, 1, scale=0.25)
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + 0.6 * (np.cos(angle) * slope_x + np.sin(angle) * slope_y)
    blend = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None]
    lit = cloned.astype(np.float32) * np.clip(light, 0.35, 1.5)[..., None]
    return _bytes(photo.image * (1 - blend) + lit * blend), mask


def missing(photo: Photo, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A detail that is gone: painted over from its surroundings (Telea 2004) where there was much detail."""
    grey = cv2.cvtColor(photo.image, cv2.COLOR_RGB2GRAY)
    detail = cv2.GaussianBlur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (0, 0), _unit(photo) * 0.012)
    x, y = max((_place(photo, rng) for _ in range(8)), key=lambda place: detail[place[1], place[0]])
    alpha = _blob(grey.shape, x, y, _unit(photo) * rng.uniform(0.022, 0.038), rng)
    mask = alpha > 0.3
    filled = cv2.inpaint(photo.image, mask.astype(np.uint8) * 255, 4, cv2.INPAINT_TELEA).astype(np.float32)
    grain = rng.normal(0, 1.5, (*grey.shape, 1)).astype(np.float32)
    blend = mask.astype(np.float32)[..., None]
    return _bytes(photo.image * (1 - blend) + (filled + grain) * blend), mask


KINDS: dict[str, Callable[[Photo, np.random.Generator], tuple[Image, Mask]]] = {
    "Stains": stain,
    "Scratches": scratch,
    "Burrs": burr,
    "Missing": missing,
}


def edit(photo: Photo, kind: str, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Draws edits of the given kind until one keeps the limits; a mask lies where a defect may lie, but for its rim."""
    limits = Limits(round(_unit(photo)))
    for _ in range(MAX_DRAWS):
        image, mask = KINDS[kind](photo, rng)
        area = int(np.count_nonzero(mask))
        inside = np.count_nonzero(mask & photo.allowed) >= 0.95 * area
        if inside and limits.area_fits(area) and limits.visible(mask, photo.image, image):
            return image, mask
    raise InputError(f"no place for {kind} in {MAX_DRAWS} draws")


def write_dataset(photos: list[Photo], out: Path, name: str, seed: int) -> None:
    """Writes one data set in the MAD layout, with the intrinsics of every frame."""
    train = [photo for k, photo in enumerate(photos) if k % HELD_OUT != HELD_OUT // 2]
    held = photos[HELD_OUT // 2 :: HELD_OUT]
    frames, truth = [], []
    for k, photo in enumerate(train):
        images.save(out / f"train/good/{k}.png", photo.image)
        frames.append(_frame(f"train/good/{k}.png", photo))
    for k, photo in enumerate(held):
        images.save(out / f"test/good/{k}.png", photo.image)
        truth.append(_frame(f"test/good/{k}.png", photo))
        for kind in KINDS:
            rng = np.random.default_rng([seed, zlib.crc32(f"{name}/{kind}".encode()), k])
            image, mask = edit(photo, kind, rng)
            images.save(out / f"test/{kind}/{k}.png", image)
            target = out / f"ground_truth/{kind}/{k}_mask.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), mask.astype(np.uint8) * 255)
            truth.append(_frame(f"test/{kind}/{k}.png", photo))
    angle = 2 * np.arctan(0.5 * photos[0].camera.width / photos[0].camera.fx)
    for path, entries in ((out / "transforms.json", frames), (out / "test_poses.json", truth)):
        path.write_text(json.dumps({"camera_angle_x": float(angle), "frames": entries}, indent=1) + "\n")
    print(f"{out}: {len(train)} reference views, {len(held)} held out, {len(held)} of each of {', '.join(KINDS)}")


def _frame(name: str, photo: Photo) -> dict[str, object]:
    c = photo.camera
    intrinsics = {"fl_x": c.fx, "fl_y": c.fy, "cx": c.cx, "cy": c.cy, "w": c.width, "h": c.height}
    if c.distorted:
        intrinsics |= dict(zip(("k1", "k2", "p1", "p2"), c.distortion))
    matrix = photo.pose.to_opengl_camera_to_world().tolist()
    return {"file_path": name, **intrinsics, "transform_matrix": matrix}


def _unit(photo: Photo) -> float:
    """The side of a square image with as many pixels."""
    return float(np.sqrt(photo.camera.width * photo.camera.height))


def _place(photo: Photo, rng: np.random.Generator) -> tuple[int, int]:
    """A random pixel (x, y) where a defect may lie."""
    rows, columns = np.nonzero(photo.allowed)
    k = int(rng.integers(len(rows)))
    return int(columns[k]), int(rows[k])


def _noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> Field:
    """Smooth noise of mean 0 and deviation 1 with features of `scale` pixels."""
    small = rng.normal(size=(max(2, int(shape[0] / scale)), max(2, int(shape[1] / scale)))).astype(np.float32)
    return np.asarray(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _blob(shape: tuple[int, ...], x: int, y: int, radius: float, rng: np.random.Generator) -> Field:
    """Opacity 0..1 of a patch with a ragged soft edge."""
    columns, rows = np.meshgrid(np.arange(shape[1]) - x, np.arange(shape[0]) - y)
    turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.6, 1.0)
    a = np.cos(turn) * columns + np.sin(turn) * rows
    b = (np.cos(turn) * rows - np.sin(turn) * columns) / squeeze
    ragged = 0.22 * _noise(shape, radius * 0.7, rng) + 0.08 * _noise(shape, radius * 0.25, rng)
    edge = (1.0 + ragged - np.hypot(a, b) / radius) / 0.25
    alpha = np.clip(edge + 0.5, 0, 1) * (np.hypot(a, b) < 2 * radius)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 0).astype(np.uint8))
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if len(stats) > 1 else 0
    return np.asarray(alpha * (labels == largest), np.float32)


def _smeared(alpha: Field, length: int, angle: float) -> Field:
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    tip = (round(length + length * np.cos(angle)), round(length + length * np.sin(angle)))
    cv2.line(kernel, (length, length), tip, 1.0, 2)
    smear = cv2.filter2D(alpha, -1, kernel / kernel.sum())
    return np.asarray(smear / max(float(smear.max()), 1e-6), np.float32)


def _centre_for(stencil: NDArray[np.uint8], x: int, y: int, size: int) -> tuple[int, int]:
    """Where seamlessClone must put the box of the stencil so that its window lands on (x, y)."""
    rows, columns = np.nonzero(stencil)
    left, top = x - size + int(columns.min()), y - size + int(rows.min())
    return left + (int(np.ptp(columns)) + 1) // 2, top + (int(np.ptp(rows)) + 1) // 2


def _bytes(image: NDArray[np.floating]) -> Image:
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


READERS = {"temple_ring": read_temple, "fox": read_fox, "fox_part": read_fox_part}
FOLDERS = {"fox_part": "fox"}  # of the shared data, where it is not the name


def main() -> int:
    parser = option_parser(__doc__, "out")
    parser.add_argument("--only", choices=READERS, help="one of them")
    parser.add_argument("--seed", type=int, default=0)
    add_shared(parser)
    arguments = parser.parse_args()
    data = arguments.shared / "data"
    try:
        for name, read in READERS.items():
            if arguments.only in (None, name):
                folder = data / FOLDERS.get(name, name)
                if not folder.is_dir():
                    raise InputError(f"no photographs at {folder}; set PAD_SHARED to the shared data")
                write_dataset(read(folder), arguments.out / name, name, arguments.seed)
    except PadError as error:
        print(f"edited_photos: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
