"""Reference photographs seen from another pose: what a splat blurs, a photograph has.

The rendered depth says where each pixel's surface point lies; the views nearest to the pose are looked
up there, where their own depth says that they saw the point (image-based rendering with a depth test).
Where a photograph that passes this test contradicts the rendering, the depth is doubtful, as inside a plain bore:
there other photographs count as well, though their depth differs more, if photographs lie close together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..compute.simd import LANES, fma, lanes, load, splat, store
from ..compute.threads import kernel
from ..errors import InputError, ModelError
from ..imaging.geometry import Camera, Pose

PHOTOGRAPHS_FILE = "photographs.safetensors"
DEPTH_TOLERANCE = 0.0075  # of the distance to the part: how far a view's depth may be off and still show the point
DOUBTFUL_TOLERANCE = 0.075  # the same where the depth is doubtful
CONTRADICTION = 0.12  # difference (0..1) between rendering and photograph around a pixel that makes its depth doubtful
DOUBTFUL_REACH = 3  # px around such a pixel
NEIGHBOURS, CLOSE = 4, math.radians(25.0)  # so many views lie no farther beside a view: some 60 around the part

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_MEAN = np.full((1, 3), 1 / (3 * 255), np.float32)  # of the channels


@dataclass(frozen=True, eq=False)
class Photograph:
    """The part's window of one reference view."""

    name: str
    image: Pixels  # [h, w, 3]
    depth: NDArray[np.float16]  # [h, w] rendered, along z in part units, 0 off the part
    camera: Camera  # of the window
    pose: Pose

    @cached_property
    def depths(self) -> Floats:
        """`depth` in the precision that it is compared in."""
        return self.depth.astype(np.float32)


