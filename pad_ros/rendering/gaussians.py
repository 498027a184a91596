"""The Gaussians of a part."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Gaussians:
    """3D Gaussians in the part frame, in the activated form that `rasterize` takes (float32)."""

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4] (w, x, y, z), not necessarily normalised
    scales: Tensor  # [N, 3] standard deviations, part units
    opacities: Tensor  # [N] in 0..1
    sh: Tensor  # [N, K, 3], K = (degree + 1)^2

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def sh_degree(self) -> int:
        return int(self.sh.shape[1] ** 0.5) - 1
