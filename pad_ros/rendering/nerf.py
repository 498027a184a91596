"""The neural radiance field of a part (NeRF, Mildenhall et al. 2020): its weights, and the file that keeps them.

`radiance_field` runs it; this module needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import ModelError
from ..settings import NerfSettings

NERF_FILE = "nerf.safetensors"
NETWORKS = ("coarse", "fine")
BOUNDS = "bounds"  # [2, 3], the lowest and the highest corner of the box that the part is in
MAX_EXTENT = 1e6  # part units

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Nerf:
    """arrays: `BOUNDS`, and for each of `NETWORKS` the weights that `layer_shapes` names, float32."""

    arrays: dict[str, Floats]
    settings: NerfSettings

    @property
    def bounds(self) -> Floats:
        """[2, 3]: the corners of the box that the part is in; around it is nothing."""
        return self.arrays[BOUNDS]

    def check(self) -> None:
        """ModelError where arrays are missing, of another shape or type than the settings say, or not finite."""
        expected = {BOUNDS: (2, 3)} | {
            f"{network}.{name}": shape for network in NETWORKS for name, shape in layer_shapes(self.settings).items()
        }
        if odd := sorted(set(expected) ^ set(self.arrays)):
            raise ModelError(f"{NERF_FILE}: {odd[0]} is missing, or not expected, by the settings of the model")
        for name, shape in expected.items():
            array = self.arrays[name]
            if array.shape != shape or array.dtype != np.float32:
                raise ModelError(f"{NERF_FILE}: {name} is {array.dtype} {array.shape}, expected float32 {shape}")
            if not np.isfinite(array).all():
                raise ModelError(f"{NERF_FILE}: {name} has values that are not finite")
        if not (self.bounds[0] < self.bounds[1]).all() or np.abs(self.bounds).max() > MAX_EXTENT:
            raise ModelError(f"{NERF_FILE}: an impossible box around the part")


def layer_shapes(settings: NerfSettings) -> dict[str, tuple[int, ...]]:
    """The weights of one network: `layers` of `width`, the encoded point again in the middle, then density, and colour
    from the encoded direction (Mildenhall et al. 2020, figure 7)."""
    point, view, width = 3 + 6 * settings.frequencies, 3 + 6 * settings.view_frequencies, settings.width
    sizes = {}
    for i in range(settings.layers):
        sizes[f"layers.{i}"] = (width, point if i == 0 else width + (point if i == skip_at(settings) else 0))
    sizes |= {"density": (1, width), "feature": (width, width), "view": (width // 2, width + view)}
    sizes["colour"] = (3, width // 2)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (out, into) in sizes.items():
        shapes |= {f"{name}.weight": (out, into), f"{name}.bias": (out,)}
    return shapes


def skip_at(settings: NerfSettings) -> int:
    """The layer that sees the encoded point again; none in shallow networks."""
    return settings.layers // 2 + 1 if settings.layers > 4 else settings.layers


def save_nerf(nerf: Nerf, bundle: Path) -> None:
    save_file(nerf.arrays, bundle / NERF_FILE)


def load_nerf(bundle: Path, settings: NerfSettings) -> Nerf:
    """What `save_nerf` wrote; ModelError where it is missing, damaged, or not as the settings say."""
    path = bundle / NERF_FILE
    try:
        with safe_open(path, "numpy") as file:
            nerf = Nerf({name: file.get_tensor(name) for name in file.keys()}, settings)  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from error
    nerf.check()
    return nerf
