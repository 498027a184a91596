"""`pad train`: from reference views to a reference model."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime, timezone

from ..compute.threads import only_our_threads
from ..errors import TrainingError
from ..imaging.background import Background, estimate_background, part_mask
from ..imaging.views import ReferenceViews, View
from ..localization.sfm_map import SfmMap
from ..methods.presets import Method
from ..model import ReferenceModel
from ..networks.network import Network
from ..progress import say
from ..rendering.device import resolve_device
from .calibration import calibrate, take_photographs
from .fitting import Job, fit_all, fit_part
from .mapping import build_map
from .region import FOUND, WHOLE_SCENE, Region, settle_region

MIN_VIEWS = 8
RESERVE = 1.5  # seconds per megapixel of the views that calibration is expected to take on two cores
MIN_PSNR = 17.0  # dB on the part's pixels of held-out views
MIN_FIT_SHARE = 0.4  # of the budget, whatever mapping took


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
    refine_poses: bool = False,
    part: Region | str = FOUND,
) -> ReferenceModel:  # parameters: one for each option of the command
    """Learn a reference model from views of one good part in about `budget` seconds.

    networks: those that the method names; they become part of the model. refine_poses: as in `build_map`. part: the
    region that is compared, where the ground is not plain; FOUND: what the cameras look at; WHOLE_SCENE: everything.
    Raises TrainingError where the views do not describe one part, InputError for bad settings.
    """
    began, device = time.monotonic(), resolve_device(device)
    if len(views) < MIN_VIEWS:
        raise TrainingError(f"{views.source}: {len(views)} views are too few, give at least {MIN_VIEWS}")
    background = find_background(views)
    sfm_map, posed = build_map(views, background, method.localization, networks, device, refine_poses)
    _check_mapped(posed, views)
    masked = with_masks(posed.views, background)
    region = region_of(part, masked, sfm_map)
    with only_our_threads():
        mapping_seconds = time.monotonic() - began
        reserved = RESERVE * sum(view.camera.width * view.camera.height for view in masked) / 1e6
        fit_seconds = max(budget - mapping_seconds - reserved, MIN_FIT_SHARE * budget)
        job = Job(method, fit_seconds, device, seed)
        fit = fit_all(masked, background, sfm_map, job) if region is None else fit_part(masked, region, sfm_map, job)
        quality = fit.quality
        say(f"held-out views: {quality.psnr:.1f} dB ({quality.psnr_part:.1f} dB on the part), SSIM {quality.ssim:.3f}")
        photographs = take_photographs(fit.gaussians, fit.views, fit.background, device, in_scene=region is not None)
    figures = {
        "source": views.source, "views": len(views), "registered": len(masked), "fitted": len(fit.fitted),
        "held_out": dataclasses.asdict(quality), "gaussians": len(fit.gaussians), "device": device, "seed": seed,
        "budget_s": budget, **fit.described,
    }  # fmt: skip
    model = ReferenceModel(
        name=name,
        method=method.name,
        settings=method.to_dict(),
        camera=dataclasses.replace(masked[0].camera, distortion=masked[0].distortion),
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
    model = _calibrated(model, fit.fitted, fit.held_out, false_reject_rate)
    seconds = round(time.monotonic() - began, 1)
    return dataclasses.replace(model, training={**model.training, "seconds": seconds})


def _calibrated(
    model: ReferenceModel, fitted: tuple[View, ...], held_out: tuple[View, ...], false_reject_rate: float
) -> ReferenceModel:
    """The model with a threshold, where it renders unseen views well enough for one."""
    if model.training["held_out"]["psnr_part"] < MIN_PSNR:
        say(
            f"warning: renderings below {MIN_PSNR:g} dB cannot tell good from bad: the model gets no threshold and "
            "every verdict will be HOLD; give more --budget, or check poses and background"
        )
        return model
    device, seed = model.training["device"], model.training["seed"]
    return dataclasses.replace(model, calibration=calibrate(model, fitted, held_out, false_reject_rate, device, seed))


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
        view if view.mask is not None else dataclasses.replace(view, mask=part_mask(view.image, background))
        for view in views
    )
