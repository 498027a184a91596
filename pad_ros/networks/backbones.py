"""Backbones whose features are compared: exported at training, run by ONNX Runtime, part of the reference model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .architectures import ARCHITECTURES
from .network import Network
from .sam_export import sam_vit_b

Floats = NDArray[np.float32]

LEVELS = 5  # level i has stride 2^(i + 1)
EXPORTS = {**ARCHITECTURES, "sam-vit-b": sam_vit_b}


def exported(network: Network) -> Network:
    """A backbone as it was published becomes the ONNX graph of its levels; any other network stays as it is.

    Raises InputError where the weights are not those of the architecture, MissingDependencyError without onnx.
    """
    if network.name not in EXPORTS or network.kind == "onnx":
        return network
    state = {name: tensor.float().numpy() for name, tensor in network.tensors().items()}
    return replace(network, kind="onnx", content=EXPORTS[network.name](state))


class Backbone:
    """Feature maps of images at five strides: 2, 4, 8, 16 and 32."""

    provides: ClassVar[Sequence[int]] = range(LEVELS)

    def __init__(self, network: Network, device: str = "cpu") -> None:
        """device: "cpu" or "cuda", see `Network.session`. ModelError where `network` is no sound exported backbone."""
        import onnxruntime

        self.name = network.name
        self._session = network.session(device)
        outputs = {output.name for output in self._session.get_outputs()}
        if [i.name for i in self._session.get_inputs()] != ["image"] or not outputs >= set(_names(self.provides)):
            raise ModelError(f"the network {network.name} is not a backbone as pad_ros exports them")
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True

    def levels(self, images: NDArray[np.uint8] | Floats, wanted: Sequence[int] = range(LEVELS)) -> list[Floats]:
        """The wanted levels [N, C, ceil(H / stride), ceil(W / stride)] of images [N, H, W, 3].

        Images are RGB, uint8 or float32 in 0..1. Only the layers up to the deepest level wanted are run.
        """
        values = images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images
        fed = {"image": np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)}
        return [np.asarray(x) for x in self._session.run(_names(wanted), fed, self._options)]


def _names(levels: Iterable[int]) -> list[str]:
    return [f"level{level}" for level in levels]
