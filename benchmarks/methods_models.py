"""Models of several methods from one fit of the Gaussians: each gets its own map and its own calibration."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablation import with_pose_and_mask
from remembered import digest, remembered

from pad_ros.compute.threads import only_our_threads
from pad_ros.imaging.geometry import Camera, Pose
from pad_ros.imaging.images import Image
from pad_ros.imaging.views import ReferenceViews
from pad_ros.localization import inerf
from pad_ros.localization.pose_optimization import PoseOptimizer
from pad_ros.localization.sfm_map import SfmMap
from pad_ros.methods.presets import Method
from pad_ros.model import ReferenceModel
from pad_ros.rendering.nerf import load_nerf
from pad_ros.rendering.nerf_renderer import NerfRenderer
from pad_ros.training.calibration import calibrate
from pad_ros.training.fitting import split
from pad_ros.training.mapping import build_map
from pad_ros.training.nerf_fit import surface_gaussians

SAME_MAP = ("features", "matcher", "retrieval", "window_pixels", "max_scale")


def with_gaussians_of(
    base: ReferenceModel, method: Method, views: ReferenceViews, out: Path, effort: tuple[int, Path, float]
) -> ReferenceModel:
    """`base`, a model of the same views, as `method` would have it; a map of another model below `out` serves again.

    effort: of the fitted views, every so-many-th calibrates (and if not all do, every second held-out one); the folder
    of a radiance field; rate of false rejects.
    training["seconds"] leaves out the Gaussians, which are not the method's, and the field.
    """
    every, folder, rate = effort
    began = time.monotonic()
    poses = dict(zip(base.sfm_map.view_names, base.sfm_map.poses, strict=True))
    posed = tuple(with_pose_and_mask(view, base, poses) for view in views.views if view.name in poses)
    fitted, held_out = split(posed)
    settings = method.to_dict()
    sfm_map = known_map(base, settings, out)
    if sfm_map is None:
        given = replace(views, views=posed)
        sfm_map = build_map(given, base.background, method.localization, base.networks, refine=False)[0]
    model = replace(base, method=method.name, settings=settings, sfm_map=sfm_map, calibration=None)
    if method.rendering == "nerf":
        field = load_nerf(folder, method.nerf)
        with only_our_threads():
            surface = surface_gaussians(field, fitted, base.background, "cpu", 0)
        model = replace(model, nerf=field, gaussians=surface)
    with ExitStack() as stack:  # calibration looks at the held-out views twice
        stack.enter_context(remembered(PoseOptimizer, "fit", _fit_key))
        stack.enter_context(remembered(inerf, "descend", _descent_key))
        calibration = calibrate(model, fitted[::every], held_out[:: 1 + (every > 1)], rate)
    seconds = round(time.monotonic() - began, 1)
    return replace(model, calibration=calibration, training={**base.training, "seconds": seconds})


def known_map(base: ReferenceModel, settings: dict[str, Any], out: Path) -> SfmMap | None:
    """The map of `base`, or of a model below `out`, that the same features, matcher and retrieval made."""
    for model in (base, *map(ReferenceModel.load, sorted(out.glob("*/model")))):
        if all(model.settings["localization"][key] == settings["localization"][key] for key in SAME_MAP):
            return model.sfm_map
    return None


def _fit_key(optimizer: PoseOptimizer, image: Image, camera: Camera, start: Pose, weights: Any = None) -> object:
    return optimizer.settings, digest(image, start.matrix, *(() if weights is None else (weights,)))


def _descent_key(renderer: NerfRenderer, image: Image, camera: Camera, start: Pose) -> object:
    return digest(image, start.matrix)
