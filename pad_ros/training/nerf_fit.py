"""Fits a neural radiance field to the views, and puts Gaussians on its surface."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import TrainingError
from ..imaging.background import Background
from ..imaging.views import View
from ..localization.sfm_map import SfmMap
from ..progress import Progress
from ..rendering.gaussians import Gaussians
from ..rendering.nerf import BOUNDS, NETWORKS, Nerf, layer_shapes
from ..rendering.nerf_renderer import NerfRenderer, on_device
from ..rendering.radiance_field import RadianceField, Rays
from ..settings import NerfSettings
from .initialise import SH_C0, hull_points, part_bounds
from .splatting import RenderingQuality

DECAY = 0.1  # of the learning rate, over the whole fit (Mildenhall et al. 2020, section 5.3)
PART_SHARE = 0.7  # of each step's rays at least: the part, of which the box holds less than its surroundings
HULL_POINTS = 20_000
BOX_MARGIN = 0.03  # of the box's diagonal, around the visual hull
SURFACE_VIEWS, SURFACE_PIXELS = 24, 96  # renderings that surface points come from, and their longer side
SURFACE_POINTS = 5_000


def fit_nerf(
    views: tuple[View, ...], background: Background, sfm_map: SfmMap, settings: NerfSettings, seconds: float,
    device: str, seed: int,
) -> Nerf:  # fmt: skip
    """The field that reproduces the views (with poses and masks), after `seconds` or `settings.steps`.

    Both networks learn the colours of random rays through the box around the part, by Adam (section 5.3); unlike there,
    more of them meet the part. TrainingError without a plain background.
    """
    if background.colour is None or any(view.mask is None for view in views):
        raise TrainingError("a radiance field is learned from views of a part before a plain background, or with masks")
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    field = RadianceField(_begun(_box(views, sfm_map, rng), settings, rng), device)
    rays, colours, part = _training_rays([_reduced(view, settings.max_side) for view in views], field)
    behind = torch.tensor(background.rgb01, dtype=torch.float32, device=device)
    parameters = [parameter.requires_grad_() for parameter in field.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
    generator = torch.Generator(device).manual_seed(seed)
    with Progress("fitting the radiance field", 1.0) as bar:
        for step in itertools.count():
            share = max(step / settings.steps, (time.monotonic() - began) / seconds)
            if share >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * DECAY**share
            chosen = torch.randint(len(colours), (settings.rays,), generator=generator, device=device)
            own = round(PART_SHARE * settings.rays)
            chosen[:own] = part[torch.randint(len(part), (own,), generator=generator, device=device)]
            found, wanted = field.render(rays.take(chosen), behind, generator), colours[chosen]
            loss = ((found.rgb - wanted) ** 2).mean() + ((found.coarse - wanted) ** 2).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            bar.update(share - bar.done, f"step {step}")
    return field.to_nerf()


def nerf_quality(renderer: NerfRenderer, views: Sequence[View]) -> RenderingQuality:
    """As `rendering_quality`, on held-out views of the size that the field was fitted to; SSIM is not measured."""
    full, part = [], []
    for view in (_reduced(view, renderer.field.settings.max_side) for view in views):
        assert view.pose is not None and view.mask is not None
        squared = (renderer.part(view.camera, view.pose).rgb - view.image.astype(np.float32) / np.float32(255)) ** 2
        full.append(-10 * np.log10(max(float(squared.mean()), 1e-10)))
        part.append(-10 * np.log10(max(float(squared[view.mask].mean()), 1e-10)))
    return RenderingQuality(float(np.mean(full)), float(np.mean(part)), 0.0, len(views))


def surface_gaussians(nerf: Nerf, views: Sequence[View], background: Background, device: str, seed: int) -> Gaussians:
    """Round Gaussians where the field's renderings of the views have their surface, in the colours seen there.

    TrainingError where it shows nothing.
    """
    low, high = nerf.bounds
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))), np.float32)
    renderer = NerfRenderer(nerf, _round(corners, np.full((8, 3), 0.5, np.float32), 1.0), background, None, device)
    points, colours = [], []
    for view in views[:: -(-len(views) // SURFACE_VIEWS) or 1]:
        assert view.pose is not None
        camera = _reduced(view, SURFACE_PIXELS).camera
        shown = renderer.part(camera, view.pose)
        rows, columns = np.nonzero(shown.alpha > 0.5)
        seen = (
            camera.rays(np.stack([columns, rows], axis=1).astype(np.float64) + 0.5)
            * shown.depth[rows, columns][:, None]
        )
        points.append(view.pose.inverse().transform(seen))
        colours.append(shown.rgb[rows, columns])
    found, seen_colours = np.concatenate(points), np.concatenate(colours)
    if len(found) < 100:
        raise TrainingError("the radiance field shows no part: give it more time with --budget, or check the poses")
    chosen = np.random.default_rng(seed).permutation(len(found))[:SURFACE_POINTS]
    # About as wide as the points are apart on a surface as large as the box's.
    sides = high - low
    area = 2 * (sides[0] * sides[1] + sides[1] * sides[2] + sides[0] * sides[2])
    return _round(found[chosen].astype(np.float32), seen_colours[chosen], float(np.sqrt(area / len(chosen))) / 2)


def _round(means: NDArray[np.float32], colours: NDArray[np.float32], scale: float) -> Gaussians:
    n = len(means)
    quats = np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1))
    sh = ((colours - 0.5) / SH_C0).astype(np.float32)[:, None]
    return Gaussians(means, quats, np.full((n, 3), scale, np.float32), np.full(n, 0.9, np.float32), sh)


def _box(views: tuple[View, ...], sfm_map: SfmMap, rng: np.random.Generator) -> NDArray[np.float32]:
    """[2, 3]: a box around the visual hull."""
    hull = hull_points(views, *part_bounds(sfm_map.points, silhouettes=True), HULL_POINTS, rng)
    low, high = np.quantile(hull, [0.001, 0.999], axis=0)
    margin = BOX_MARGIN * np.linalg.norm(high - low)
    return np.stack([low - margin, high + margin]).astype(np.float32)


def _begun(box: NDArray[np.float32], settings: NerfSettings, rng: np.random.Generator) -> Nerf:
    """Random weights, evenly spread (Glorot & Bengio 2010); the same for the same seed."""
    arrays = {BOUNDS: box}
    for network, (name, shape) in itertools.product(NETWORKS, layer_shapes(settings).items()):
        reach = np.sqrt(6 / sum(shape)) if len(shape) == 2 else 0.0
        arrays[f"{network}.{name}"] = rng.uniform(-reach, reach, shape).astype(np.float32)
        if name == "density.bias":
            arrays[f"{network}.{name}"] += np.float32(0.1)  # else all may begin, and stay, empty
    return Nerf(arrays, settings)


def _reduced(view: View, side: int) -> View:
    """A view with a longer side of at most `side` px."""
    longer = max(view.camera.width, view.camera.height)
    if longer <= side:
        return view
    size = round(view.camera.width * side / longer), round(view.camera.height * side / longer)
    image = np.asarray(cv2.resize(view.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    mask = None
    if view.mask is not None:
        mask = cv2.resize(view.mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    return replace(view, image=image, mask=mask, camera=view.camera.resized(*size))


def _training_rays(views: Sequence[View], field: RadianceField) -> tuple[Rays, torch.Tensor, torch.Tensor]:
    """All rays of the views that pass the box, the colours [N, 3] they are to have, and which [M] show the part."""
    device = field.bounds.device
    found, colours, masks = [], [], []
    for view in views:
        assert view.pose is not None and view.mask is not None
        rows, columns = np.mgrid[: view.camera.height, : view.camera.width]
        pixels = torch.from_numpy(np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32) + 0.5)
        rays = Rays.through(pixels.to(device), *on_device(view.camera, view.pose, str(device)))
        near, far = rays.within(field.bounds)
        found.append(rays.take(far > near))
        wanted = torch.from_numpy(view.image.reshape(-1, 3).astype(np.float32) / np.float32(255)).to(device)
        colours.append(wanted[far > near])
        masks.append(torch.from_numpy(view.mask.ravel()).to(device)[far > near])
    origins, directions = torch.cat([r.origins for r in found]), torch.cat([r.directions for r in found])
    part = torch.cat(masks).nonzero()[:, 0]
    if not len(part):
        raise TrainingError("no view shows the part where it is expected: check poses and masks")
    return Rays(origins, directions), torch.cat(colours), part
