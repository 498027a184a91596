"""Settings of all stages: what a preset (config/methods/*.yaml), `--set` and a model's manifest may name.

What nobody needs to change is a constant beside its use. Every value is checked against its type and bounds when a
method is built; see `methods.presets`.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, TypeVar

from .errors import InputError

Value = TypeVar("Value")
WITHOUT_WEIGHTS = ("none", "gradients", "grabcut", "opencv")  # in place of a network
MAX_EPS2D = 10.0  # px², of a Gaussian's own footprint in the image


def bounded(default: Value, least: float, most: float) -> Value:
    """A dataclass field whose value (each value of a tuple) must lie in least..most; see `check_bounds`."""
    return field(default=default, metadata={"bounds": (least, most)})


@dataclass(frozen=True)
class LocalizationSettings:
    """How the part and the camera's pose are found. The map is made with the same features and window."""

    # What finds points and views again: names of `localization.choices`.
    features: str = "sift"
    matcher: str = "nearest"
    retrieval: str = "vlad"
    window_pixels: int = bounded(400_000, 10_000, 10**8)  # the part's window is resized to about so many pixels,
    max_scale: float = bounded(2.0, 0.1, 8)  # but enlarged by no more than this
    # Photographs without poses, or without a plain background, keep their own resolution up to so many pixels.
    photo_pixels: int = bounded(4_000_000, 10_000, 10**8)
    matched_views: int = bounded(5, 1, 1000)  # most similar views that a matcher other than "nearest" compares with
    retrieve_above: int = 10_000  # landmarks from which only those of the most similar views are matched,
    retrieved_views: int = bounded(20, 1, 100_000)  # and how many views these are
    context: bool = False  # the landmarks around a part in a scene are kept: for a part that stays in its fixture
    min_inliers: int = bounded(20, 4, 100_000)  # foreign objects reached 14, right poses 95 and more


@dataclass(frozen=True)
class RefinementSettings:
    """Photometric refinement: the first rendering serves all of `levels`, each later one the full resolution."""

    levels: tuple[float, ...] = bounded((0.125, 0.25, 0.5), 0.01, 1)  # shares of the resolution
    renderings: int = bounded(6, 1, 100)  # at most, the one that judges the result included


@dataclass(frozen=True)
class OptimizationSettings:
    """The pose by gradient descent through the rasterizer; without steps features and refinement find it."""

    steps: int = bounded(0, 0, 10_000)
    rate: float = bounded(0.01, 1e-6, 1)  # of Adam: radians, and sizes of the part
    decay: float = bounded(0.8, 1e-3, 1)  # of the rate in each `decay_steps`,
    decay_steps: int = bounded(100, 1, 10_000)
    smooth: bool = True  # little by little; else at once after them
    ssim_weight: float = bounded(0.2, 0, 1)  # w of (1 - w) L1 + w (1 - SSIM)
    matched_radius: int = bounded(0, 0, 1000)  # px: only what is so near to a matched point counts, by L1; 0: all
    pixels: int = bounded(640_000, 2_500, 10**8)  # larger images are shrunk to about so many


@dataclass(frozen=True)
class SplattingSettings:
    """The fit of the Gaussians, besides the views."""

    gaussians: int = bounded(30_000, 100, 2_000_000)
    first_gaussians: int = bounded(8_000, 100, 2_000_000)  # until `first_until`
    steps: int = bounded(6_000, 1, 10_000_000)  # more bring nothing; the time given may end the fit earlier
    sh_degree: int = bounded(3, 0, 3)  # raised from 0 over the first quarter
    eps2d: float = bounded(0.1, 0, MAX_EPS2D)  # px², see Gaussians; 0.3 blurs edges that photographs have
    # From coarse to fine: shares of the fit until which larger windows are shrunk. Steps are cheaper so, and Gaussians
    # end where more is right than a few pixels.
    first_until: float = bounded(0.3, 0, 1)
    coarse_until: float = bounded(0.5, 0, 1)
    relocate_every: int = bounded(100, 1, 10_000_000)  # steps
    relocate_until: float = bounded(0.8, 0, 1)  # share of the fit; afterwards the Gaussians only settle
    kept: float = bounded(0.7, 0.01, 1)  # share of the Gaussians that then stay: those that most is seen of
    lr_means: float = 4e-4  # learning rate at the start, times the radius of the part
    lr_decay: float = bounded(20.0, 1, 1e6)  # that rate ends at 1/lr_decay

    @property
    def starting(self) -> int:
        """How many Gaussians the fit begins with."""
        return min(self.first_gaussians, self.gaussians)


