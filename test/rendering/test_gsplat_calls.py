"""What a card would be asked: the calls into gsplat, against its public signatures and its arithmetic, without a card.

A stand-in with the signatures of gsplat 1.5.3 takes the calls, checks shapes as gsplat does, and composites by the
plain reference. Where gsplat itself is installed (its Python part needs no card), the signatures are compared with its
own, and projection and harmonics with its pure-Python ones.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from reference_rasterizer import harmonics
from reference_rasterizer import rasterize as reference
from test_rasterize import BACKGROUND, HEIGHT, INTRINSICS, WIDTH, Scene, closeness, make_scene
from torch import Tensor

from pad_ros.imaging.rect import Rect
from pad_ros.rendering import rasterize

# Up to the last one that is used.
RASTERIZATION = [
    "means",
    "quats",
    "scales",
    "opacities",
    "colors",
    "viewmats",
    "Ks",
    "width",
    "height",
    "near_plane",
    "far_plane",
    "radius_clip",
    "eps2d",
    "sh_degree",
    "packed",
    "tile_size",
    "backgrounds",
    "render_mode",
]
HARMONICS = ["degrees_to_use", "dirs", "coeffs", "masks"]
NEEDED = {"rasterization": 9, "spherical_harmonics": 3}  # how many come first and have no default


def bound(names: list[str], needed: int, values: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name; TypeError where the call does not fit the signature."""
    kind, missing = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    parameters = [inspect.Parameter(n, kind, default=missing if i < needed else None) for i, n in enumerate(names)]
    return inspect.Signature(parameters).bind(*values, **named).arguments


def taken(*values: Any, **named: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """gsplat.rasterization, for packed=False."""
    a = bound(RASTERIZATION, NEEDED["rasterization"], values, named)
    n, cameras, degree = len(a["means"]), len(a["viewmats"]), a["sh_degree"]
    assert a["packed"] is False and a["quats"].shape == (n, 4) and a["scales"].shape == (n, 3)
    assert a["opacities"].shape == (n,) and a["viewmats"].shape == (cameras, 4, 4) and a["Ks"].shape == (cameras, 3, 3)
    colors = (
        a["colors"] if a["colors"].ndim == 3 + (degree is not None) else a["colors"].expand(cameras, *a["colors"].shape)
    )
    channels = 3 if degree is not None else colors.shape[-1]
    assert colors.shape[:2] == (cameras, n)
    assert a["backgrounds"] is None or a["backgrounds"].shape == (cameras, channels)
    images, alphas = [], []
    for c in range(cameras):
        behind = None if a["backgrounds"] is None else a["backgrounds"][c]
        image, alpha, depth = reference(
            a["means"], a["quats"], a["scales"], a["opacities"], colors[c], a["viewmats"][c], a["Ks"][c], a["width"],
            a["height"], degree, behind, near=a["near_plane"], eps2d=a["eps2d"],
        )  # fmt: skip
        expected = depth / alpha.clamp(min=1e-10)
        images.append({"RGB": image, "ED": expected, "RGB+ED": torch.cat([image, expected], dim=-1)}[a["render_mode"]])
        alphas.append(alpha)
    return torch.stack(images), torch.stack(alphas), {"width": a["width"], "height": a["height"]}


def shaded(*values: Any, **named: Any) -> Tensor:
    """gsplat.spherical_harmonics."""
    a = bound(HARMONICS, NEEDED["spherical_harmonics"], values, named)
    degree, directions, coefficients = a["degrees_to_use"], a["dirs"], a["coeffs"]
    assert directions.shape == (*coefficients.shape[:-2], 3) and coefficients.shape[-1] == 3
    basis = torch.stack([harmonics(degree, one) for one in directions])
    return torch.einsum("cnk,cnkd->cnd", basis, coefficients[:, :, : basis.shape[-1]])


@pytest.fixture
def on_card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`rasterization` as it runs for CUDA tensors, before the stand-in."""
    stand_in = ModuleType("gsplat")
    stand_in.rasterization, stand_in.spherical_harmonics = taken, shaded  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gsplat", stand_in)
    ours = rasterize._rasterization_cpu

    def both(**options: Any) -> list[tuple[Tensor, Tensor, dict[str, Any]]]:
        found = []
        for path in (rasterize._rasterization_gsplat, ours):
            monkeypatch.setattr(rasterize, "_rasterization_cpu", path)
            scene: Scene = options["scene"]
            rest = {name: value for name, value in options.items() if name != "scene"}
            viewmats = torch.stack([scene.viewmat, scene.viewmat])
            found.append(
                rasterize.rasterization(
                    scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, viewmats,
                    INTRINSICS.expand(2, 3, 3), WIDTH, HEIGHT, **rest,
                )
            )  # fmt: skip
        return found

    return both


@pytest.mark.parametrize("mode", ["RGB", "ED", "RGB+ED"])
@pytest.mark.parametrize("degree", [None, 0, 3])
@pytest.mark.parametrize("features", [0, 2])
def test_calls_fit_gsplat_and_give_what_the_cpu_gives(on_card, mode: str, degree: int | None, features: int) -> None:
    scene = make_scene(60, degree=degree, features=features)
    behind = torch.cat([BACKGROUND, torch.zeros(features)]).expand(2, -1)
    theirs, ours = on_card(
        scene=scene, sh_degree=degree, features=scene.features, render_mode=mode, eps2d=0.1, window=Rect(7, 3, 37, 33),
        backgrounds=None if mode == "ED" else behind,
    )  # fmt: skip
    for found, expected in zip(theirs[:2], ours[:2], strict=True):
        assert found.shape == expected.shape
        assert closeness(found, expected) < 1e-4
    assert {key: ours[2][key] for key in ("width", "height")} == {key: theirs[2][key] for key in ("width", "height")}


def test_signatures_are_those_of_the_installed_gsplat() -> None:
    gsplat = pytest.importorskip("gsplat", reason="gsplat is not installed")
    for name, known in (("rasterization", RASTERIZATION), ("spherical_harmonics", HARMONICS)):
        parameters = inspect.signature(getattr(gsplat, name)).parameters
        assert list(parameters)[: len(known)] == known, name
        assert sum(p.default is inspect.Parameter.empty for p in parameters.values()) == NEEDED[name], name


def test_projection_is_that_of_gsplat() -> None:
    python = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed")
    scene = make_scene(120, degree=3)
    covariances = python._quat_scale_to_covar_preci(scene.quats, scene.scales, compute_preci=False)[0]
    radii, means2d, depths, conics, _ = python._fully_fused_projection(
        scene.means, covariances, scene.viewmat[None], INTRINSICS[None], WIDTH, HEIGHT, eps2d=0.1
    )
    *_, meta = rasterize.rasterization(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors, scene.viewmat[None], INTRINSICS[None],
        WIDTH, HEIGHT, sh_degree=3, eps2d=0.1,
    )  # fmt: skip
    seen = (meta["radii"] > 0).all(dim=-1)
    assert seen.any() and bool((radii[seen] > 0).all())  # ours are tighter: opacities count
    for found, expected in ((meta["means2d"], means2d), (meta["depths"], depths), (meta["conics"], conics)):
        assert closeness(found[seen], expected[seen]) < 1e-4
    directions = scene.means - torch.linalg.inv(scene.viewmat)[:3, 3]
    theirs = python._spherical_harmonics(3, directions, scene.colors)
    assert closeness(torch.einsum("nk,nkd->nd", harmonics(3, directions), scene.colors), theirs) < 1e-5
