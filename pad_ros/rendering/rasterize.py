"""rasterization(): 3D Gaussians to images, one call for CUDA (gsplat) and CPU (Numba).

Method: Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering"; conventions and
call of gsplat 1.5.3, `gsplat.rasterization` (Ye et al. 2024), whose results the CPU path reproduces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import MissingDependencyError
from .cpu import rasterizer as _cpu

RENDER_MODES = ("RGB", "ED", "RGB+ED")


def rasterization(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] (w, x, y, z)
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [N, D] or, with sh_degree, [N, K, 3]
    viewmats: Tensor,  # [C, 4, 4] camera_from_part
    Ks: Tensor,  # [C, 3, 3]
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,  # [C, D]
    render_mode: str = "RGB",
    features: Tensor | None = None,  # [N, F]
    window: tuple[int, int, int, int] | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians; as `gsplat.rasterization`, plus `features` and `window`.

    `colors` are D channels as they are, or spherical harmonics of which `sh_degree` (0..3) is used: then
    D = 3 + F, where `features` are further channels blended like colours. `render_mode` "RGB" gives
    these D channels, "RGB+ED" appends the expected depth (accumulated depth over alpha, part units),
    "ED" gives only that. `window` (x0, y0, w, h) renders that part of the width x height image only, exactly
    as it looks in the full image; it must lie inside. (Passing a shifted K and a smaller size instead would
    change Gaussians near the border: the projection is linearised at a point clamped by the image size.)

    Returns (colours [C, h, w, D (+ 1)], alphas [C, h, w, 1], meta). meta has "means2d" [C, N, 2] in pixels of
    the window (CUDA: of the image; call retain_grad() on it before backward for densification), "radii"
    [C, N, 2] int32 (0: not visible), "depths" [C, N], "conics" [C, N, 3], "width", "height". All inputs but
    Ks are differentiable. The inputs must not be changed in place between forward and backward.

    Raises ValueError on wrong shapes, MissingDependencyError for CUDA tensors without gsplat.
    """
    _check(means, quats, scales, opacities, colors, viewmats, Ks, sh_degree, backgrounds, render_mode, features)
    x0, y0, w, h = window = window or (0, 0, width, height)
    if not (near_plane > 0 and w > 0 and h > 0 and x0 >= 0 and y0 >= 0 and x0 + w <= width and y0 + h <= height):
        raise ValueError(f"window {window} must lie inside the {width} x {height} image, near plane be > 0")
    if sh_degree is None and features is not None:
        colors, features = torch.cat([colors, features], dim=-1), None
    render = _rasterization_gsplat if means.is_cuda else _rasterization_cpu
    return render(
        means, quats, scales, opacities, colors, viewmats, Ks, (width, height), window, (near_plane, far_plane), eps2d,
        sh_degree, backgrounds, render_mode, features,
    )  # fmt: skip


def _check(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    sh_degree: int | None, backgrounds: Tensor | None, render_mode: str, features: Tensor | None,
) -> None:  # fmt: skip
    n, c = len(means), len(viewmats)
    if sh_degree is None:
        fits, channels = colors.ndim == 2 and len(colors) == n, colors.shape[-1]
    else:
        fits = colors.ndim == 3 and len(colors) == n and colors.shape[2] == 3
        fits = fits and 0 <= sh_degree <= 3 and (sh_degree + 1) ** 2 <= colors.shape[1]
        channels = 3
    if features is not None:
        fits, channels = fits and features.ndim == 2 and len(features) == n, channels + features.shape[-1]
    shapes = [(means, (n, 3)), (quats, (n, 4)), (scales, (n, 3)), (opacities, (n,)), (viewmats, (c, 4, 4)),
              (Ks, (c, 3, 3)), *([(backgrounds, (c, channels))] if backgrounds is not None else [])]  # fmt: skip
    if not fits or any(tuple(t.shape) != shape for t, shape in shapes) or render_mode not in RENDER_MODES:
        names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "backgrounds", "features")
        given = (means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, features)
        got = ", ".join(f"{name} {tuple(t.shape)}" for name, t in zip(names, given) if t is not None)
        raise ValueError(
            f"rasterization: {got}, sh_degree={sh_degree}, render_mode={render_mode!r} do not fit together"
        )


