"""rasterization(): 3D Gaussians to images, one call for CUDA (gsplat) and CPU (Numba).

Method: Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering"; conventions and
call of gsplat 1.5.3, `gsplat.rasterization` (Ye et al. 2024), whose results the CPU path reproduces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import MissingDependencyError
from ..imaging.rect import Rect
from .cpu import rasterizer as _cpu

RENDER_MODES = ("RGB", "ED", "RGB+ED")


@dataclass(frozen=True, eq=False)
class _Call:
    """The arguments of `rasterization`."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    size: tuple[int, int]  # width, height
    window: Rect
    planes: tuple[float, float]
    eps2d: float
    sh_degree: int | None
    backgrounds: Tensor | None
    render_mode: str
    features: Tensor | None

    def check(self) -> None:
        """ValueError where shapes or values do not fit together."""
        (width, height), (x0, y0, x1, y1) = self.size, self.window
        if not (self.planes[0] > 0 and 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"{self.window} must lie inside the {width} x {height} image, near plane be > 0")
        n, c, colors, features = len(self.means), len(self.viewmats), self.colors, self.features
        if self.sh_degree is None:
            fits, channels = colors.ndim == 2 and len(colors) == n, colors.shape[-1]
        else:
            fits = colors.ndim == 3 and len(colors) == n and colors.shape[2] == 3
            fits = fits and 0 <= self.sh_degree <= 3 and (self.sh_degree + 1) ** 2 <= colors.shape[1]
            channels = 3
        if features is not None:
            fits, channels = fits and features.ndim == 2 and len(features) == n, channels + features.shape[-1]
        shapes = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,), "viewmats": (c, 4, 4),
                  "Ks": (c, 3, 3), "backgrounds": (c, channels)}  # fmt: skip
        got = {k: tuple(v.shape) for k, v in vars(self).items() if isinstance(v, Tensor)}
        if not fits or any(got.get(k, v) != v for k, v in shapes.items()) or self.render_mode not in RENDER_MODES:
            raise ValueError(
                f"rasterization: {', '.join(f'{name} {shape}' for name, shape in got.items())}, "
                f"sh_degree={self.sh_degree}, render_mode={self.render_mode!r} do not fit together"
            )


