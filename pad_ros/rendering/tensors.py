"""The Gaussians as tensors, for what needs gradients or a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..imaging.geometry import Camera
from .gaussians import ARRAYS, Floats, Gaussians
from .rasterize import rasterization


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
    eps2d: float

    @staticmethod
    def of(gaussians: Gaussians, device: str) -> GaussianTensors:
        """On the CPU they share the memory of `gaussians`."""
        arrays = {name: np.ascontiguousarray(getattr(gaussians, name), np.float32) for name in ARRAYS}
        tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        return GaussianTensors(eps2d=gaussians.eps2d, **tensors)

    @property
    def sh_degree(self) -> int:
        return int(self.sh.shape[1] ** 0.5) - 1

    def rasterize(
        self, viewmats: Tensor, Ks: Tensor, camera: Camera, **options: Any
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """`rasterization` of these Gaussians in images of the size of `camera`; `sh_degree`: all, if not given."""
        options = {"sh_degree": self.sh_degree, **options}
        return rasterization(
            self.means, self.quats, self.scales, self.opacities, self.sh, viewmats, Ks, camera.width, camera.height,
            eps2d=self.eps2d, **options,
        )  # fmt: skip

    def arrays(self) -> Gaussians:
        """In main memory, without gradients."""
        return Gaussians(eps2d=self.eps2d, **{name: to_host(getattr(self, name)) for name in ARRAYS})
