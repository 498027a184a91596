"""Run as a script in a process of its own: is the ONNX file on stdin one that a bundle may bring along?

It imports nothing of pad_ros. It exits with 0 where the network was loaded and ran once, else it prints why not, in
one line. Whoever starts it ends it after a time: an operator that never returns must not stop a cell.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from typing import Any

MAX_MEMORY_BYTES = 24 * 2**30  # address space
FREE_SIZE = 64  # of a symbolic dimension but the first, the batch; strides up to 32 divide it
DOMAINS = ("", "ai.onnx")
# Operators on tensors alone: no loops and branches, no sequences, strings, files, or random numbers.
_NAMES = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift Cast CastLike
    Ceil Celu Clip Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum
    DFT DeformConv DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand
    EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
    GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization IsInf IsNaN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max
    MaxPool Mean Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QLinearConv
    QLinearMatMul QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RoiAlign Round ScatterElements
    ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze
    Sub Sum Tan Tanh Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
OPERATORS = frozenset(_NAMES.split())


def problem_of(content: bytes) -> str | None:
    """What forbids the file, judged without running it; None if nothing does."""
    import onnx

    model = onnx.load_model_from_string(content)
    if model.functions:
        return "it defines operators of its own"
    for node in model.graph.node:
        if node.domain not in DOMAINS or node.op_type not in OPERATORS:
            return f"the operator {node.domain or 'ai.onnx'}.{node.op_type} is not allowed in a bundle"
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        return "its weights lie in another file"
    return None


def _tensors(graph: Any) -> Iterable[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)


def run(content: bytes) -> None:
    """Load it and run it once on noise in 0..1."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
             "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8,
             "tensor(bool)": np.bool_}  # fmt: skip
    fed: dict[str, Any] = {}
    for value in session.get_inputs():
        sizes = [n if isinstance(n, int) else (FREE_SIZE if i else 1) for i, n in enumerate(value.shape)]
        # Equal numbers for inputs of equal shape: a matcher without a single match may fail on its empty result.
        fed[value.name] = np.random.default_rng(0).uniform(0, 1, sizes).astype(types[value.type])
    session.run(None, fed)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file: its modules must not stand before installed ones
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    try:
        given = sys.stdin.buffer.read()
        reason = problem_of(given)
        if reason is None:
            run(given)
    except Exception as error:
        reason = f"it does not run: {' '.join(str(error).split())[:160] or type(error).__name__}"
    if reason is not None:
        print(reason)
        sys.exit(1)