def directions(photographs: Sequence[Photograph], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """From where each photograph was taken, seen from `centre` [3]: unit vectors [K, 3]."""
    offsets = np.array([photograph.pose.centre - centre for photograph in photographs]).reshape(-1, 3)
    return offsets / np.maximum(np.linalg.norm(offsets, axis=1, keepdims=True), 1e-12)


def close_together(seen_from: NDArray[np.float64]) -> bool:
    """Whether views from these directions [K, 3] usually have neighbours that show nearly the same."""
    if len(seen_from) <= NEIGHBOURS:
        return False
    own_and_near = 1 + NEIGHBOURS
    cosines = np.partition(seen_from @ seen_from.T, -own_and_near, axis=1)[:, -own_and_near]
    return bool(np.median(cosines) >= math.cos(CLOSE))


def warp(photograph: Photograph, depth: Floats, alpha: Floats, camera: Camera, pose: Pose) -> tuple[Pixels, Mask, Mask]:
    """The photograph's colours [H, W, 3] at the pixels of a rendering with `depth` and `alpha` [H, W], where it saw
    them [H, W], and where it did if the depth is doubtful [H, W]."""
    colours = np.zeros((*depth.shape, 3), np.uint8)
    seen, perhaps = np.zeros(depth.shape, np.bool_), np.zeros(depth.shape, np.bool_)
    distance = np.linalg.norm(photograph.pose.translation)
    tolerance, doubtful = (np.float32(t * distance) for t in (DEPTH_TOLERANCE, DOUBTFUL_TOLERANCE))
    transform = (photograph.pose @ pose.inverse()).matrix
    # Pixel (x, y, 1) at depth z lies at turned @ (x, y, 1) * z + moved in homogeneous pixels of the photograph.
    half = np.eye(3)
    half[:2, 2] = 0.5
    source = np.linalg.inv(half) @ photograph.camera.K
    turned = (source @ transform[:3, :3] @ np.linalg.inv(camera.K) @ half).astype(np.float32)
    moved = (source @ transform[:3, 3]).astype(np.float32)
    _warp(depth, alpha, turned, moved, photograph.image, photograph.depths, tolerance, doubtful, colours, seen, perhaps)
    return colours, seen, perhaps


def mean_difference(photograph: Pixels, rgb: Pixels) -> Floats:
    """Mean absolute difference [H, W] (0..1) of the colours of two images [H, W, 3]."""
    return np.asarray(cv2.transform(cv2.absdiff(photograph, rgb).astype(np.float32), _MEAN))


def doubtful_depth(rgb: Pixels, photographs: Pixels, seen: Mask) -> Mask:
    """Where [H, W] a rendering [H, W, 3] is contradicted by photographs [K, H, W, 3] that saw the point."""
    doubtful = np.zeros(rgb.shape[:2], np.uint8)
    for photograph, of_point in zip(photographs, seen, strict=True):
        difference = mean_difference(photograph, rgb)
        difference[~of_point] = 0
        doubtful |= (cv2.blur(difference, (3, 3)) > CONTRADICTION).view(np.uint8)
    return np.asarray(cv2.dilate(doubtful, np.ones((2 * DOUBTFUL_REACH + 1,) * 2, np.uint8)) > 0)


@kernel
def _warp(depth, alpha, turned, moved, image, view_depth, tolerance, doubtful, colours, seen, perhaps):  # type: ignore[no-untyped-def]
    height, width = view_depth.shape
    columns = depth.shape[1]
    pixels, depths = image.reshape(-1), view_depth.reshape(-1)
    at = np.zeros((4, columns + LANES), np.float32)  # depth here; column, row, and depth in the photograph
    one, half = np.float32(1), np.float32(0.5)
    # Unsigned: of signed indices Numba asks whether they count from the end.
    first, three, next_row = np.uint64(1), np.uint64(3), np.uint64(width)
    for y in range(depth.shape[0]):
        for x in range(columns):
            at[0, x] = np.float32(0) if alpha[y, x] < half else depth[y, x]
        _look_up(at, turned, moved, np.float32(y))
        for x in range(columns):
            u, v, q = at[1, x], at[2, x], at[3, x]
            if not (at[0, x] > 0 and q > tolerance and u >= 0 and v >= 0 and u < width - 1 and v < height - 1):
                continue
            i, j = int(u), int(v)
            k = np.uint64(j * width + i)
            nearest = min(min(abs(depths[k] - q), abs(depths[k + first] - q)),
                          min(abs(depths[k + next_row] - q), abs(depths[k + next_row + first] - q)))  # fmt: skip
            if nearest > doubtful:  # where the photograph shows no part its depth is 0
                continue
            a, b = u - np.float32(i), v - np.float32(j)
            k, below = three * k, three * (k + next_row)
            for c in range(3):
                s = np.uint64(c)
                top = (one - a) * np.float32(pixels[k + s]) + a * np.float32(pixels[k + s + three])
                bottom = (one - a) * np.float32(pixels[below + s]) + a * np.float32(pixels[below + s + three])
                colours[y, x, c] = np.uint8((one - b) * top + b * bottom + half)
            seen[y, x], perhaps[y, x] = nearest <= tolerance, True


@kernel
def _look_up(at, turned, moved, y):  # type: ignore[no-untyped-def]
    """Where the points of a row lie in the photograph."""
    stride = at.shape[1]
    a0 = splat(turned[0, 1] * y + turned[0, 2])
    a1 = splat(turned[1, 1] * y + turned[1, 2])
    a2 = splat(turned[2, 1] * y + turned[2, 2])
    for i in range(0, stride - LANES, LANES):
        x, z = splat(np.float32(i)) + lanes(), load(at, i)
        q = fma(fma(splat(turned[2, 0]), x, a2), z, splat(moved[2]))
        inverse = splat(np.float32(1)) / q
        store(at, stride + i, fma(fma(splat(turned[0, 0]), x, a0), z, splat(moved[0])) * inverse)
        store(at, 2 * stride + i, fma(fma(splat(turned[1, 0]), x, a1), z, splat(moved[1])) * inverse)
        store(at, 3 * stride + i, q)


def save_photographs(photographs: Sequence[Photograph], path: Path) -> None:
    """Write one file of all photographs."""
    tensors: dict[str, NDArray[np.generic]] = {
        "poses": np.array([p.pose.matrix for p in photographs], np.float64).reshape(-1, 4, 4),
        "cameras": np.array(
            [[p.camera.fx, p.camera.fy, p.camera.cx, p.camera.cy] for p in photographs], np.float64
        ).reshape(-1, 4),
    }
    for i, photograph in enumerate(photographs):
        tensors[f"image.{i}"] = np.ascontiguousarray(photograph.image)
        tensors[f"depth.{i}"] = np.ascontiguousarray(photograph.depth)
    save_file(tensors, path, metadata={"names": json.dumps([p.name for p in photographs])})


def load_photographs(path: Path) -> tuple[Photograph, ...]:
    """Read what `save_photographs` wrote; ModelError where it is damaged."""
    try:
        with safe_open(path, "numpy") as file:
            poses, cameras = file.get_tensor("poses"), file.get_tensor("cameras")
            names = json.loads((file.metadata() or {})["names"])
            read = [
                (str(names[i]), file.get_tensor(f"image.{i}"), file.get_tensor(f"depth.{i}")) for i in range(len(poses))
            ]
    except (OSError, SafetensorError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    if poses.shape != (len(read), 4, 4) or cameras.shape != (len(read), 4):
        raise ModelError(f"{path}: poses and cameras of the photographs do not fit")
    return tuple(
        _checked(path, name, image, depth, camera, pose)
        for (name, image, depth), camera, pose in zip(read, cameras, poses, strict=True)
    )


def _checked(
    path: Path, name: str, image: Pixels, depth: NDArray[np.float16], camera: Floats, pose: NDArray[np.float64]
) -> Photograph:
    sound = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and depth.shape == image.shape[:2]
    if not sound or depth.dtype != np.float16 or not np.all(np.isfinite(depth)):
        raise ModelError(f"{path}: photograph {name} is damaged")
    fx, fy, cx, cy = (float(x) for x in camera)
    try:
        return Photograph(name, image, depth, Camera(image.shape[1], image.shape[0], fx, fy, cx, cy), Pose(pose))
    except InputError as error:
        raise ModelError(f"{path}: photograph {name}: {error}") from error
