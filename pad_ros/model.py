"""ReferenceModel: what `pad train` learns, and the bundle on disk that holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .geometry import Camera
from .localization.sfm_map import SfmMap
from .rendering.gaussians import Gaussians
from .scoring.calibration import Calibration
from .silhouette import Background


@dataclass(frozen=True, eq=False)
class ReferenceModel:
    """Everything an Inspector needs for one part.

    camera: the pinhole that queries are assumed to come from when they bring no intrinsics.
    method: the preset's name; settings: the full method configuration it was trained with.
    training: figures for the manifest (views, held-out PSNR and SSIM, seconds, ...).
    """

    name: str
    method: str
    settings: dict[str, Any]
    camera: Camera
    background: Background
    sfm_map: SfmMap
    gaussians: Gaussians
    calibration: Calibration | None
    training: dict[str, Any]
    created: str  # ISO 8601, UTC
    hash: str = ""  # sha256 over the files' hashes, set by load and save
