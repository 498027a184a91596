"""An ImageNet MobileNetV2 that stands in for published backbones where those cannot be had.

Its weights are those of Google's Coral test data (int8 codes with scales, Apache-2.0), with TensorFlow's padding and
normalisation; the levels are torchvision's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pad_ros.networks.export import OnnxGraph
from pad_ros.networks.network import Network

FILE = "coral_tflite/mobilenet_v2_1.0_224_quant.dequant.npz"
LEVEL_ENDS = (2, 8, 17, 38, 50)  # the convolution that each level ends with, the sum behind it included
HEAD = (51, 52)  # convolutions of the classifier, before and behind the pooling


def stand_in(weights: Path) -> Network:
    """The network of `weights`/FILE under the name "mobilenet-v2"; FileNotFoundError where it is missing."""
    path = weights / FILE
    arrays = read_arrays(path)
    graph = OnnxGraph((0.5,) * 3, (0.5,) * 3, tensorflow_padding=True)
    layers = json.loads(str(arrays["graph"]))["layers"]
    values = {layers[0]["inp"]: graph.image}
    ends: dict[int, tuple[str, int]] = {}  # by convolution: what its value is called, and its channels
    last = 0
    for layer in layers:
        if layer["op"] == "ADD":
            values[layer["out"][0]] = graph.add(*(values[i] for i in layer["inp"]))
            ends[last] = values[layer["out"][0]], ends[last][1]
            continue
        last = layer["i"]
        if last in HEAD:
            break
        weight, bias = convolution(arrays, last)
        groups = len(weight) if layer["op"] == "DEPTHWISE_CONV_2D" else 1
        activation = layer["act"] or "none"
        values[layer["out"]] = graph.conv(values[layer["inp"]], weight, bias, layer["stride"], groups, activation)
        ends[last] = values[layer["out"]], len(weight)
    for level, end in enumerate(LEVEL_ENDS):
        graph.output(ends[end][0], f"level{level}", ends[end][1])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Network("mobilenet-v2", "onnx", graph.content("MobileNetV2 (Coral)"), "Apache-2.0", "yes", digest)


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def convolution(arrays: dict[str, NDArray[np.generic]], index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight [O, I, k, k] and bias [O] of a convolution."""
    weight = arrays[f"{index:02d}.w_codes"].astype(np.float32) * arrays[f"{index:02d}.w_scale"].astype(np.float32)
    return weight, arrays[f"{index:02d}.bias"].astype(np.float32)
