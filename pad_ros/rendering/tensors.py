"""The Gaussians as tensors, for what needs gradients or a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .gaussians import Floats, Gaussians


def to_host(tensor: Tensor) -> Floats:
    """A float32 tensor in main memory; from a GPU through pinned memory, which the card writes to by itself."""
    if tensor.is_cuda:
        pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned.copy_(tensor, non_blocking=True)
        torch.cuda.current_stream(tensor.device).synchronize()
        tensor = pinned
    return np.asarray(tensor.detach().numpy())


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
        return Gaussians(
            to_host(self.means), to_host(self.quats), to_host(self.scales), to_host(self.opacities), to_host(self.sh),
            self.footprint,
        )  # fmt: skip
