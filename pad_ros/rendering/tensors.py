"""The Gaussians as tensors, for what needs gradients or a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .gaussians import Floats, Gaussians


@dataclass(frozen=True, eq=False)
class GaussianTensors:
    """`Gaussians` on a device: the same fields as float32 tensors, in the form that `rasterization` takes."""

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4]
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    sh: Tensor  # [N, K, 3]
    footprint: float

    @staticmethod
    def of(gaussians: Gaussians, device: str) -> GaussianTensors:
        """On the CPU they share the memory of `gaussians`."""

        def tensor(array: Floats) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        g = gaussians
        return GaussianTensors(
            tensor(g.means), tensor(g.quats), tensor(g.scales), tensor(g.opacities), tensor(g.sh), g.footprint
        )

    @property
    def sh_degree(self) -> int:
        return int(self.sh.shape[1] ** 0.5) - 1

    def arrays(self) -> Gaussians:
        """In main memory, without gradients."""

        def array(tensor: Tensor) -> Floats:
            return np.asarray(tensor.detach().cpu().numpy())

        return Gaussians(
            array(self.means), array(self.quats), array(self.scales), array(self.opacities), array(self.sh),
            self.footprint,
        )  # fmt: skip
