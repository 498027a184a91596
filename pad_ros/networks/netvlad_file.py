"""The published checkpoint of NetVLAD: a MATLAB file (as hloc uses it), read by SciPy, which runs none of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

# Convolutions of VGG16 up to conv5_3 by their place in the published list of layers: (outputs, inputs).
VGG16 = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256),
         17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)}  # fmt: skip
VLAD, WHITENING = 30, 33  # places of these layers


def read_matlab(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors of the published .mat file; InputError where it is another."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        net = loadmat(io.BytesIO(content), struct_as_record=False, squeeze_me=True)["net"]
        state = {"mean": np.asarray(net.meta.normalization.averageImage)[0, 0]}
        for place in VGG16:
            weight, bias = net.layers[place].weights
            state[f"vgg16.{place}.weight"], state[f"vgg16.{place}.bias"] = weight.transpose(3, 2, 0, 1), bias
        assignment, centres = net.layers[VLAD].weights  # [512, 64] each, the centres with their sign turned
        state["assignment"], state["centres"] = assignment.T, -centres.T
        weight, bias = net.layers[WHITENING].weights
        state["whitening.weight"], state["whitening.bias"] = weight.reshape(-1, weight.shape[-1]).T, bias
    except (LookupError, AttributeError, ValueError, TypeError, NotImplementedError, OSError, MatReadError) as error:
        raise InputError(f"{path}: not the published NetVLAD ({type(error).__name__}: {error})") from error
    return {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in state.items()}
