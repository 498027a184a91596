"""A plain rasterizer to check against: every Gaussian at every pixel, torch, any float type, autograd."""

from __future__ import annotations

import torch
from torch import Tensor

SH_C0 = 0.28209479177387814


def rotation_matrices(quats: Tensor) -> Tensor:  # [N, 4] -> [N, 3, 3]
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)


def harmonics(degree: int, directions: Tensor) -> Tensor:  # [N, 3] -> [N, (degree + 1)^2]
    """Real spherical harmonics in the polynomial form of the original 3DGS code."""
    x, y, z = torch.nn.functional.normalize(directions, dim=-1).unbind(-1)
    basis = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        basis += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        basis += [
            1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * z * z - x * x - y * y),
            -1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y),
        ]  # fmt: skip
    if degree >= 3:
        basis += [
            -0.5900435899266435 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
            0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -0.4570457994644658 * x * (4 * z * z - x * x - y * y), 1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]  # fmt: skip
    return torch.stack(basis, dim=-1)


def rasterize(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmat: Tensor, K: Tensor,
    width: int, height: int, sh_degree: int | None = None, background: Tensor | None = None,
    features: Tensor | None = None, near: float = 0.01, eps2d: float = 0.3,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(colours [H, W, D], alpha [H, W, 1], accumulated depth [H, W, 1]) for one camera."""
    if sh_degree is not None:
        centre = torch.linalg.inv(viewmat)[:3, 3]
        basis = harmonics(sh_degree, means - centre)
        colors = (torch.einsum("nk,nkc->nc", basis, colors[:, : basis.shape[1]]) + 0.5).clamp_min(0)
    if features is not None:
        colors = torch.cat([colors, features], dim=-1)
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    points = means @ rotation.T + translation
    order = torch.argsort(points[:, 2], stable=True)
    order = order[points[order, 2] > near]
    x, y, z = points[order].unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    mx, my = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
    tx = torch.clamp(x / z, -cx / fx - mx, (width - cx) / fx + mx)
    ty = torch.clamp(y / z, -cy / fy - my, (height - cy) / fy + my)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * tx / z, zero, fy / z, -fy * ty / z], dim=-1).reshape(-1, 2, 3)
    factor = jacobian @ rotation @ (rotation_matrices(quats[order]) * scales[order, None, :])
    covariance = factor @ factor.transpose(1, 2) + eps2d * torch.eye(2, dtype=means.dtype)
    conic = torch.linalg.inv(covariance)
    centres = torch.stack([fx * x / z + cx, fy * y / z + cy], dim=-1)
    ys, xs = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([xs, ys], dim=-1).reshape(-1, 2).to(means.dtype)
    transmittance = torch.ones(len(pixels), dtype=means.dtype)
    is_open = torch.ones(len(pixels), dtype=torch.bool)
    image = torch.zeros(len(pixels), colors.shape[1] + 1, dtype=means.dtype)
    for j, i in enumerate(order.tolist()):
        offset = pixels - centres[j]
        sigma = 0.5 * torch.einsum("pi,ij,pj->p", offset, conic[j], offset)
        alpha = (opacities[i] * torch.exp(-sigma)).clamp_max(0.999)
        reached = is_open & (alpha.detach() >= 1 / 255)
        is_open = is_open & ~(reached & (transmittance.detach() * (1 - alpha.detach()) <= 1e-4))
        alpha = torch.where(reached & is_open, alpha, torch.zeros_like(alpha))
        image = image + (transmittance * alpha)[:, None] * torch.cat([colors[i], z[j : j + 1]])
        transmittance = transmittance * (1 - alpha)
    if background is not None:
        image = image + transmittance[:, None] * torch.cat([background, torch.zeros(1, dtype=means.dtype)])
    image = image.reshape(height, width, -1)
    return image[..., :-1], (1 - transmittance).reshape(height, width, 1), image[..., -1:]
