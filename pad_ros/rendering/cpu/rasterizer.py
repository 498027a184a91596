"""The CPU rasterizer: NumPy arrays in, the Numba kernels in order, gradients out. One camera at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...compute.threads import for_each, thread_count
from ...imaging.rect import Rect
from . import harmonics, tiles
from . import project as projection
from . import raster as compositing

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

GAUSSIANS_PER_TASK = 2048  # fixed, so that sums do not depend on the number of threads


@dataclass(frozen=True, eq=False)
class PinholeView:
    """Camera, window and limits of one rendering. `intrinsics`: the camera vector of `project`."""

    viewmat: Doubles  # [4, 4]
    intrinsics: Doubles  # [8]
    width: int
    height: int
    near: float
    far: float
    eps2d: float

    @staticmethod
    def of(viewmat: Floats, K: Floats, size: tuple[int, int], window: Rect, planes: tuple[float, float],
           eps2d: float) -> PinholeView:  # fmt: skip
        """`size`: (width, height) of the image that K [3, 3] belongs to; `window`: what of it is rendered."""
        k = K.astype(np.float64)
        limits = []
        for axis in (0, 1):
            focal, centre, extent = k[axis, axis], k[axis, 2], size[axis]
            margin = 0.3 * 0.5 * extent / focal
            limits += [-(centre / focal + margin), (extent - centre) / focal + margin]
        intrinsics = np.array([k[0, 0], k[1, 1], k[0, 2] - window.x0, k[1, 2] - window.y0, *limits])
        return PinholeView(viewmat.astype(np.float64), intrinsics, window.width, window.height, *planes, eps2d)

    @property
    def centre(self) -> Doubles:
        """Camera centre [3] in the part frame."""
        return np.ascontiguousarray(np.linalg.inv(self.viewmat)[:3, 3])


@dataclass(frozen=True, eq=False)
class Splats:
    """What is rendered. Its colours: those of `sh` up to `sh_degree`, if given, followed by `features`."""

    means: Floats  # [N, 3]
    quats: Floats  # [N, 4]
    scales: Floats  # [N, 3]
    opacities: Floats  # [N]
    sh: Floats | None  # [N, K, 3]
    sh_degree: int
    features: Floats | None  # [N, F]


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
    """The image and what its backward pass needs."""

    image: Floats  # [H, W, C (+ 1: accumulated depth)]
    transmittances: Floats  # [H, W]
    with_depth: bool
    order: NDArray[np.int32]  # [V] visible Gaussians, nearest first
    offsets: NDArray[np.int64]  # this and the next ones: see `tiles.sort_by_tile`
    tile_offsets: NDArray[np.int64]
    tile_gaussians: NDArray[np.int32]
    places: NDArray[np.int32]
    stops: NDArray[np.int64]
    packed: Floats
    sorted_colors: Floats


def _by_gaussians(task: Callable[[int, int], None], count: int) -> None:
    """task(begin, end) for runs of GAUSSIANS_PER_TASK, over the threads."""
    step = GAUSSIANS_PER_TASK
    for_each(lambda k: task(k * step, min((k + 1) * step, count)), -(-count // step))


def by_tiles(task: Callable[[int, int], None], tile_offsets: NDArray[np.int64]) -> None:
    """task(begin, end) for runs of tiles of about equal work, a few per thread."""
    work = tile_offsets[1:] + 64 * np.arange(1, len(tile_offsets))  # an empty tile costs something too
    parts = min(len(work), 1 if thread_count() == 1 else 6 * thread_count())
    cuts = np.searchsorted(work, work[-1] * np.arange(1, parts) / parts)
    ends = [0, *(int(c) for c in cuts), len(work)]
    for_each(lambda k: task(ends[k], ends[k + 1]), len(ends) - 1)


def project(view: PinholeView, splats: Splats) -> Projected:
    """The Gaussians as the camera sees them, with their colours from there."""
    s, n, centre = splats, len(splats.means), view.centre
    means2d, depths = np.zeros((n, 2), np.float32), np.zeros(n, np.float32)
    conics, radii = np.zeros((n, 3), np.float32), np.zeros((n, 2), np.int32)
    if s.sh is None:
        assert s.features is not None
        colors = s.features
    else:
        colors = np.zeros((n, 3 + (0 if s.features is None else s.features.shape[1])), np.float32)
        if s.features is not None:
            colors[:, 3:] = s.features

    def task(begin: int, end: int) -> None:
        projection.project_forward(
            begin, end, s.means, s.quats, s.scales, s.opacities, view.viewmat, view.intrinsics, view.width,
            view.height, view.near, view.far, view.eps2d, means2d, depths, conics, radii,
        )  # fmt: skip
        if s.sh is not None:
            harmonics.colors_forward(begin, end, s.sh_degree, s.means, centre, s.sh, radii, colors)

    _by_gaussians(task, n)
    return Projected(means2d, depths, conics, radii, colors)


def project_backward(  # parameters: what `project` took and gave, and a gradient for each array of the latter
    view: PinholeView, splats: Splats, radii: NDArray[np.int32], colors: Floats,
    v_means2d: Floats, v_depths: Floats, v_conics: Floats, v_colors: Floats,
) -> tuple[Floats, Floats, Floats, Floats | None, Doubles]:  # fmt: skip
    """The backward pass of `project`: gradients of means, quats, scales and sh (their shapes), and of viewmat [4, 4].

    That of the features is the rest of v_colors [N, C].
    """
    s, n, centre = splats, len(splats.means), view.centre
    v_means, v_quats, v_scales = np.zeros_like(s.means), np.zeros_like(s.quats), np.zeros_like(s.scales)
    v_sh = None if s.sh is None else np.zeros_like(s.sh)
    tasks = -(-n // GAUSSIANS_PER_TASK)
    v_views, v_centres = np.zeros((tasks, 3, 4)), np.zeros((tasks, 3))

    def task(begin: int, end: int) -> None:
        number = begin // GAUSSIANS_PER_TASK
        projection.project_backward(
            begin, end, s.means, s.quats, s.scales, view.viewmat, view.intrinsics, view.eps2d, radii,
            v_means2d, v_depths, v_conics, v_means, v_quats, v_scales, v_views[number],
        )  # fmt: skip
        if s.sh is not None:
            harmonics.colors_backward(
                begin, end, s.sh_degree, s.means, centre, s.sh, radii, colors, v_colors, v_sh, v_means,
                v_centres[number],
            )  # fmt: skip

    _by_gaussians(task, n)
    v_viewmat = np.zeros((4, 4))
    v_viewmat[:3] = v_views.sum(axis=0)
    # The centre is -R^-1 t: d(centre) = -R^-1 (dR centre + dt).
    pull = -np.linalg.inv(view.viewmat[:3, :3]).T @ v_centres.sum(axis=0)
    v_viewmat[:3] += np.outer(pull, np.append(centre, 1.0))
    return v_means, v_quats, v_scales, v_sh, v_viewmat


def composite(view: PinholeView, projected: Projected, opacities: Floats, background: Floats | None,
              with_depth: bool) -> Composited:  # fmt: skip
    """`background` [C]; with_depth appends the accumulated depth as a channel (background 0)."""
    width, height = view.width, view.height
    channels = projected.colors.shape[1]
    order = tiles.depth_order(projected.depths, projected.radii[:, 0])
    packed = np.empty((len(order), 8), np.float32)
    sorted_colors = np.empty((len(order), channels + with_depth), np.float32)
    _by_gaussians(lambda begin, end: tiles.gather(
        begin, end, order, projected.means2d, projected.conics, projected.radii, opacities, projected.colors,
        projected.depths, with_depth, packed, sorted_colors,
    ), len(order))  # fmt: skip
    in_order = np.arange(len(order), dtype=np.int32)
    offsets, tile_offsets, tile_gaussians, places = tiles.sort_by_tile(in_order, packed, width, height)
    stops = np.empty(len(tile_offsets) - 1, np.int64)
    behind = np.zeros(channels + with_depth, np.float32)
    if background is not None:
        behind[:channels] = background
    image = np.empty((height, width, channels + with_depth), np.float32)
    transmittances = np.empty((height, width), np.float32)
    by_tiles(lambda begin, end: compositing.raster_forward(
        begin, end, tile_offsets, tile_gaussians, packed, sorted_colors, behind, image, transmittances, stops,
    ), tile_offsets)  # fmt: skip
    return Composited(image, transmittances, with_depth, order, offsets, tile_offsets, tile_gaussians,
                      places, stops, packed, sorted_colors)  # fmt: skip


def composite_backward(
    done: Composited, projected: Projected, opacities: Floats, v_image: Floats, v_alpha: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Gradients of means2d, depths, conics, colors and opacities (their shapes) from those of the image
    [H, W, C (+ 1)] and of alpha = 1 - transmittance [H, W]."""
    channels = projected.colors.shape[1]
    v_entries = np.empty(len(done.places) * compositing.entry_stride(channels + done.with_depth), np.float32)
    by_tiles(lambda begin, end: compositing.raster_backward(
        begin, end, done.tile_offsets, done.tile_gaussians, done.packed, done.sorted_colors, done.image,
        done.transmittances, done.stops, v_image, v_alpha, v_entries,
    ), done.tile_offsets)  # fmt: skip
    p = projected
    v_means2d, v_depths, v_conics, v_colors, v_opacities = (
        np.zeros_like(x) for x in (p.means2d, p.depths, p.conics, p.colors, opacities)
    )
    _by_gaussians(lambda begin, end: compositing.reduce_entries(
        begin, end, done.order, done.offsets, done.places, v_entries, done.packed, opacities, done.with_depth,
        v_means2d, v_conics, v_opacities, v_colors, v_depths,
    ), len(done.order))  # fmt: skip
    return v_means2d, v_depths, v_conics, v_colors, v_opacities
