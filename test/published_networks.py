"""torchvision's MobileNetV2 and EfficientNet-B4 with random weights: the layout of its state dicts, and its results."""

import functools
from collections import OrderedDict

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from pad_ros.networks.backbones import Backbone, exported
from pad_ros.networks.network import Network

MOBILENET_STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 3, 2, 32, 3), (6, 3, 2, 64, 4), (6, 3, 1, 96, 3),
                    (6, 3, 2, 160, 3), (6, 3, 1, 320, 1))  # fmt: skip
EFFICIENTNET_STAGES = ((1, 3, 1, 24, 2), (6, 3, 2, 32, 4), (6, 5, 2, 56, 4), (6, 3, 2, 112, 6), (6, 5, 1, 160, 6),
                       (6, 5, 2, 272, 8), (6, 3, 1, 448, 2))  # fmt: skip
MOBILENET_TAPS, EFFICIENTNET_TAPS = (1, 3, 6, 13, 17), (1, 2, 3, 5, 7)  # entries of `features`


def conv(i: int, o: int, k: int = 1, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None):
    layers = [nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act()] if act else []))


class Squeeze(nn.Module):
    def __init__(self, wide: int, narrow: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(wide, narrow, 1), nn.Conv2d(narrow, wide, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = nn.functional.silu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(gate))


class Block(nn.Module):
    """An inverted residual; its layers are called `conv` in MobileNetV2 and `block` in EfficientNet."""

    def __init__(self, name: str, i: int, o: int, k: int, stride: int, expansion: int):
        super().__init__()
        self.name, self.residual = name, stride == 1 and i == o
        wide, act = i * expansion, nn.ReLU6 if name == "conv" else nn.SiLU
        layers = [conv(i, wide, act=act)] if expansion > 1 else []
        layers.append(conv(wide, wide, k, stride, wide, act))
        if name == "conv":
            layers += [nn.Conv2d(wide, o, 1, bias=False), nn.BatchNorm2d(o)]
        else:
            layers += [Squeeze(wide, i // 4), conv(wide, o)]
        setattr(self, name, nn.Sequential(*layers))

    def forward(self, x: Tensor) -> Tensor:
        y = getattr(self, self.name)(x)
        return x + y if self.residual else y


class Published(nn.Module):
    def __init__(self, name: str):
        super().__init__()
        mobile = name == "mobilenet-v2"
        self.taps = MOBILENET_TAPS if mobile else EFFICIENTNET_TAPS
        channels = 32 if mobile else 48
        features: list[nn.Module] = [conv(3, channels, 3, 2, act=nn.ReLU6 if mobile else nn.SiLU)]
        for expansion, k, stride, out, blocks in MOBILENET_STAGES if mobile else EFFICIENTNET_STAGES:
            stage = []
            for i in range(blocks):
                stage.append(Block("conv" if mobile else "block", channels, out, k, stride if i == 0 else 1, expansion))
                channels = out
            features += stage if mobile else [nn.Sequential(*stage)]
        self.features = nn.Sequential(*features)
        self.classifier = nn.Linear(8, 2)  # published files have a head, which is not read

    def forward(self, image: Tensor) -> list[Tensor]:
        x, found = image, []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                found.append(x)
        return found


def published(name: str, seed: int = 0) -> Published:
    """With random weights whose features neither vanish nor explode."""
    torch.manual_seed(seed)
    network = Published(name).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


def random_state(name: str) -> "OrderedDict[str, Tensor]":
    return published(name).state_dict()


def network_of(name: str, state: dict[str, Tensor]) -> Network:
    """As `read_networks` gives it."""
    content = save({key: value.contiguous() for key, value in state.items()})
    return Network(name, "safetensors", content, "Apache-2.0", "yes", "ab" * 32)


def random_network(name: str = "mobilenet-v2") -> Network:
    return exported(network_of(name, random_state(name)))


@functools.cache
def random_backbone() -> Backbone:
    return Backbone(random_network())


def random_images(count: int = 2, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype(np.uint8)
