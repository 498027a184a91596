"""From posed views and their map to Gaussians: of all that the views show, or of the part in a scene."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import TrainingError
from ..imaging.background import Background
from ..imaging.views import View
from ..localization.sfm_map import SfmMap
from ..methods.presets import Method
from ..progress import say
from ..rendering.gaussians import Gaussians
from ..rendering.nerf import Nerf
from ..rendering.nerf_renderer import NerfRenderer
from ..settings import SplattingSettings
from .initialise import initial_gaussians, without_floaters
from .nerf_fit import fit_nerf, nerf_quality, surface_gaussians
from .region import Region
from .scene_part import BEHIND_PART, PartView, inside_region, map_of, part_views
from .splatting import RenderingQuality, fit_gaussians, most_steps, rendering_quality

HOLD_OUT_EVERY = 8
SCENE_SHARE = 0.4  # of the time: the whole scene, on small views alone, before the part
PART_COARSE_UNTIL = 0.3  # of the fit of a part that a scene's fit knows already
MIN_PART_VIEWS = 8
FEW_VIEWS = 45  # of fewer none is spared: after calibration the Gaussians are fitted to those held out as well


@dataclass(frozen=True)
class Job:
    """What a fit may take, and how it is done. share: of the most steps that it takes (`most_steps`)."""

    method: Method
    seconds: float
    device: str
    seed: int
    share: float = 1.0


@dataclass(frozen=True, eq=False)
class Fit:
    """The Gaussians, and what they were fitted to.

    views: as they were taken, with masks where the part is known; fitted or held_out. quality: of the held-out ones.
    targets: all of them as the Gaussians reproduce them: of a part in a scene the part alone. background, sfm_map: what
    a model needs to find the part. region: of a part in a scene.
    """

    gaussians: Gaussians
    quality: RenderingQuality
    views: tuple[View, ...]
    fitted: tuple[View, ...]
    held_out: tuple[View, ...]
    targets: tuple[View, ...]
    background: Background
    sfm_map: SfmMap
    region: Region | None = None
    nerf: Nerf | None = None


def split(views: tuple[View, ...]) -> tuple[tuple[View, ...], tuple[View, ...]]:
    """(fitted, held-out): every eighth view is held out, of few views every fourth."""
    every = HOLD_OUT_EVERY if len(views) >= 4 * HOLD_OUT_EVERY else HOLD_OUT_EVERY // 2
    held_out = views[every // 2 :: every]
    names = {view.name for view in held_out}
    return tuple(view for view in views if view.name not in names), held_out


def fit_all(views: tuple[View, ...], background: Background, sfm_map: SfmMap, job: Job) -> Fit:
    """Gaussians of all that the views show in front of the background."""
    fitted, held_out = split(views)
    if job.method.rendering == "nerf":
        nerf = fit_nerf(fitted, background, sfm_map, job.method.nerf, job.seconds, job.device, job.seed)
        gaussians = surface_gaussians(nerf, fitted, background, job.device, job.seed)
        quality = nerf_quality(NerfRenderer(nerf, gaussians, background, None, job.device), held_out)
        return Fit(gaussians, quality, views, fitted, held_out, views, background, sfm_map, nerf=nerf)
    gaussians = without_floaters(_fit_views(fitted, background, sfm_map, job), fitted)
    quality = rendering_quality(gaussians, held_out, background, job.device)
    return Fit(gaussians, quality, views, fitted, held_out, views, background, sfm_map)


def fit_part(views: tuple[View, ...], region: Region, sfm_map: SfmMap, job: Job) -> Fit:
    """Gaussians of the part in the region: those of the scene first, then the part alone, before a plain colour.

    TrainingError where the region holds too little.
    """
    if job.method.rendering == "nerf":
        raise TrainingError("a radiance field is learned of a part before a plain background, not of one in a scene")
    began = time.monotonic()
    fitted, held_out = split(views)
    coarse = replace(job.method, splatting=replace(job.method.splatting, coarse_until=1.0))
    first = replace(job, method=coarse, seconds=SCENE_SHARE * job.seconds)
    scene = _fit_views(fitted, Background(None, 0.0), sfm_map, first)
    inside = inside_region(region, scene, fitted, job.device)
    shown = part_views(scene, inside, views, job.device)
    names = {view.name for view in fitted}
    used, kept = [s for s in shown if s.taken.name in names], [s for s in shown if s.taken.name not in names]
    if len(used) < MIN_PART_VIEWS or not kept:
        raise TrainingError(
            f"only {len(shown)} of {len(views)} views show what is in {region}, {MIN_PART_VIEWS} are needed: give "
            "another region with --part, or more views"
        )
    count = np.count_nonzero(inside)
    say(f"part: {region}, {count} of {len(scene)} Gaussians, seen in {len(shown)} of {len(views)} views")
    settings = replace(job.method.splatting, first_until=0.0, coarse_until=PART_COARSE_UNTIL)
    left = max(job.seconds - (time.monotonic() - began), (1 - SCENE_SHARE) * job.seconds / 2)
    alone = _alone(used)
    settings = _share_of_steps(settings, alone, job)
    gaussians = fit_gaussians(scene.take(inside), alone, BEHIND_PART, settings, left, job.device, job.seed)
    # Some have moved out of the region meanwhile: below the plane they would paint what it looked like there.
    gaussians = without_floaters(gaussians.take(region.contains(gaussians.means.astype(np.float64))), alone)
    quality = rendering_quality(gaussians, _alone(kept), BEHIND_PART, job.device)
    return Fit(
        gaussians, quality, _taken(shown), _taken(used), _taken(kept), _alone(shown), BEHIND_PART,
        sfm_map if job.method.localization.context else map_of(region, sfm_map, shown), region,
    )  # fmt: skip


def fit_to_all(fit: Fit, job: Job) -> Gaussians:
    """The Gaussians of a fit, fitted further to all views, those that were held out included."""
    settings = replace(job.method.splatting, first_until=0.0, coarse_until=0.0)
    settings = _share_of_steps(settings, fit.targets, job)
    gaussians = fit_gaussians(fit.gaussians, fit.targets, fit.background, settings, job.seconds, job.device, job.seed)
    return without_floaters(gaussians, fit.targets)


def _alone(views: Sequence[PartView]) -> tuple[View, ...]:
    return tuple(view.alone for view in views)


def _taken(views: Sequence[PartView]) -> tuple[View, ...]:
    return tuple(view.taken for view in views)


def _fit_views(views: tuple[View, ...], background: Background, sfm_map: SfmMap, job: Job) -> Gaussians:
    began, s = time.monotonic(), job.method.splatting
    rng = np.random.default_rng(job.seed)
    start = initial_gaussians(views, sfm_map.points, sfm_map.colours, s.starting, s.sh_degree, rng)
    seconds = job.seconds - (time.monotonic() - began)
    return fit_gaussians(start, views, background, _share_of_steps(s, views, job), seconds, job.device, job.seed)


def _share_of_steps(settings: SplattingSettings, views: tuple[View, ...], job: Job) -> SplattingSettings:
    return replace(settings, steps=max(round(job.share * most_steps(settings, views)), 1))