def _rasterization_gsplat(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    size: tuple[int, int], window: tuple[int, int, int, int], planes: tuple[float, float], eps2d: float,
    sh_degree: int | None, backgrounds: Tensor | None, render_mode: str, features: Tensor | None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    try:
        import gsplat
    except ImportError as e:
        raise MissingDependencyError(
            "rendering on CUDA needs gsplat, which does not import here: pip install gsplat, or use --device cpu"
        ) from e
    if features is not None:
        assert sh_degree is not None
        centres = torch.linalg.inv(viewmats)[:, :3, 3]
        shape = (len(viewmats), *colors.shape)
        rgb = gsplat.spherical_harmonics(sh_degree, means - centres[:, None], colors.expand(shape).contiguous())
        extra = features.expand(len(viewmats), *features.shape)
        colors, sh_degree = torch.cat([(rgb + 0.5).clamp_min(0), extra], dim=-1), None
    # The full image is rendered even for a window: gsplat has no way to give the clamp of another image size.
    image, alpha, meta = gsplat.rasterization(
        means, quats, scales, opacities, colors, viewmats, Ks, *size, near_plane=planes[0], far_plane=planes[1],
        eps2d=eps2d, sh_degree=sh_degree, packed=False, backgrounds=backgrounds, render_mode=render_mode,
    )  # fmt: skip
    x0, y0, w, h = window
    if window != (0, 0, *size):
        image, alpha = image[:, y0 : y0 + h, x0 : x0 + w], alpha[:, y0 : y0 + h, x0 : x0 + w]
        meta |= {"width": w, "height": h}
    return image, alpha, meta


def _rasterization_cpu(
    means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor,
    size: tuple[int, int], window: tuple[int, int, int, int], planes: tuple[float, float], eps2d: float,
    sh_degree: int | None, backgrounds: Tensor | None, render_mode: str, features: Tensor | None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    views, projected = [], []
    for viewmat, intrinsics in zip(viewmats, Ks, strict=True):
        view = _cpu.PinholeView.of(_array(viewmat), _array(intrinsics), size, window, *planes, eps2d)
        sh, direct = (None, colors) if sh_degree is None else (colors, features)
        views.append(view)
        projected.append(_Project.apply(view, means, quats, scales, opacities, viewmat, sh, sh_degree or 0, direct))
    # Composited from the stacked tensor, so that meta["means2d"] can retain its gradient as in gsplat.
    means2d = _stack([p[0] for p in projected])
    with_depth = render_mode != "RGB"
    images, alphas = [], []
    for c, view in enumerate(views):
        _, depths, conics, shaded, radii = projected[c]
        if render_mode == "ED":
            shaded = shaded[:, :0]
        background = None if backgrounds is None or render_mode == "ED" else backgrounds[c]
        image, alpha = _Composite.apply(
            view, with_depth, means2d[c], depths, conics, shaded, radii, opacities, background
        )
        if with_depth:
            image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
        images.append(image)
        alphas.append(alpha)
    meta = {"means2d": means2d, "width": window[2], "height": window[3], "n_cameras": len(views)}
    meta |= {name: _stack([p[k].detach() for p in projected])
             for name, k in (("depths", 1), ("conics", 2), ("radii", 4))}  # fmt: skip
    return _stack(images), _stack(alphas), meta


def _stack(tensors: list[Tensor]) -> Tensor:
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)  # the former copies nothing


class _Project(torch.autograd.Function):
    """3D Gaussians to 2D ones and their colours, for one camera."""

    @staticmethod
    def forward(
        ctx: Any, view: _cpu.PinholeView, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor,
        viewmat: Tensor, sh: Tensor | None, sh_degree: int, direct: Tensor | None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        arrays = _array(means), _array(quats), _array(scales), None if sh is None else _array(sh)
        features = None if direct is None else _array(direct)
        out = _cpu.project(view, *arrays[:3], _array(opacities), arrays[3], sh_degree, features)
        ctx.view, ctx.arrays, ctx.sh_degree, ctx.out = view, arrays, sh_degree, out
        radii = torch.from_numpy(out.radii)
        ctx.mark_non_differentiable(radii)
        return (torch.from_numpy(out.means2d), torch.from_numpy(out.depths), torch.from_numpy(out.conics),
                torch.from_numpy(out.colors.copy() if sh is None else out.colors), radii)  # fmt: skip

    @staticmethod
    def backward(ctx: Any, v_means2d: Tensor, v_depths: Tensor, v_conics: Tensor, v_colors: Tensor, _: Tensor) -> Any:
        means, quats, scales, sh = ctx.arrays
        v_direct = v_colors if sh is None else v_colors[:, 3:] if ctx.needs_input_grad[8] else None
        if not any(ctx.needs_input_grad[:8]):
            return (*[None] * 8, v_direct)
        g = _cpu.project_backward(ctx.view, means, quats, scales, sh, ctx.sh_degree, ctx.out, _array(v_means2d),
                                  _array(v_depths), _array(v_conics), _array(v_colors))  # fmt: skip
        v_sh = None if g.sh is None else torch.from_numpy(g.sh)
        return (None, torch.from_numpy(g.means), torch.from_numpy(g.quats), torch.from_numpy(g.scales), None,
                torch.from_numpy(g.viewmat), v_sh, None, v_direct)  # fmt: skip


class _Composite(torch.autograd.Function):
    """2D Gaussians to an image, for one camera."""

    @staticmethod
    def forward(
        ctx: Any, view: _cpu.PinholeView, with_depth: bool, means2d: Tensor, depths: Tensor, conics: Tensor,
        colors: Tensor, radii: Tensor, opacities: Tensor, background: Tensor | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        projected = _cpu.Projected(_array(means2d), _array(depths), _array(conics), radii.numpy(), _array(colors))
        alphas = _array(opacities)
        done = _cpu.composite(view, projected, alphas, None if background is None else _array(background), with_depth)
        ctx.projected, ctx.opacities, ctx.done = projected, alphas, done
        return torch.from_numpy(done.image), torch.from_numpy(1 - done.transmittances)[..., None]

    @staticmethod
    def backward(ctx: Any, v_image: Tensor, v_alpha: Tensor) -> Any:
        done = ctx.done
        v_picture = _array(v_image)
        g = _cpu.composite_backward(done, ctx.projected, ctx.opacities, v_picture, _array(v_alpha[..., 0]))
        v_background = None
        if ctx.needs_input_grad[8]:
            v_background = (v_image * torch.from_numpy(done.transmittances)[..., None]).sum(dim=(0, 1))
            v_background = v_background[: len(v_background) - done.with_depth]
        return (None, None, torch.from_numpy(g.means2d), torch.from_numpy(g.depths), torch.from_numpy(g.conics),
                torch.from_numpy(g.colors), None, torch.from_numpy(g.opacities), v_background)  # fmt: skip


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().to(torch.float32).contiguous().numpy()
    return array
