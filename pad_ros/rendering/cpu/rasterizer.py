"""The CPU rasterizer: NumPy arrays in, the Numba kernels in order, gradients out. One camera at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...compute.threads import for_each, thread_count
from . import harmonics, tiles
from . import project as projection
from . import raster as compositing

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

CHUNK = 2048  # Gaussians per task; fixed, so that sums do not depend on the number of threads


@dataclass(frozen=True, eq=False)
class PinholeView:
    """Camera, window and limits of one rendering. `lens`: see `_cpu_project`."""

    viewmat: Doubles  # [4, 4]
    lens: Doubles  # [8]
    width: int
    height: int
    near: float
    far: float
    eps2d: float

    @staticmethod
    def of(viewmat: Floats, intrinsics: Floats, size: tuple[int, int], window: tuple[int, int, int, int],
           near: float, far: float, eps2d: float) -> PinholeView:  # fmt: skip
        """`size` is (width, height) of the image that `intrinsics` [3, 3] belong to, `window` the part rendered."""
        k = intrinsics.astype(np.float64)
        limits = []
        for axis in (0, 1):
            focal, centre, extent = k[axis, axis], k[axis, 2], size[axis]
            margin = 0.3 * 0.5 * extent / focal
            limits += [-(centre / focal + margin), (extent - centre) / focal + margin]
        x0, y0, width, height = window
        lens = np.array([k[0, 0], k[1, 1], k[0, 2] - x0, k[1, 2] - y0, *limits])
        return PinholeView(viewmat.astype(np.float64), lens, width, height, near, far, eps2d)

    @property
    def centre(self) -> Doubles:
        """Camera centre [3] in the part frame."""
        return np.ascontiguousarray(np.linalg.inv(self.viewmat)[:3, 3])


@dataclass(frozen=True, eq=False)
class Projected:
    """The Gaussians in the image; rows of those with radii 0 (not visible) are 0."""

    means2d: Floats  # [N, 2] pixels of the window
    depths: Floats  # [N]
    conics: Floats  # [N, 3] inverse covariance (xx, xy, yy)
    radii: NDArray[np.int32]  # [N, 2]
    colors: Floats  # [N, C]


@dataclass(frozen=True, eq=False)
class Composited:
    """The picture and what its backward pass needs."""

    image: Floats  # [H, W, C (+ 1: accumulated depth)]
    transmittances: Floats  # [H, W]
    with_depth: bool
    order: NDArray[np.int32]
    offsets: NDArray[np.int64]
    tile_offsets: NDArray[np.int64]
    tile_gaussians: NDArray[np.int32]
    places: NDArray[np.int32]
    stops: NDArray[np.int64]
    packed: Floats
    sorted_colors: Floats


@dataclass(frozen=True, eq=False)
class ProjectedGradients:
    """Gradients with respect to `Projected` (same shapes) and the opacities [N]."""

    means2d: Floats
    depths: Floats
    conics: Floats
    colors: Floats
    opacities: Floats


@dataclass(frozen=True, eq=False)
class GaussianGradients:
    """Gradients with respect to the Gaussians (their shapes) and the camera pose, viewmat [4, 4]."""

    means: Floats
    quats: Floats
    scales: Floats
    sh: Floats | None
    viewmat: Doubles


def _chunks(count: int) -> int:
    return (count + CHUNK - 1) // CHUNK


def project(view: PinholeView, means: Floats, quats: Floats, scales: Floats, opacities: Floats,
            sh: Floats | None, sh_degree: int, features: Floats | None) -> Projected:  # fmt: skip
    """Colours are those of `sh` [N, K, 3] seen from the camera, if given, followed by `features` [N, F]."""
    n = len(means)
    means2d, depths = np.zeros((n, 2), np.float32), np.zeros(n, np.float32)
    conics, radii = np.zeros((n, 3), np.float32), np.zeros((n, 2), np.int32)
    if sh is None:
        assert features is not None
        colors = features
    else:
        colors = np.zeros((n, 3 + (0 if features is None else features.shape[1])), np.float32)
        if features is not None:
            colors[:, 3:] = features
    centre = view.centre

    def task(chunk: int) -> None:
        begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, n)
        projection.project_forward(
            begin, end, means, quats, scales, opacities, view.viewmat, view.lens, view.width, view.height,
            view.near, view.far, view.eps2d, means2d, depths, conics, radii,
        )  # fmt: skip
        if sh is not None:
            harmonics.colors_forward(begin, end, sh_degree, means, centre, sh, radii, colors)

    for_each(task, _chunks(n))
    return Projected(means2d, depths, conics, radii, colors)


def project_backward(view: PinholeView, means: Floats, quats: Floats, scales: Floats, sh: Floats | None,
                     sh_degree: int, projected: Projected, v_means2d: Floats, v_depths: Floats, v_conics: Floats,
                     v_colors: Floats) -> GaussianGradients:  # fmt: skip
    """The backward pass of `project`; the gradient of `features` is the rest of v_colors [N, C]."""
    n, count = len(means), _chunks(len(means))
    v_means, v_quats, v_scales = np.zeros_like(means), np.zeros_like(quats), np.zeros_like(scales)
    v_sh = None if sh is None else np.zeros_like(sh)
    v_views, v_centres = np.zeros((count, 3, 4)), np.zeros((count, 3))
    centre = view.centre

    def task(chunk: int) -> None:
        begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, n)
        projection.project_backward(
            begin, end, means, quats, scales, view.viewmat, view.lens, view.eps2d, projected.radii,
            v_means2d, v_depths, v_conics, v_means, v_quats, v_scales, v_views[chunk],
        )  # fmt: skip
        if sh is not None:
            harmonics.colors_backward(
                begin, end, sh_degree, means, centre, sh, projected.radii, projected.colors, v_colors,
                v_sh, v_means, v_centres[chunk],
            )  # fmt: skip

    for_each(task, count)
    v_viewmat = np.zeros((4, 4))
    v_viewmat[:3] = v_views.sum(axis=0)
    # The centre is -R^-1 t: d(centre) = -R^-1 (dR centre + dt).
    pull = -np.linalg.inv(view.viewmat[:3, :3]).T @ v_centres.sum(axis=0)
    v_viewmat[:3] += np.outer(pull, np.append(centre, 1.0))
    return GaussianGradients(v_means, v_quats, v_scales, v_sh, v_viewmat)


def composite(view: PinholeView, projected: Projected, opacities: Floats, background: Floats | None,
              with_depth: bool) -> Composited:  # fmt: skip
    """`background` [C]; with_depth appends the accumulated depth as a channel (background 0)."""
    width, height = view.width, view.height
    channels = projected.colors.shape[1]
    order = tiles.depth_order(projected.depths, projected.radii[:, 0])
    packed = np.empty((len(order), 8), np.float32)
    sorted_colors = np.empty((len(order), channels + with_depth), np.float32)

    def prepare(chunk: int) -> None:
        tiles.gather(
            chunk * CHUNK, min((chunk + 1) * CHUNK, len(order)), order, projected.means2d, projected.conics,
            projected.radii, opacities, projected.colors, projected.depths, with_depth, packed, sorted_colors,
        )  # fmt: skip

    for_each(prepare, _chunks(len(order)))
    in_order = np.arange(len(order), dtype=np.int32)
    offsets, tile_offsets, tile_gaussians, places = tiles.sort_by_tile(in_order, packed, width, height)
    stops = np.empty(len(tile_offsets) - 1, np.int64)
    back = np.zeros(channels + with_depth, np.float32)
    if background is not None:
        back[:channels] = background
    image = np.empty((height, width, channels + with_depth), np.float32)
    transmittances = np.empty((height, width), np.float32)
    ranges = balanced(tile_offsets)

    def task(k: int) -> None:
        compositing.raster_forward(
            ranges[k], ranges[k + 1], tile_offsets, tile_gaussians, packed, sorted_colors, back,
            image, transmittances, stops,
        )  # fmt: skip

    for_each(task, len(ranges) - 1)
    return Composited(image, transmittances, with_depth, order, offsets, tile_offsets, tile_gaussians,
                      places, stops, packed, sorted_colors)  # fmt: skip


def composite_backward(done: Composited, projected: Projected, opacities: Floats, v_image: Floats,
                       v_alpha: Floats) -> ProjectedGradients:  # fmt: skip
    """From the gradients of the image [H, W, C (+ 1)] and of alpha = 1 - transmittance [H, W]."""
    n, channels = projected.colors.shape
    v_entries = np.empty(len(done.places) * compositing.entry_stride(channels + done.with_depth), np.float32)
    ranges = balanced(done.tile_offsets)

    def task(k: int) -> None:
        compositing.raster_backward(
            ranges[k], ranges[k + 1], done.tile_offsets, done.tile_gaussians, done.packed,
            done.sorted_colors, done.image, done.transmittances, done.stops,
            v_image, v_alpha, v_entries,
        )  # fmt: skip

    for_each(task, len(ranges) - 1)
    out = ProjectedGradients(np.zeros((n, 2), np.float32), np.zeros(n, np.float32), np.zeros((n, 3), np.float32),
                             np.zeros((n, channels), np.float32), np.zeros(n, np.float32))  # fmt: skip
    visible = len(done.order)

    def reduce(chunk: int) -> None:
        compositing.reduce_entries(
            chunk * CHUNK, min((chunk + 1) * CHUNK, visible), done.order, done.offsets, done.places, v_entries,
            done.packed, opacities, done.with_depth, out.means2d, out.conics, out.opacities, out.colors, out.depths,
        )  # fmt: skip

    for_each(reduce, _chunks(visible))
    return out


def balanced(tile_offsets: NDArray[np.int64]) -> list[int]:
    """Borders of runs of tiles of about equal work, a few per thread."""
    work = tile_offsets[1:] + 64 * np.arange(1, len(tile_offsets))  # an empty tile costs something too
    parts = min(len(work), 1 if thread_count() == 1 else 6 * thread_count())
    cuts = np.searchsorted(work, work[-1] * np.arange(1, parts) / parts)
    return [0, *(int(c) for c in cuts), len(work)]
