"""Random weights in the published layouts, and the shared real ones under their registered names."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from pad_ros.localization import netvlad, superpoint
from pad_ros.networks.network import Network


def random_state(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Normal values that keep the size of what passes through the layers; positive variances."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        inputs = max(int(np.prod(shape[1:])), 1) if len(shape) > 1 else 1
        value = torch.randn(shape, generator=generator) * (2 / inputs) ** 0.5
        state[name] = value.abs() + 0.5 if "running_var" in name or "bn" in name and "weight" in name else value
    return state


def network_of(state: dict[str, Tensor], name: str = "random") -> Network:
    """A network of these tensors."""
    content = save({key: value.contiguous() for key, value in state.items()})
    return Network(name, "safetensors", content, "", "", "")


def superpoint_state(seed: int = 0) -> dict[str, Tensor]:
    return random_state(superpoint.SHAPES, seed)


def netvlad_state(whitened: int = 16, seed: int = 0) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (3,), "assignment": (64, 512), "centres": (64, 512),
        "whitening.weight": (whitened, 64 * 512), "whitening.bias": (whitened,),
    }  # fmt: skip
    for place, (outputs, inputs) in netvlad.VGG16.items():
        shapes[f"vgg16.{place}.weight"], shapes[f"vgg16.{place}.bias"] = (outputs, inputs, 3, 3), (outputs,)
    return random_state(shapes, seed)


def aliked_state(widths: tuple[int, ...] = (4, 8, 8, 16), channels: int = 16, positions: int = 3) -> dict[str, Tensor]:
    """A narrow ALIKED."""
    shapes: dict[str, tuple[int, ...]] = {}
    before = 3
    for i, width in enumerate(widths, start=1):
        for part, inside in ((1, before), (2, width)):
            name = f"block{i}.conv{part}"
            if i > 2:
                shapes |= {f"{name}.offset_conv.weight": (18, inside, 3, 3), f"{name}.offset_conv.bias": (18,)}
                name += ".regular_conv"
            shapes[f"{name}.weight"] = (width, inside, 3, 3)
            for norm in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"block{i}.bn{part}.{norm}"] = (width,)
            shapes[f"block{i}.bn{part}.num_batches_tracked"] = ()
        if i > 1:
            shapes |= {f"block{i}.downsample.weight": (width, before, 1, 1), f"block{i}.downsample.bias": (width,)}
        shapes[f"conv{i}.weight"] = (channels // 4, width, 1, 1)
        before = width
    shapes |= {"score_head.0.weight": (8, channels, 1, 1), "score_head.2.weight": (4, 8, 3, 3),
               "score_head.4.weight": (4, 4, 3, 3), "score_head.6.weight": (1, 4, 3, 3),
               "desc_head.agg_weights": (positions, channels, channels),
               "desc_head.offset_conv.0.weight": (2 * positions, channels, 3, 3),
               "desc_head.offset_conv.0.bias": (2 * positions,),
               "desc_head.offset_conv.2.weight": (2 * positions, 2 * positions, 1, 1),
               "desc_head.offset_conv.2.bias": (2 * positions,),
               "desc_head.sf_conv.weight": (channels, channels, 1, 1)}  # fmt: skip
    return random_state(shapes)


def shared_network(shared: Path, name: str) -> Network:
    """A real network, as it would be read from a weights folder."""
    files = {"xfeat": "xfeat/xfeat_official_verlab.onnx", "lighterglue": "xfeat/lighterglue_L3.onnx"}
    content = (shared / "weights" / files[name]).read_bytes()
    return Network(name, "onnx", content, "Apache-2.0", "yes", "")


def shared_lightglue(shared: Path, name: str) -> Network:
    """A real LightGlue, as it would be read from a weights folder."""
    files = {"lightglue-aliked": "lightglue/aliked_lightglue.pth", "lightglue-xfeat": "xfeat/xfeat-lighterglue.pt"}
    return network_of(torch.load(shared / "weights" / files[name], weights_only=True), name)


def shared_state(shared: Path, name: str) -> dict[str, Tensor]:
    """The tensors of a real ALIKED."""
    return dict(torch.load(shared / "weights" / "aliked" / f"{name}.pth", weights_only=True))
