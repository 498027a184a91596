import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pad_ros.errors import ModelError
from pad_ros.imaging.rect import Rect
from pad_ros.networks.inpainters import SIDE, Lama, OpenCvInpainter
from pad_ros.networks.network import Network
from pad_ros.networks.segmenters import GrabCut


def lama(side: int = SIDE, value: float = 200.0, inputs: tuple[str, str] = ("image", "mask")) -> Network:
    """With the inputs and outputs of the published export; holes get one grey, and the rest nonsense."""
    image, mask = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, SIDE, SIDE])
        for name, channels in zip(inputs, (3, 1), strict=True)
    )
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, side, side])
    constants = [
        onnx.numpy_helper.from_array(np.float32(value), "value"),
        onnx.numpy_helper.from_array(np.zeros((1, 3, side, side), np.float32), "nothing"),
        onnx.numpy_helper.from_array(np.int64([0, 0, 0, 0]), "from"),
        onnx.numpy_helper.from_array(np.int64([1, 1, side, side]), "to"),
    ]
    nodes = [
        helper.make_node("Slice", [inputs[1], "from", "to"], ["cut"]),
        helper.make_node("Slice", [inputs[0], "from", "to"], ["unused"]),
        helper.make_node("Mul", ["cut", "value"], ["grey"]),
        helper.make_node("Add", ["grey", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "lama", [image, mask], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Network("lama", "onnx", model.SerializeToString(), "Apache-2.0", "yes", "ab" * 32)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A dark square on a light ground, and where it is."""
    image = np.full((90, 120, 3), 180, np.uint8)
    hole = np.zeros((90, 120), bool)
    hole[30:50, 40:70] = True
    image[hole] = 20
    return image, hole


@pytest.mark.parametrize("inpainter", [OpenCvInpainter(), Lama(lama(value=180))], ids=["opencv", "lama"])
def test_the_object_goes_and_the_rest_stays(inpainter):
    image, hole = scene()
    filled = inpainter.fill(image, hole)
    assert filled.dtype == np.uint8 and np.array_equal(filled[~hole], image[~hole])
    assert np.abs(filled[hole].astype(int) - 180).max() <= 3


def test_what_gives_no_picture_is_refused():
    image, hole = scene()
    for network in (lama(side=64), lama(value=float("nan"))):
        with pytest.raises(ModelError, match="no image of 512 px"):
            Lama(network).fill(image, hole)
    with pytest.raises(ModelError, match="must take an image and a mask"):
        Lama(lama(inputs=("picture", "hole")))
    with pytest.raises(ModelError, match="lama is damaged"):
        Lama(Network("lama", "onnx", b"nonsense", "MIT", "yes", ""))


def test_a_network_of_this_kind_may_be_in_a_bundle():
    lama().check()


def test_grabcut_cuts_an_object_out_of_a_ground_of_other_colours():
    image, part = scene()
    found = GrabCut().part(image, Rect(40, 30, 70, 50))
    assert (found & part).sum() >= 0.95 * part.sum() and (found & ~part).sum() <= 0.05 * part.sum()
    assert np.array_equal(found, GrabCut().part(image, Rect(40, 30, 70, 50)))


def test_grabcut_without_ground_in_view_takes_all():
    image, _ = scene()
    assert GrabCut().part(image, Rect(-50, -50, 300, 300)).all()
