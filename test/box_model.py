"""A reference model of the box made of Gaussians, whose camera is refined and verified as that of a trained one."""

from dataclasses import replace

import numpy as np
from model_factory import make_calibration, make_map, make_model
from splat_scenes import CAMERA, WHITE, box, orbit

from pad_ros.imaging.geometry import Pose
from pad_ros.imaging.images import Image
from pad_ros.inspector import Inspector
from pad_ros.localization.result import Localization
from pad_ros.model import ReferenceModel
from pad_ros.rendering.gaussians import Gaussians
from pad_ros.rendering.renderer import Renderer

PART = box()
POSES = orbit(6)


def make_box_model(**calibration: float) -> ReferenceModel:
    """Its features belong to another part: what they find must come from a test. calibration: what differs."""
    model = make_model(len(PART))
    sfm_map = replace(make_map(), poses=tuple(POSES[:3]), cameras=(CAMERA,) * 3)
    known = replace(make_calibration(len(PART)), **{"max_loss": 0.05, "coverage": 3.0, **calibration})
    return replace(model, gaussians=PART, camera=CAMERA, sfm_map=sfm_map, calibration=known)


def make_box_inspector(**calibration: float) -> Inspector:
    return Inspector(make_box_model(**calibration), "cpu")


def photograph(pose: Pose, part: Gaussians = PART) -> Image:
    """An 8-bit image of the part with a camera's noise."""
    image = Renderer(part, WHITE).render(CAMERA, pose).rgb8
    noise = np.random.default_rng(0).normal(0, 1.5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def located(inspector: Inspector, image: Image, prior: Localization | None = None) -> Localization:
    return inspector.localize(inspector.prepare(image), prior)
