"""What the fit of the Gaussians depends on."""

from __future__ import annotations

from dataclasses import dataclass

from ..rendering.gaussians import MAX_EPS2D
from ..settings import bounded


@dataclass(frozen=True)
class SplattingSettings:
    """What the fit depends on besides the views. Learning rates are those at the start."""

    gaussians: int = bounded(30_000, 100, 2_000_000)
    first_gaussians: int = bounded(8_000, 100, 2_000_000)  # until `first_until`
    steps: int = bounded(15_000, 1, 10_000_000)  # upper bound; the time given usually ends the fit earlier
    sh_degree: int = bounded(3, 0, 3)  # raised from 0 over the first quarter
    footprint: float = bounded(0.1, 0, MAX_EPS2D)  # px², see Gaussians; 0.3 blurs edges that photographs have
    ssim_weight: float = bounded(0.2, 0, 1)
    silhouette_weight: float = 0.1  # of |alpha - silhouette|, where a plain background gives silhouettes
    opacity_weight: float = 0.01  # of the mean opacity: hidden Gaussians fade and are moved to where they are needed
    margin: int = bounded(8, 0, 1000)  # px around the part's box that are rendered too, so that floaters there are seen
    # From coarse to fine: larger windows are shrunk to about so many pixels, until these shares of the fit. Steps are
    # cheaper so, and Gaussians end where more is right than a few pixels.
    first_pixels: int = bounded(20_000, 1000, 10**9)
    first_until: float = bounded(0.3, 0, 1)
    coarse_pixels: int = bounded(100_000, 1000, 10**9)
    coarse_until: float = bounded(0.5, 0, 1)
    relocate_every: int = bounded(100, 1, 10_000_000)  # steps
    relocate_until: float = bounded(0.8, 0, 1)  # share of the fit; afterwards the Gaussians only settle
    kept: float = bounded(0.7, 0.01, 1)  # share of the Gaussians that then stay: those that most is seen of
    dead_opacity: float = 0.01
    lr_means: float = 4e-4  # times the radius of the part
    lr_scales: float = 1e-2
    lr_quats: float = 4e-3
    lr_opacities: float = 5e-2
    lr_sh0: float = 1e-2
    lr_sh: float = 1e-3
    lr_decay: float = bounded(50.0, 1, 1e6)  # all but the opacities' rate end at 1/lr_decay

    @property
    def starting(self) -> int:
        """How many Gaussians the fit begins with."""
        return min(self.first_gaussians, self.gaussians)
