"""ONNX files of a bundle: judged and run once in another process before this one loads them."""

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_factory import make_model
from onnx import TensorProto, helper, numpy_helper
from published_networks import random_network

from pad_ros.errors import ModelError
from pad_ros.model import ReferenceModel
from pad_ros.networks import network as network_module
from pad_ros.networks.network import Network, load_networks, save_networks
from pad_ros.networks.probe import problem_of


def graph_of(nodes, constants=(), name="toy"):
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [image], [out], list(constants))


def onnx_of(nodes, constants=(), **options) -> bytes:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph_of(nodes, constants), opset_imports=opsets, ir_version=8, **options)
    return model.SerializeToString()


def constant(name: str, values: np.ndarray):
    return numpy_helper.from_array(values, name)


def endless() -> bytes:
    """A loop of 2^63 - 1 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []),
         helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    often = [constant("rounds", np.array(2**63 - 1)), constant("yes", np.array(True))]
    return onnx_of([helper.make_node("Loop", ["rounds", "yes", "image"], ["out"], body=body)], often)


def external() -> bytes:
    weights = constant("w", np.ones(3, np.float32))
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/hostname")
    return onnx_of([helper.make_node("Add", ["image", "w"], ["out"])], [weights])


def own_function() -> bytes:
    function = helper.make_function(
        "", "Relu", ["x"], ["y"], [helper.make_node("Abs", ["x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    return onnx_of([helper.make_node("Relu", ["image"], ["out"])], functions=[function])


def attribute_elsewhere() -> bytes:
    node = helper.make_node("Constant", [], ["w"], value=constant("w", np.ones(3, np.float32)))
    node.attribute[0].t.data_location = TensorProto.EXTERNAL
    return onnx_of([node, helper.make_node("Add", ["image", "w"], ["out"])])


REFUSED = {
    "loop": (endless(), "operator ai.onnx.Loop is not allowed"),
    "foreign domain": (onnx_of([helper.make_node("Gelu", ["image"], ["out"], domain="com.microsoft")]), "soft.Gelu"),
    "file": (onnx_of([helper.make_node("ImageDecoder", ["image"], ["out"])]), "ImageDecoder is not allowed"),
    "external": (external(), "weights lie in another file"),
    "external constant": (attribute_elsewhere(), "weights lie in another file"),
    "function": (own_function(), "operators of its own"),
    "nonsense": (b"nonsense", "does not run"),
    "empty": (b"", "does not run"),
    "no input of that name": (onnx_of([helper.make_node("Relu", ["other"], ["out"])]), "does not run"),
    "shapes": (
        onnx_of([helper.make_node("Add", ["image", "w"], ["out"])], [constant("w", np.ones(5, np.float32))]),
        "does not run",
    ),
    "memory": (
        onnx_of([helper.make_node("ConstantOfShape", ["n"], ["out"])], [constant("n", np.array([2**40]))]),
        "does not run|ended with status",
    ),
}  # fmt: skip


def bundled(folder: Path, content: bytes) -> tuple[Path, list[dict[str, str]]]:
    network = Network("toy", "onnx", content, "MIT", "yes", "")
    save_networks([network], folder)
    return folder, [network.entry()]


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(tmp_path, kind):
    content, message = REFUSED[kind]
    with pytest.raises(ModelError, match=f"toy is refused: .*({message})") as caught:
        load_networks(*bundled(tmp_path, content), [])
    assert "\n" not in str(caught.value)


def test_one_that_never_ends_is_given_up(tmp_path, monkeypatch):
    script = tmp_path / "slow.py"
    script.write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(network_module, "PROBE", script)
    monkeypatch.setattr(network_module, "PROBE_SECONDS", 0.5)
    with pytest.raises(ModelError, match="toy is refused: its first run did not end"):
        load_networks(*bundled(tmp_path, onnx_of([helper.make_node("Relu", ["image"], ["out"])])), [])


def test_our_own_backbones_pass_and_are_tried_once(tmp_path, monkeypatch):
    network = random_network()
    save_networks([network], tmp_path)
    assert load_networks(tmp_path, [network.entry()], [])[0].content == network.content
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("tried again"))
    load_networks(tmp_path, [network.entry()], [])


def test_the_published_networks_pass(shared):
    for file in ("xfeat/xfeat_official_verlab.onnx", "xfeat/lighterglue_L3.onnx"):
        Network("toy", "onnx", (shared / "weights" / file).read_bytes(), "", "", "").check()


def test_a_bundle_without_networks_starts_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    make_model().save(tmp_path / "m")
    ReferenceModel.load(tmp_path / "m")


@settings(max_examples=50)
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_any_changed_byte_is_judged(where, value):
    """Whatever the file has become, no operator gets past the list."""
    content = bytearray(endless())
    content[int(where * len(content))] = value
    try:
        problem = problem_of(bytes(content))
    except Exception:  # the probe's process gives one line for these
        return
    if problem is None:
        used = {node.op_type for node in onnx.load_model_from_string(bytes(content)).graph.node}
        assert "Loop" not in used