@dataclass(frozen=True)
class NerfSettings:
    """A radiance field in place of Gaussians (rendering: nerf), and the pose by descent through it.

    Networks, samples and rate as Mildenhall et al. 2020; rays, size of the images and steps of the pose as Zhou et al.
    2023 (PAD, section 5); rates and regions of the pose as Lin et al. 2021 (iNeRF) and its public code.
    """

    layers: int = bounded(8, 1, 16)
    width: int = bounded(256, 8, 1024)
    frequencies: int = bounded(10, 0, 16)  # of the encoded point,
    view_frequencies: int = bounded(4, 0, 16)  # and of the direction that it is seen from
    samples: int = bounded(64, 4, 1024)  # of each ray through the coarse network,
    fine_samples: int = bounded(128, 4, 1024)  # and so many more through the fine one
    steps: int = bounded(200_000, 1, 10_000_000)  # upper bound; the time given usually ends the fit earlier
    rays: int = bounded(4096, 16, 1_000_000)  # of each step
    learning_rate: float = bounded(5e-4, 1e-7, 1)
    max_side: int = bounded(400, 16, 10_000)  # px; larger views are shrunk for the fit
    pose_steps: int = bounded(300, 1, 100_000)
    pose_rays: int = bounded(3072, 16, 1_000_000)  # of each step, in the regions of interest
    pose_rate: float = bounded(0.01, 1e-6, 1)  # of Adam: radians, and sizes of the part


@dataclass(frozen=True)
class ScoringSettings:
    """How query and rendering are compared. comparison: a name of `comparison.choices`."""

    comparison: str = "calibrated"
    # whose features are compared as well; gradients are those of the lightness, without weights
    backbone: Literal["none", "gradients", "mobilenet_v2", "efficientnet_b4", "efficientnet_lite0", "sam_vit_b"] = (
        "gradients"
    )
    # finds material added around the part; grabcut is OpenCV's, without weights
    segmenter: Literal["none", "u2net", "birefnet", "birefnet_lite", "grabcut"] = "none"
    # comparison "background" only: which masks of the part are compared in, and what fills in the ground behind it
    masks: Literal["union", "image", "rendering", "none"] = "union"
    inpainter: Literal["opencv", "lama"] = "opencv"
    photographs: int = bounded(4, 0, 64)  # nearest reference photographs that are compared beside the rendering
    shift: int = bounded(1, 0, 8)  # px of misalignment that are forgiven
    scales: tuple[float, ...] = bounded((1.0, 3.0), 0.1, 100)  # px, Gaussian windows that evidence is pooled over

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks needed, under their names in `networks.registry`."""
        chosen = self.backbone, self.segmenter, self.inpainter
        return tuple(name.replace("_", "-") for name in chosen if name not in WITHOUT_WEIGHTS)


def check_bounds(settings: Any, where: str) -> None:
    """InputError where a field of a dataclass instance is outside the bounds that it was declared with."""
    for entry in fields(settings):
        _check(entry, getattr(settings, entry.name), where)


def _check(entry: Field[Any], value: Any, where: str) -> None:
    if "bounds" not in entry.metadata:
        return
    least, most = entry.metadata["bounds"]
    for number in value if isinstance(value, tuple) else (value,):
        if not least <= number <= most:
            raise InputError(f"{where}: {entry.name}: expected {least:g} to {most:g}, got {number:g}")
