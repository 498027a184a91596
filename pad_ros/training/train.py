"""`pad train`: from reference views to a reference model."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..comparison.features import GRADIENTS
from ..compute.threads import only_our_threads
from ..errors import TrainingError
from ..imaging.background import Background, estimate_background, part_mask
from ..imaging.views import ReferenceViews, View
from ..localization.sfm_map import SfmMap
from ..methods.presets import Method
from ..model import ReferenceModel
from ..networks.network import Network, by_name
from ..progress import say
from ..rendering.device import resolve_device
from ..rendering.photographs import close_together, directions
from .between_views import with_views_between
from .calibration import calibrate, carried_over, take_photographs
from .exposure import levelled
from .fitting import FEW_VIEWS, Fit, Job, fit_all, fit_part, fit_to_all
from .mapping import build_map
from .mapping_tools import MappingTools
from .region import FOUND, WHOLE_SCENE, Region, settle_region
from .scale import NO_SCALE, Scale, by_markers, by_size

MIN_VIEWS = 8
RESERVE = 1.5  # seconds per megapixel of the views that calibration is expected to take on two cores
MIN_PSNR = 17.0  # dB on the part's pixels of held-out views
MIN_FIT_SHARE = 0.4  # of the budget, whatever mapping took
FIRST_FIT = 0.7  # of the time and the steps, of few views: to those that are not held out


def train(
    views: ReferenceViews,
    method: Method,
    *,
    name: str,
    budget: float,
    false_reject_rate: float = 0.01,
    device: str = "auto",
    seed: int = 0,
    networks: tuple[Network, ...] = (),
    refine_poses: bool | None = None,
    part: Region | str = FOUND,
    scale: Scale = NO_SCALE,
) -> ReferenceModel:  # parameters: one for each option of the command
    """Learn a reference model from views of one good part in about `budget` seconds.

    networks: those that the method names; they become part of the model. refine_poses: as in `build_map`. part: the
    region that is compared, where the ground is not plain; FOUND: what the cameras look at; WHOLE_SCENE: everything.
    scale: what is known in metres. Raises TrainingError where the views do not describe one part, InputError for bad
    settings.
    """
    began, device = time.monotonic(), resolve_device(device)
    if len(views) < MIN_VIEWS:
        raise TrainingError(f"{views.source}: {len(views)} views are too few, give at least {MIN_VIEWS}")
    scale.check(views, method.rendering)
    background = find_background(views)
    sfm_map, posed = build_map(views, background, method.localization, networks, device, refine_poses)
    _check_mapped(posed, views)
    if scale.marker is not None:
        sfm_map, posed = by_markers(sfm_map, posed, scale.marker)
    same = levelled(posed, sfm_map)
    background = background if same is posed else find_background(same)
    masked = with_masks(same.views, background)
    region = region_of(part, masked, sfm_map)
    with only_our_threads():
        mapping_seconds = time.monotonic() - began
        reserved = RESERVE * sum(view.camera.width * view.camera.height for view in masked) / 1e6
        fit_seconds = max(budget - mapping_seconds - reserved, MIN_FIT_SHARE * budget)
        few = len(masked) < FEW_VIEWS and method.rendering == "splats"
        share = FIRST_FIT if few else 1.0
        job = Job(method, share * fit_seconds, device, seed, share)
        fit = fit_all(masked, background, sfm_map, job) if region is None else fit_part(masked, region, sfm_map, job)
    quality = fit.quality
    say(f"held-out views: {quality.psnr:.1f} dB ({quality.psnr_part:.1f} dB on the part), SSIM {quality.ssim:.3f}")
    fit = fit if scale.size is None else by_size(fit, scale.size)
    if few and quality.psnr_part >= MIN_PSNR:
        fit = _seen_between(fit, MappingTools(method.localization, by_name(networks), fit.background, device))
    figures = {
        "source": views.source, "views": len(views), "registered": len(masked), "fitted": len(fit.fitted),
        "held_out": asdict(quality), "gaussians": len(fit.gaussians), "device": device, "seed": seed,
        "budget_s": budget, "metres": bool(views.measured or scale != NO_SCALE),
        "part_frame": views.measured.part if views.measured else "",
        **({} if fit.region is None else fit.region.describe()),
    }  # fmt: skip
    model = _calibrated(_uncalibrated(fit, method, figures, name, networks), fit, false_reject_rate)
    if few and model.calibration is not None:
        model = _fitted_to_all(model, fit, replace(job, seconds=fit_seconds - job.seconds, share=1 - share))
    seconds = round(time.monotonic() - began, 1)
    return replace(model, training={**model.training, "seconds": seconds})


def _seen_between(fit: Fit, tools: MappingTools) -> Fit:
    with only_our_threads():
        sfm_map = with_views_between(fit.sfm_map, fit.views, fit.gaussians, fit.background, tools)
    say(
        f"{len(sfm_map.points) - len(fit.sfm_map.points)} landmarks between the views, beside {len(fit.sfm_map.points)}"
    )
    return replace(fit, sfm_map=sfm_map)


def _uncalibrated(
    fit: Fit, method: Method, figures: dict[str, Any], name: str, networks: tuple[Network, ...]
) -> ReferenceModel:
    with only_our_threads():
        photographs = take_photographs(fit.gaussians, fit.views, fit.background, figures["device"], bool(fit.region))
    return ReferenceModel(
        name=name,
        method=method.name,
        settings=method_for_views(method, directions(photographs, fit.gaussians.centre)).to_dict(),
        camera=replace(fit.views[0].camera, distortion=fit.views[0].distortion),
        background=fit.background,
        sfm_map=fit.sfm_map,
        gaussians=fit.gaussians,
        calibration=None,
        training=figures,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        photographs=photographs,
        networks=networks,
        nerf=fit.nerf,
    )


def method_for_views(method: Method, seen_from: NDArray[np.float64]) -> Method:
    """The method, with colours alone where gradients are compared and views (directions [K, 3]) lie far apart.

    What few views show of edges tells little of how they look from other sides.
    """
    if method.scoring.backbone != GRADIENTS.name or close_together(seen_from):
        return method
    say("the views lie far apart: colours are compared, gradients are not")
    return replace(method, scoring=replace(method.scoring, backbone="none"))


def _calibrated(model: ReferenceModel, fit: Fit, false_reject_rate: float) -> ReferenceModel:
    """The model with a threshold, where it renders unseen views well enough for one."""
    if model.training["held_out"]["psnr_part"] < MIN_PSNR:
        say(
            f"warning: renderings below {MIN_PSNR:g} dB cannot tell good from bad: the model gets no threshold and "
            "every verdict will be HOLD; give more --budget, or check poses and background"
        )
        return model
    device, seed = model.training["device"], model.training["seed"]
    return replace(model, calibration=calibrate(model, fit.fitted, fit.held_out, false_reject_rate, device, seed))


def _fitted_to_all(model: ReferenceModel, fit: Fit, job: Job) -> ReferenceModel:
    """The model with the views that were held out for its calibration learned as well."""
    calibration = model.calibration
    assert calibration is not None
    say(f"{len(fit.held_out)} held-out views have shown what to expect, and are learned now as well")
    with only_our_threads():
        gaussians = fit_to_all(fit, job)
        photographs = take_photographs(gaussians, fit.views, fit.background, job.device, bool(fit.region))
    model = replace(
        model, gaussians=gaussians, photographs=photographs,
        training={**model.training, "gaussians": len(gaussians), "fitted": len(fit.views)},
    )  # fmt: skip
    return replace(model, calibration=carried_over(calibration, model, fit.views, job.device, job.seed))


def _check_mapped(posed: ReferenceViews, views: ReferenceViews) -> None:
    """TrainingError where too few views are in the map, before the long fit."""
    if len(posed) < MIN_VIEWS:
        raise TrainingError(
            f"{views.source}: {len(posed)} of {len(views)} views are in the map, a model needs {MIN_VIEWS}: "
            "see above why the others are not, and take more"
        )


def find_background(views: ReferenceViews) -> Background:
    """The views' plain background: the one that their reader put behind them, or else what their borders show."""
    return views.ground or estimate_background([view.image for view in views.views])


def region_of(part: Region | str, views: tuple[View, ...], sfm_map: SfmMap) -> Region | None:
    """The region of the part in a scene; None where silhouettes tell the part, or all that is seen is the part."""
    if all(view.mask is not None for view in views):
        if isinstance(part, Region):
            say(f"the views show the part before a plain ground, or bring masks: --part {part} is not used")
        return None
    region = settle_region(part, sfm_map.points, sfm_map.poses)
    if region is None and part != WHOLE_SCENE:
        say("warning: nothing stands out of the scene, so all of it is compared; say where the part is with --part")
    return region


def with_masks(views: tuple[View, ...], background: Background) -> tuple[View, ...]:
    """The views with the part's silhouettes, where they bring them or the background tells them."""
    return tuple(
        view if view.mask is not None else replace(view, mask=part_mask(view.image, background)) for view in views
    )
