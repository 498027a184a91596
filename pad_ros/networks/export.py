"""Writing convolutional networks as ONNX graphs, at training time; a line machine only runs them.

Written operator by operator with the onnx package rather than traced by torch's exporters, whose output changes from
release to release: equal weights give equal bytes, and normalisations are folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingDependencyError

Floats = NDArray[np.float32]
Activation = Literal["none", "relu6", "silu"]

OPSET = 17
IR_VERSION = 8
INPUT = "image"


class OnnxGraph:
    """A network from images [N, 3, H, W] (RGB, 0..1, any size) to named outputs.

    The first operators make (image - mean) / deviation of it; `image` is the result's name.
    Raises MissingDependencyError where the onnx package is not installed. tensorflow_padding: at stride 2 that pads
    less above and on the left, as networks need it that were trained with it.
    """

    side: int | None = None  # px of the one square image that a network takes; None: any size, any number

    def __init__(self, mean: Sequence[float], deviation: Sequence[float], tensorflow_padding: bool = False) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingDependencyError(
                "the package onnx is not installed; training with a backbone exports it (pip install onnx)"
            ) from error
        self._onnx = onnx
        self._tensorflow_padding = tensorflow_padding
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._outputs: list[Any] = []
        centred = self._node("Sub", INPUT, self._constant(np.array(mean, np.float32).reshape(1, 3, 1, 1)))
        self.image = self._node("Div", centred, self._constant(np.array(deviation, np.float32).reshape(1, 3, 1, 1)))

    def conv(
        self, x: str, weight: Floats, bias: Floats, stride: int = 1, groups: int = 1, activation: Activation = "none"
    ) -> str:
        """A convolution that keeps the size, divided by `stride`. weight: [O, I / groups, k, k]; bias: [O]."""
        k = weight.shape[-1]
        padding: dict[str, Any] = {"auto_pad": "SAME_UPPER"} if self._tensorflow_padding else {"pads": [k // 2] * 4}
        x = self._node(
            "Conv", x, self._constant(weight), self._constant(bias), kernel_shape=[k, k], strides=[stride, stride],
            group=groups, **padding,
        )  # fmt: skip
        if activation == "relu6":
            return self._node("Clip", x, self._constant(np.float32(0)), self._constant(np.float32(6)))
        return self._node("Mul", x, self._node("Sigmoid", x)) if activation == "silu" else x

    def squeeze_excite(self, x: str, reduce: tuple[Floats, Floats], expand: tuple[Floats, Floats]) -> str:
        """Channels weighted by what their means say (Hu et al. 2018), with SiLU between the two (weight, bias)."""
        gate = self.conv(self._node("GlobalAveragePool", x), *reduce, activation="silu")
        return self._node("Mul", x, self._node("Sigmoid", self.conv(gate, *expand)))

    def add(self, x: str, y: str) -> str:
        return self._node("Add", x, y)

    def output(self, x: str, name: str, channels: int) -> None:
        """Let `x` be the output `name`."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [x], [name]))
        shape = ["batch", channels, f"{name} height", f"{name} width"]
        self._outputs.append(self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, shape))

    def content(self, name: str) -> bytes:
        """The finished graph, as an ONNX file."""
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        shape = ["batch", 3, "height", "width"] if self.side is None else [1, 3, self.side, self.side]
        image = helper.make_tensor_value_info(INPUT, kind, shape)
        graph = helper.make_graph(self._nodes, name, [image], self._outputs, self._constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="pad_ros"
        )
        self._onnx.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _constant(self, values: NDArray[np.float32] | np.float32) -> str:
        return self._kept(np.array(values, np.float32))

    def _integers(self, *values: int) -> str:
        return self._kept(np.array(values, np.int64))

    def _integer(self, value: int) -> str:
        return self._kept(np.array(value, np.int64))

    def _kept(self, values: NDArray[np.generic]) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(values, name))
        return name
