"""`pad train`: from reference views to a reference model."""

from __future__ import annotations

import dataclasses
import time
from datetime import datetime, timezone

import numpy as np

from ..compute.threads import only_our_threads
from ..errors import TrainingError
from ..imaging.background import Background, estimate_background, part_mask
from ..imaging.views import ReferenceViews, View
from ..methods.presets import Method
from ..model import ReferenceModel
from ..networks.network import Network
from ..progress import say
from ..rendering.device import resolve_device
from .calibration import calibrate, take_photographs
from .initialise import initial_gaussians, without_floaters
from .mapping import build_map
from .splatting import fit_gaussians, rendering_quality

MIN_VIEWS = 8
HOLD_OUT_EVERY = 8
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
) -> ReferenceModel:  # parameters: one for each option of the command
    """Learn a reference model from views of one good part in about `budget` seconds.

    networks: those that the method names; they become part of the model. refine_poses: as in `build_map`. Raises
    TrainingError where the views do not describe one part, InputError for bad settings.
    """
    began, device = time.monotonic(), resolve_device(device)
    if len(views) < MIN_VIEWS:
        raise TrainingError(f"{views.source}: {len(views)} views are too few, give at least {MIN_VIEWS}")
    background = find_background(views)
    sfm_map, posed = build_map(views, background, method.localization, networks, device, refine_poses)
    _check_mapped(posed, views)
    masked = with_masks(posed.views, background)
    fitted, held_out = split(masked)
    rng = np.random.default_rng(seed)
    with only_our_threads():
        start = initial_gaussians(
            fitted, sfm_map.points, sfm_map.colours, method.splatting.starting, method.splatting.sh_degree, rng
        )
        mapping_seconds = time.monotonic() - began
        reserved = RESERVE * sum(view.camera.width * view.camera.height for view in masked) / 1e6
        fit_seconds = max(budget - mapping_seconds - reserved, MIN_FIT_SHARE * budget)
        gaussians = fit_gaussians(start, fitted, background, method.splatting, fit_seconds, device, seed)
        gaussians = without_floaters(gaussians, fitted)
        quality = rendering_quality(gaussians, held_out, background, device)
        say(f"held-out views: {quality.psnr:.1f} dB ({quality.psnr_part:.1f} dB on the part), SSIM {quality.ssim:.3f}")
        photographs = take_photographs(gaussians, masked, background, device)
    figures = {
        "source": views.source, "views": len(views), "registered": len(masked), "fitted": len(fitted),
        "held_out": dataclasses.asdict(quality), "gaussians": len(gaussians), "device": device, "seed": seed,
        "budget_s": budget,
    }  # fmt: skip
    model = ReferenceModel(
        name=name,
        method=method.name,
        settings=method.to_dict(),
        camera=dataclasses.replace(masked[0].camera, distortion=masked[0].distortion),
        background=background,
        sfm_map=sfm_map,
        gaussians=gaussians,
        calibration=None,
        training=figures,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        photographs=photographs,
        networks=networks,
    )
    model = _calibrated(model, fitted, held_out, false_reject_rate)
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


def split(views: tuple[View, ...]) -> tuple[tuple[View, ...], tuple[View, ...]]:
    """(fitted, held-out): every eighth view is held out, of few views every fourth."""
    every = HOLD_OUT_EVERY if len(views) >= 4 * HOLD_OUT_EVERY else HOLD_OUT_EVERY // 2
    held_out = views[every // 2 :: every]
    names = {view.name for view in held_out}
    return tuple(view for view in views if view.name not in names), held_out


def with_masks(views: tuple[View, ...], background: Background) -> tuple[View, ...]:
    """The views with the part's silhouettes, where they bring them or the background tells them."""
    return tuple(
        view if view.mask is not None else dataclasses.replace(view, mask=part_mask(view.image, background))
        for view in views
    )
