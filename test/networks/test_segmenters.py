"""Segmenters: what they are fed, what they may answer, and what becomes of it beside a part."""

import numpy as np
import onnx
import pytest
from judging import POSE, belt, corner, flat_calibration, query_of, verdict_of
from onnx import TensorProto, helper
from splat_scenes import CAMERA, WHITE, box

from pad_ros.comparison.calibrated import CalibratedComparison
from pad_ros.errors import ModelError
from pad_ros.imaging.rect import Rect
from pad_ros.networks.network import Network, find_network
from pad_ros.networks.segmenters import SIDES, Segmenter
from pad_ros.rendering.renderer import Renderer
from pad_ros.settings import ScoringSettings

CALIBRATION = flat_calibration(scale=0.7)


def network(name, side=None, gain=-8.0):
    """What is darker than the mean of photographs (gain < 0), or brighter, stands out; a sigmoid for U2-Net alone."""
    side = side or SIDES[name]
    nodes = [
        helper.make_node("Constant", [], ["axes"], value=helper.make_tensor("a", TensorProto.INT64, [1], [1])),
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=1),
        helper.make_node("Constant", [], ["gain"], value=helper.make_tensor("g", TensorProto.FLOAT, [], [gain])),
        helper.make_node("Mul", ["mean", "gain"], ["logit"]),
        helper.make_node("Sigmoid" if name == "u2net" else "Identity", ["logit"], ["mask"]),
    ]
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, side, side])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return Network(name, "onnx", model.SerializeToString(), "MIT", "yes", "")


@pytest.mark.parametrize("name", list(SIDES))
def test_what_stands_out_is_found_where_it_is(name):
    image = np.full((120, 160, 3), 230, np.uint8)
    image[40:80, 50:110] = 20
    mask = Segmenter(network(name)).part(image, Rect(50, 40, 110, 80))
    assert mask.shape == (120, 160) and mask.dtype == bool
    assert mask[42:78, 52:108].all()
    assert not mask[:38].any() and not mask[:, :48].any() and not mask[82:].any() and not mask[:, 112:].any()


def test_only_the_window_and_its_surroundings_are_looked_at():
    image = np.full((200, 200, 3), 230, np.uint8)
    image[5:20, 5:20] = 20
    assert not Segmenter(network("u2net")).part(image, Rect(120, 120, 160, 160)).any()
    assert Segmenter(network("u2net")).part(image, Rect(22, 22, 60, 60)).any()


def test_what_is_no_segmenter_is_refused():
    with pytest.raises(ModelError, match="no segmenter"):
        Segmenter(Network("mobilenet-v2", "onnx", b"", "MIT", "yes", ""))
    with pytest.raises(ModelError, match="u2net is damaged"):
        Segmenter(Network("u2net", "onnx", b"nonsense", "MIT", "yes", ""))
    with pytest.raises(ModelError, match="birefnet-lite is missing"):
        find_network(Segmenter, "birefnet_lite", (network("u2net"),), "cpu")
    assert find_network(Segmenter, "none", (), "cpu") is None


def test_settings_name_the_networks_of_both_kinds():
    assert ScoringSettings(segmenter="birefnet_lite").networks == ("birefnet-lite",)
    assert ScoringSettings(backbone="mobilenet_v2", segmenter="u2net").networks == ("mobilenet-v2", "u2net")


class Finds:
    """In place of a network: finds what it was given."""

    def __init__(self, mask):
        self.mask = mask

    def part(self, image, box):
        return self.mask


@pytest.mark.parametrize("what, verdict", [("part and block", "REJECT"), ("part", "PASS"), ("nothing", "REJECT")])
def test_beside_the_part_only_what_the_segmenter_sees_counts(what, verdict):
    """A dark red block on a grey belt. A segmenter that does not even find the part acquits nothing."""
    rendering = Renderer(box(1500), WHITE, CALIBRATION.state.features()).render(CAMERA, POSE)
    query = query_of(rendering, belt().clip(0.5, 1))
    (x, y), _ = corner(rendering)
    block = np.s_[y - 3 : y + 4, x - 3 : x + 4]
    query[block] = (90, 5, 10)
    alone = verdict_of(query, rendering, CALIBRATION)
    assert alone.verdict.name == "REJECT"
    seen = (rendering.alpha > 0.5) & (what != "nothing")
    seen[block] |= what == "part and block"
    comparison = CalibratedComparison(ScoringSettings(), segmenter=Finds(seen))
    assert verdict_of(query, rendering, CALIBRATION, comparison).verdict.name == verdict
