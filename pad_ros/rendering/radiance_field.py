"""Rays through a neural radiance field, in torch: positional encoding, hierarchical sampling, volume rendering.

After Mildenhall et al. 2020, sections 4 and 5. Rays are cut to the box around the part; what they meet beyond it is the
background.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..settings import NerfSettings
from .nerf import NETWORKS, Nerf, skip_at

Layers = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Rays:
    """origins, directions [N, 3]; the directions have z = 1 in the camera's frame, so that distances are depths."""

    origins: Tensor
    directions: Tensor

    @staticmethod
    def through(pixels: Tensor, intrinsics: Tensor, camera_from_part: Tensor) -> Rays:
        """Through pixels [N, 2] of a pinhole (fx, fy, cx, cy) at a pose [4, 4]."""
        xy = (pixels - intrinsics[2:]) / intrinsics[:2]
        seen = torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1)
        rotation = camera_from_part[:3, :3]
        centre = -rotation.T @ camera_from_part[:3, 3]
        return Rays(centre.expand(len(seen), 3), seen @ rotation)

    def take(self, chosen: Tensor | slice) -> Rays:
        return Rays(self.origins[chosen], self.directions[chosen])

    def within(self, bounds: Tensor) -> tuple[Tensor, Tensor]:
        """(nearest, farthest) depth [N] inside a box [2, 3]; where a ray misses it, the two are equal."""
        safe = torch.where(self.directions.abs() < 1e-9, 1e-9, self.directions)
        slabs = (bounds[:, None] - self.origins) / safe  # [2, N, 3]
        near = slabs.amin(dim=0).amax(dim=1).clamp(min=1e-3)
        return near, torch.maximum(slabs.amax(dim=0).amin(dim=1), near)


@dataclass(frozen=True, eq=False)
class Rendered:
    """rgb [N, 3], alpha [N] and depth [N] of rays; coarse: the colours by the first network alone."""

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    coarse: Tensor


