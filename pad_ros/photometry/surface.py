"""The surface that a rendering shows: where its points lie and which way it faces, from the rendered depth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compute.threads import in_bands, kernel
from ..rendering.result import ReferenceRendering

Floats = NDArray[np.float32]

SMOOTH = 1.5  # px, of the depth that normals are taken from


@dataclass(frozen=True, eq=False)
class Surface:
    """Of a rendering's window [H, W]: depth (part units, smoothed) and unit normal in the camera's frame [H, W, 3]."""

    depth: Floats
    normal: Floats

    @staticmethod
    def of(rendering: ReferenceRendering) -> Surface:
        """rendering: a window, see `ReferenceRendering.cropped`; its camera is that of the window."""
        camera, alpha = rendering.camera, rendering.alpha
        weight = cv2.GaussianBlur(alpha, (0, 0), SMOOTH)
        depth = cv2.GaussianBlur(rendering.depth * alpha, (0, 0), SMOOTH) / np.maximum(weight, np.float32(1e-6))
        normal = np.empty((*depth.shape, 3), np.float32)
        intrinsics = camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5
        in_bands(lambda first, last: _normals(depth, *intrinsics, normal, first, last), len(depth))
        return Surface(depth, normal)


@kernel
def _normals(depth, fx, fy, cx, cy, out, first, last):  # type: ignore[no-untyped-def]
    """Unit normals [H, W, 3] towards the camera by differences of neighbouring points; at the border those next to it.

    Of the rows first..last.
    Pixel (x, y) at depth z is the point ((x - cx) / fx * z, (y - cy) / fy * z, z).
    """
    height, width = depth.shape
    for y in range(first, last):
        v = min(max(y, 1), height - 2)
        for x in range(width):
            u = min(max(x, 1), width - 2)
            left, right, above, below = depth[v, u - 1], depth[v, u + 1], depth[v - 1, u], depth[v + 1, u]
            ax = ((u + 1 - cx) * right - (u - 1 - cx) * left) / fx
            ay, az = (v - cy) / fy * (right - left), right - left
            bx, bz = (u - cx) / fx * (below - above), below - above
            by = ((v + 1 - cy) * below - (v - 1 - cy) * above) / fy
            nx, ny, nz = by * az - bz * ay, bz * ax - bx * az, bx * ay - by * ax
            scale = 1 / max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
            out[y, x, 0], out[y, x, 1], out[y, x, 2] = nx * scale, ny * scale, nz * scale
