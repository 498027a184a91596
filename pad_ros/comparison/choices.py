"""What the setting `scoring.comparison` can name. A new way of comparing is a module of this folder and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..errors import InputError
from ..networks.backbones import Backbone
from ..networks.inpainters import Lama, OpenCvInpainter
from ..networks.network import Network, find_network
from ..networks.sam_encoder import SamEncoder
from ..networks.segmenters import GrabCut, Segmenter
from ..settings import WITHOUT_WEIGHTS, ScoringSettings
from .background import BackgroundComparison
from .calibrated import CalibratedComparison
from .protocol import Comparison
from .recipe import CosineComparison, OmniposeComparison, RecipeComparison

COMPARISONS: dict[str, Callable[..., Comparison]] = {
    "calibrated": CalibratedComparison,
    "recipe": RecipeComparison,
    "omnipose": OmniposeComparison,
    "cosine": CosineComparison,
    "background": BackgroundComparison,
}
NEEDS_BACKBONE = ("recipe", "omnipose", "cosine", "background")
ONE_LEVEL = ("sam_vit_b",)  # backbones of a single level, which only "cosine" compares


def check_comparison(settings: ScoringSettings) -> None:
    """InputError where the settings name an unknown comparison, or one whose network they do not name."""
    if settings.comparison not in COMPARISONS:
        raise InputError(
            f"scoring.comparison: expected one of {', '.join(COMPARISONS)}, got {settings.comparison[:80]!r}"
        )
    if settings.comparison in NEEDS_BACKBONE and settings.backbone in WITHOUT_WEIGHTS:
        raise InputError(
            f"scoring.comparison={settings.comparison} compares features: scoring.backbone must name a network"
        )
    if settings.comparison == "background" and settings.masks in ("union", "image") and settings.segmenter == "none":
        raise InputError(
            f"scoring.masks={settings.masks} needs a mask of the part in the image: scoring.segmenter must name what "
            "makes it, or scoring.masks=rendering does without"
        )
    if settings.backbone in ONE_LEVEL and settings.comparison != "cosine":
        raise InputError(f"scoring.backbone={settings.backbone} has one level: it goes with scoring.comparison=cosine")


def create_comparison(settings: ScoringSettings, networks: Iterable[Network] = (), device: str = "cpu") -> Comparison:
    """The comparison that the settings name, with the networks they name; these run on `device`."""
    check_comparison(settings)
    networks = tuple(networks)
    kind = SamEncoder if settings.backbone in ONE_LEVEL else Backbone
    backbone = None if settings.backbone in WITHOUT_WEIGHTS else find_network(kind, settings.backbone, networks, device)
    if settings.segmenter == GrabCut.name:
        segmenter: Segmenter | GrabCut | None = GrabCut()
    else:
        segmenter = find_network(Segmenter, settings.segmenter, networks, device)
    if settings.comparison == "background":
        lama = settings.inpainter == "lama"
        inpainter = find_network(Lama, "lama", networks, device) if lama else OpenCvInpainter()
        return BackgroundComparison(settings, backbone, segmenter, inpainter)
    return COMPARISONS[settings.comparison](settings, backbone, segmenter)