class RadianceField:
    """The two networks of a `Nerf` on a device. `parameters` are what training changes."""

    def __init__(self, nerf: Nerf, device: str = "cpu") -> None:
        self.settings: NerfSettings = nerf.settings
        tensors = {name: torch.from_numpy(array.copy()).to(device) for name, array in nerf.arrays.items()}
        self.bounds = tensors.pop("bounds")
        self._networks = {
            network: {name.removeprefix(f"{network}."): x for name, x in tensors.items() if name.startswith(network)}
            for network in NETWORKS
        }

    def parameters(self) -> list[Tensor]:
        return [tensor for network in NETWORKS for tensor in self._networks[network].values()]

    def to_nerf(self) -> Nerf:
        """The networks as they are now."""
        arrays = {"bounds": self.bounds.cpu().numpy()}
        for network, layers in self._networks.items():
            arrays |= {f"{network}.{name}": x.detach().cpu().numpy().copy() for name, x in layers.items()}
        return Nerf(arrays, self.settings)

    def render(self, rays: Rays, background: Tensor, generator: torch.Generator | None = None) -> Rendered:
        """Rays [N] before a background colour [3]; generator: samples are drawn at random, else evenly spaced."""
        near, far = rays.within(self.bounds)
        steps = self._spread(len(near), generator, near.device)
        edges = near[:, None] + (far - near)[:, None] * steps
        density, colours = self._ask("coarse", rays, edges)
        weights, coarse, *_ = _composed(density, colours, edges, far, rays, background)
        fine = _drawn(edges, far, weights.detach(), self.settings.fine_samples, generator)
        depths = torch.cat([edges, fine], dim=1).sort(dim=1).values
        density, colours = self._ask("fine", rays, depths)
        _, rgb, alpha, depth = _composed(density, colours, depths, far, rays, background)
        return Rendered(rgb, alpha, depth, coarse)

    def _spread(self, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        """Shares [N, S] of the way through the box, one in each of S equal parts (section 4, equation 2)."""
        s = self.settings.samples
        first = torch.arange(s, device=device) / s
        if generator is None:
            return (first + 0.5 / s).expand(count, s)
        return first + torch.rand((count, s), generator=generator, device=device) / s

    def _ask(self, network: str, rays: Rays, depths: Tensor) -> tuple[Tensor, Tensor]:
        """Density [N, S] and colour [N, S, 3] at depths [N, S] along the rays."""
        w, s = self._networks[network], self.settings
        points = rays.origins[:, None] + depths[..., None] * rays.directions[:, None]
        low, high = self.bounds
        point = encoded(2 * (points - low) / (high - low) - 1, s.frequencies)
        view = encoded(F.normalize(rays.directions, dim=1), s.view_frequencies)
        x, again = point, skip_at(s)
        for i in range(s.layers):
            x = torch.cat([point, x], dim=-1) if i == again else x
            x = F.relu(_linear(w, f"layers.{i}", x))
        density = F.relu(_linear(w, "density", x)[..., 0])
        feature = _linear(w, "feature", x)
        seen = view[:, None].expand(*depths.shape, view.shape[-1])
        colour = _linear(w, "colour", F.relu(_linear(w, "view", torch.cat([feature, seen], dim=-1))))
        return density, torch.sigmoid(colour)


def encoded(x: Tensor, frequencies: int) -> Tensor:
    """x [..., 3] and its sines and cosines at 2^0 pi to 2^(L-1) pi (section 5.1, equation 4): [..., 3 + 6 L]."""
    scaled = [x * (torch.pi * 2.0**k) for k in range(frequencies)]
    return torch.cat([x, *(wave for one in scaled for wave in (one.sin(), one.cos()))], dim=-1)


def _linear(weights: Layers, name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _composed(
    density: Tensor, colours: Tensor, depths: Tensor, far: Tensor, rays: Rays, background: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(weights [N, S], rgb [N, 3], alpha [N], mean depth [N]) of samples (section 4, equation 3)."""
    following = torch.cat([depths[:, 1:], torch.maximum(far[:, None], depths[:, -1:])], dim=1)
    lengths = (following - depths) * rays.directions.norm(dim=1, keepdim=True)
    opacity = 1 - torch.exp(-density * lengths)
    passed = torch.cumprod(torch.cat([torch.ones_like(opacity[:, :1]), 1 - opacity + 1e-10], dim=1), dim=1)[:, :-1]
    weights = opacity * passed
    alpha = weights.sum(dim=1)
    rgb = (weights[..., None] * colours).sum(dim=1) + (1 - alpha)[:, None] * background
    return weights, rgb, alpha, (weights * depths).sum(dim=1) / alpha.clamp(min=1e-6)


def _drawn(edges: Tensor, far: Tensor, weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Depths [N, count], more where the weights [N, S] of the samples at `edges` are larger (section 5.2).

    A sample stands for what is nearer to it than to the others.
    """
    shares = weights + 1e-5
    reached = torch.cumsum(shares / shares.sum(dim=1, keepdim=True), dim=1)
    reached = torch.cat([torch.zeros_like(reached[:, :1]), reached], dim=1)  # [N, S + 1]
    between = (edges[:, 1:] + edges[:, :-1]) / 2
    bounds = torch.cat([edges[:, :1], between, torch.maximum(far[:, None], edges[:, -1:])], dim=1).detach()
    if generator is None:
        wanted = ((torch.arange(count, device=edges.device) + 0.5) / count).expand(len(edges), count).contiguous()
    else:
        wanted = torch.rand((len(edges), count), generator=generator, device=edges.device)
    part = torch.searchsorted(reached, wanted, right=True).clamp(1, reached.shape[1] - 1)
    low, high = reached.gather(1, part - 1), reached.gather(1, part)
    share = (wanted - low) / (high - low).clamp(min=1e-8)
    begin, end = bounds.gather(1, part - 1), bounds.gather(1, part)
    return begin + share.clamp(0, 1) * (end - begin)