def rasterization(  # parameters: those of gsplat.rasterization
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
    window: Rect | None = None,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians; as `gsplat.rasterization`, plus `features` and `window`.

    `colors` are D channels as they are, or spherical harmonics of which `sh_degree` (0..3) is used: then
    D = 3 + F, where `features` are further channels blended like colours. `render_mode` "RGB" gives
    these D channels, "RGB+ED" appends the expected depth (accumulated depth over alpha, part units),
    "ED" gives only that. `window` renders that part [h, w] of the width x height image only, exactly
    as it looks in the full image; it must lie inside. (Passing a shifted K and a smaller size instead would
    change Gaussians near the border: the projection is linearised at a point clamped by the image size.)

    Returns (colours [C, h, w, D (+ 1)], alphas [C, h, w, 1], meta). meta has "means2d" [C, N, 2] in pixels of
    the window (CUDA: of the image; call retain_grad() on it before backward for densification), "radii"
    [C, N, 2] int32 (0: not visible), "depths" [C, N], "conics" [C, N, 3], "width", "height". All inputs but
    Ks are differentiable. The inputs must not be changed in place between forward and backward.

    Raises ValueError on wrong shapes, MissingDependencyError for CUDA tensors without gsplat.
    """
    call = _Call(
        means, quats, scales, opacities, colors, viewmats, Ks, (width, height), window or Rect(0, 0, width, height),
        (near_plane, far_plane), eps2d, sh_degree, backgrounds, render_mode, features,
    )  # fmt: skip
    call.check()
    if sh_degree is None and features is not None:
        call = replace(call, colors=torch.cat([colors, features], dim=-1), features=None)
    return _rasterization_gsplat(call) if means.is_cuda else _rasterization_cpu(call)


def _rasterization_gsplat(call: _Call) -> tuple[Tensor, Tensor, dict[str, Any]]:
    try:
        import gsplat
    except ImportError as e:
        raise MissingDependencyError(
            "rendering on CUDA needs gsplat, which does not import here: pip install gsplat, or use --device cpu"
        ) from e
    colors, sh_degree, cameras = call.colors, call.sh_degree, len(call.viewmats)
    if call.features is not None:
        assert sh_degree is not None
        centres = torch.linalg.inv(call.viewmats)[:, :3, 3]
        sh = colors.expand(cameras, *colors.shape).contiguous()
        rgb = gsplat.spherical_harmonics(sh_degree, call.means - centres[:, None], sh)
        extra = call.features.expand(cameras, *call.features.shape)
        colors, sh_degree = torch.cat([(rgb + 0.5).clamp_min(0), extra], dim=-1), None
    # The full image is rendered even for a window: gsplat has no way to give the clamp of another image size.
    image, alpha, meta = gsplat.rasterization(
        call.means, call.quats, call.scales, call.opacities, colors, call.viewmats, call.Ks, *call.size,
        near_plane=call.planes[0], far_plane=call.planes[1], eps2d=call.eps2d, sh_degree=sh_degree, packed=False,
        backgrounds=call.backgrounds, render_mode=call.render_mode,
    )  # fmt: skip
    rows, columns = call.window.slices
    meta |= {"width": call.window.width, "height": call.window.height}
    return image[:, rows, columns], alpha[:, rows, columns], meta


def _rasterization_cpu(call: _Call) -> tuple[Tensor, Tensor, dict[str, Any]]:
    views, projected = [], []
    sh, direct = (None, call.colors) if call.sh_degree is None else (call.colors, call.features)
    for viewmat, K in zip(call.viewmats, call.Ks, strict=True):
        view = _cpu.PinholeView.of(_array(viewmat), _array(K), call.size, call.window, call.planes, call.eps2d)
        views.append(view)
        projected.append(_Project.apply(view, call.means, call.quats, call.scales, call.opacities, viewmat, sh,
                                        call.sh_degree or 0, direct))  # fmt: skip
    # Composited from the stacked tensor, so that meta["means2d"] can retain its gradient as in gsplat.
    means2d = _stack([p[0] for p in projected])
    with_depth, depth_only = call.render_mode != "RGB", call.render_mode == "ED"
    images, alphas = [], []
    for c, view in enumerate(views):
        _, depths, conics, shaded, radii = projected[c]
        shaded = shaded[:, :0] if depth_only else shaded
        background = None if call.backgrounds is None or depth_only else call.backgrounds[c]
        image, alpha = _Composite.apply(
            view, with_depth, means2d[c], depths, conics, shaded, radii, call.opacities, background
        )
        if with_depth:
            image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
        images.append(image)
        alphas.append(alpha)
    meta = {"means2d": means2d, "width": call.window.width, "height": call.window.height, "n_cameras": len(views)}
    meta |= {name: _stack([p[k].detach() for p in projected])
             for name, k in (("depths", 1), ("conics", 2), ("radii", 4))}  # fmt: skip
    return _stack(images), _stack(alphas), meta


def _stack(tensors: list[Tensor]) -> Tensor:
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)  # the former copies nothing


class _Project(torch.autograd.Function):
    """3D Gaussians to 2D ones and their colours, for one camera."""

    @staticmethod
    def forward(  # parameters: autograd needs each tensor by itself
        ctx: Any, view: _cpu.PinholeView, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor,
        viewmat: Tensor, sh: Tensor | None, sh_degree: int, direct: Tensor | None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        coefficients, channels = (None if x is None else _array(x) for x in (sh, direct))
        splats = _cpu.Splats(_array(means), _array(quats), _array(scales), _array(opacities), coefficients, sh_degree,
                             channels)  # fmt: skip
        out = _cpu.project(view, splats)
        ctx.view, ctx.splats, ctx.out = view, splats, out
        radii = torch.from_numpy(out.radii)
        ctx.mark_non_differentiable(radii)
        return (torch.from_numpy(out.means2d), torch.from_numpy(out.depths), torch.from_numpy(out.conics),
                torch.from_numpy(out.colors.copy() if sh is None else out.colors), radii)  # fmt: skip

    @staticmethod
    def backward(ctx: Any, v_means2d: Tensor, v_depths: Tensor, v_conics: Tensor, v_colors: Tensor, _: Tensor) -> Any:
        v_direct = v_colors if ctx.splats.sh is None else v_colors[:, 3:] if ctx.needs_input_grad[8] else None
        if not any(ctx.needs_input_grad[:8]):
            return (*[None] * 8, v_direct)
        given = (_array(v) for v in (v_means2d, v_depths, v_conics, v_colors))
        gradients = _cpu.project_backward(ctx.view, ctx.splats, ctx.out.radii, ctx.out.colors, *given)
        means, quats, scales, sh, viewmat = (None if g is None else torch.from_numpy(g) for g in gradients)
        return None, means, quats, scales, None, viewmat, sh, None, v_direct


class _Composite(torch.autograd.Function):
    """2D Gaussians to an image, for one camera."""

    @staticmethod
    def forward(  # parameters: autograd needs each tensor by itself
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
        gradients = _cpu.composite_backward(
            done, ctx.projected, ctx.opacities, _array(v_image), _array(v_alpha[..., 0])
        )
        means2d, depths, conics, colors, opacities = (torch.from_numpy(g) for g in gradients)
        v_background = None
        if ctx.needs_input_grad[8]:
            v_background = (v_image * torch.from_numpy(done.transmittances)[..., None]).sum(dim=(0, 1))
            v_background = v_background[: len(v_background) - done.with_depth]
        return None, None, means2d, depths, conics, colors, None, opacities, v_background


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().to(torch.float32).contiguous().numpy()
    return array
