"""What difference between photograph and rendering is normal at each point of the surface.

Good views are rendered and compared like queries. Each pixel's residual is credited to the Gaussians
that make up the pixel, by their blending weights: the gradient of sum(channel * residual) with
respect to the Gaussians' channel values is exactly that weighted sum, so one backward pass through
the rasterizer per view gathers it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..imaging.geometry import Camera, Pose
from ..imaging.rect import Rect
from ..rendering.rasterize import rasterization
from ..rendering.renderer import Renderer
from ..rendering.tensors import GaussianTensors

Floats = NDArray[np.float32]

MIN_SEEN = 0.5  # px of a Gaussian in a view, or it says nothing about glints there
PRIOR_WEIGHT = 5.0  # pixels' worth of belief that a Gaussian is like the average one


@dataclass(frozen=True, eq=False)
class ResidualStatistics:
    """mean float32 [N, C] per Gaussian and channel; rarity float32 [N], 1 / views that see the Gaussian;
    overall_mean and overall_deviation float32 [C] of all pixels of the part. glints float32 [N, 3]: the largest mean of
    a view's glints, the largest of the other views, and which sample showed the former."""

    mean: Floats
    rarity: Floats
    overall_mean: Floats
    overall_deviation: Floats
    glints: Floats


def residual_statistics(
    renderer: Renderer, samples: Iterable[tuple[Camera, Pose, Floats]], with_glints: bool = False
) -> ResidualStatistics:
    """From (camera, pose, residual maps [H, W, C]) of good views, for the Gaussians of `renderer`.

    with_glints: the last map of each view, no residual, is of its glints.

    A Gaussian that some views see well and others hardly counts as seen by (sum w)^2 / sum w^2 views, w its
    weights in the views' pixels.
    """
    n = len(renderer.gaussians)
    weight, squared_weight = np.zeros(n), np.zeros(n)
    first: NDArray[np.float64] | None = None
    square = np.zeros(1)
    glints = np.zeros((n, 3), np.float32)
    for i, (camera, pose, residual) in enumerate(samples):
        window = renderer.window(camera, pose)
        if window is None:
            continue
        part = residual[window.slices]
        c = residual.shape[2] - with_glints
        sums = spread(
            renderer, camera, pose, window, np.concatenate([part[..., :c], part[..., :c] ** 2, part[..., c:]], axis=2)
        )
        if first is None:
            first, square = np.zeros((n, c)), np.zeros(c)
        first += sums[:, :c]
        square += sums[:, c : 2 * c].sum(axis=0)
        weight += sums[:, -1]
        squared_weight += sums[:, -1] ** 2
        if with_glints:
            _add_glints(glints, sums[:, -2], sums[:, -1], i)
    if first is None:
        raise ValueError("no views to gather residuals from")
    total = max(float(weight.sum()), 1e-9)
    overall = first.sum(axis=0) / total
    mean = (first + PRIOR_WEIGHT * overall) / (weight[:, None] + PRIOR_WEIGHT)
    rarity = np.where(weight > 0, squared_weight / np.maximum(weight, 1e-9) ** 2, 1.0).clip(0, 1)
    deviation = np.sqrt(np.maximum(square / total - overall**2, 1e-10))
    return ResidualStatistics(*(x.astype(np.float32) for x in (mean, rarity, overall, deviation, glints)))


def _add_glints(glints: Floats, sums: NDArray[np.float64], weight: NDArray[np.float64], sample: int) -> None:
    shown = np.where(weight >= MIN_SEEN, sums / np.maximum(weight, 1e-9), 0).astype(np.float32)
    first = shown > glints[:, 0]
    glints[:, 1] = np.where(first, glints[:, 0], np.maximum(glints[:, 1], shown))
    glints[first, 0], glints[first, 2] = shown[first], sample


def spread(renderer: Renderer, camera: Camera, pose: Pose, window: Rect, values: Floats) -> NDArray[np.float64]:
    """For each Gaussian [N, C + 1] the sum of `values` [h, w, C] over a window of the image, weighted by its share of
    the pixels, and the sum of these weights."""
    channels = np.concatenate([values, np.ones_like(values[..., :1])], axis=2).astype(np.float32)
    viewmat, K, pixels = (
        torch.from_numpy(x.astype(np.float32))[None].to(renderer.device) for x in (pose.matrix, camera.K, channels)
    )
    sums = gathered(GaussianTensors.of(renderer.gaussians, renderer.device), viewmat, K, camera, window, pixels)
    return np.asarray(sums.cpu().double().numpy())


def gathered(
    gaussians: GaussianTensors, viewmat: Tensor, K: Tensor, camera: Camera, window: Rect, values: Tensor
) -> Tensor:
    """For each Gaussian [N, C] the sum of `values` [1, h, w, C] over a window, weighted by its share of the pixels."""
    g = gaussians
    means, quats, scales, opacities = (x.detach() for x in (g.means, g.quats, g.scales, g.opacities))
    channels = torch.zeros(len(means), values.shape[3], device=means.device, requires_grad=True)
    rendered, _, _ = rasterization(
        means, quats, scales, opacities, channels, viewmat, K, camera.width, camera.height, window=window,
        eps2d=g.eps2d,
    )  # fmt: skip
    rendered.backward(values)
    assert channels.grad is not None
    return channels.grad
