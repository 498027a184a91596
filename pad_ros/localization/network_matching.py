"""Matchers that are networks: LighterGlue (for XFeat) and LightGlue (Lindenberger et al., ICCV 2023)."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import MissingDependencyError, ModelError
from ..networks.network import Network
from .features import Features
from .matching import NO_PAIRS, Pairs

MIN_FEATURES = 2
THRESHOLDS = "confidence_thresholds"  # which follow from the number of layers, and some checkpoints lack
MATCHER = "matcher."  # before its tensors' names in LighterGlue's checkpoint, which holds the features' as well


class LighterGlue:
    """LighterGlue in ONNX Runtime (Potje et al.): LightGlue with three layers, trained for XFeat."""

    def __init__(self, network: Network, device: str = "cpu") -> None:
        """device: see `Network.session`."""
        self._session = network.session(device)
        names = {one.name for one in self._session.get_inputs()}
        if names != {"kpts0", "kpts1", "desc0", "desc1"}:
            raise ModelError(f"not the network of LighterGlue (inputs {', '.join(sorted(names))})")

    def match(self, first: Features, second: Features) -> Pairs:
        if min(len(first), len(second)) < MIN_FEATURES:
            return NO_PAIRS
        inputs = {
            "kpts0": _centred(first)[None], "desc0": np.asarray(first.descriptors, np.float32)[None],
            "kpts1": _centred(second)[None], "desc1": np.asarray(second.descriptors, np.float32)[None],
        }  # fmt: skip
        matches, _ = self._session.run(["matches", "scores"], inputs)
        return np.asarray(matches, np.int64).reshape(-1, 2)


class LightGlue:
    """LightGlue as the packages `lightglue` or `kornia` implement it, with weights that are here already.

    With those of `lightglue-xfeat` it is the whole LighterGlue: six layers, width 96, one head.
    """

    def __init__(self, network: Network, device: str = "cpu") -> None:
        state = _per_layer(network.tensors(device))
        # features=None keeps the packages from downloading.
        self._network = _implementation()(features=None, **_shape(state)).eval()
        try:
            missing, surplus = self._network.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise ModelError(f"not the weights of LightGlue ({' '.join(str(error).split())[:200]})") from error
        if wrong := [name for name in (*missing, *surplus) if name != THRESHOLDS]:
            raise ModelError(f"not the weights of LightGlue ({len(wrong)} tensors missing or surplus: {wrong[0]})")
        self._network, self._device = self._network.to(device), device

    @torch.inference_mode()
    def match(self, first: Features, second: Features) -> Pairs:
        if min(len(first), len(second)) < MIN_FEATURES:
            return NO_PAIRS
        found = self._network({"image0": _as_input(first, self._device), "image1": _as_input(second, self._device)})
        return np.asarray(found["matches"][0].cpu().numpy(), np.int64).reshape(-1, 2)


def _implementation() -> Any:
    for module in ("lightglue", "kornia.feature"):
        try:
            return importlib.import_module(module).LightGlue
        except ImportError:
            continue
    raise MissingDependencyError(
        "localization.matcher=lightglue needs the Python package kornia (Apache-2.0): pip install 'pad_ros[lightglue]'"
    )


def _per_layer(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matcher's tensors. Some checkpoints name all self-attentions first; the implementations go layer by layer."""
    if any(name.startswith(MATCHER) for name in state):
        state = {name.removeprefix(MATCHER): value for name, value in state.items() if name.startswith(MATCHER)}
    renamed = {}
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        if kind in ("self_attn", "cross_attn"):
            layer, _, rest = rest.partition(".")
            name = f"transformers.{layer}.{kind}.{rest}"
        renamed[name] = value
    return renamed


def _shape(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Width, heads and layers, by the tensors; ModelError where these are none of LightGlue."""
    try:
        width, frequencies = len(state["log_assignment.0.final_proj.weight"]), len(state["posenc.Wr.weight"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"not the weights of LightGlue ({error} is missing)") from error
    channels = state["input_proj.weight"].shape[1] if "input_proj.weight" in state else width
    layers = sum(name.endswith(".final_proj.weight") for name in state)
    return {"input_dim": channels, "descriptor_dim": width, "n_layers": layers, "num_heads": width // (2 * frequencies)}


def _centred(features: Features) -> NDArray[np.float32]:
    """Keypoints [N, 2] of about -1 to 1: from the middle of where they lie, in halves of its longer side."""
    low, high = features.keypoints.min(axis=0), features.keypoints.max(axis=0)
    half = max(0.5 * float((high - low).max()), 1e-6)
    return np.asarray((features.keypoints - 0.5 * (low + high)) / half, np.float32)


def _as_input(features: Features, device: str) -> dict[str, Tensor]:
    low, high = features.keypoints.min(axis=0), features.keypoints.max(axis=0)
    arrays = {"keypoints": features.keypoints - low, "descriptors": features.descriptors, "image_size": high - low + 1}
    return {name: torch.from_numpy(np.asarray(a, np.float32))[None].to(device) for name, a in arrays.items()}
