"""LighterGlue with its shared weights, LightGlue with random ones where a package that implements it is installed."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from network_states import network_of, shared_lightglue, shared_network, shared_state
from safetensors.torch import save
from textured_cube import CAMERA, draw, ring_poses

from pad_ros.errors import MissingDependencyError, ModelError
from pad_ros.imaging.views import View
from pad_ros.localization import network_matching
from pad_ros.localization.aliked import AlikedFeatures
from pad_ros.localization.features import Features, LocalFeatures
from pad_ros.localization.network_matching import LighterGlue, LightGlue
from pad_ros.localization.xfeat import XFeatFeatures
from pad_ros.networks.network import Network
from pad_ros.training.view_matching import epipolar_error, match_posed

needs_lightglue = pytest.mark.skipif(
    not (find_spec("lightglue") or find_spec("kornia")), reason="neither lightglue nor kornia is installed"
)


def random_features(count: int, channels: int, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(count, channels)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    return Features(rng.uniform(0, 300, (count, 2)), descriptors, np.ones(count, np.float32))


def test_lighterglue_matches_two_views(shared: Path) -> None:
    features, matcher = (
        XFeatFeatures(shared_network(shared, "xfeat")),
        LighterGlue(shared_network(shared, "lighterglue")),
    )
    first, second = ring_poses(36)[:2]
    camera = CAMERA.resized(480, 480)
    a, b = (features.extract(draw(pose, camera)) for pose in (first, second))
    pairs = matcher.match(a, b)
    error = epipolar_error(a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]], camera, camera, second @ first.inverse())
    assert len(pairs) > 100
    assert np.mean(error < 2) > 0.8
    views = tuple(View(f"{i}.png", draw(pose, camera), camera, pose) for i, pose in enumerate((first, second)))
    np.testing.assert_array_equal(match_posed(views, (a, b), 2.0, matcher), pairs[error < 2.0])


@needs_lightglue
@pytest.mark.parametrize("name", ["lightglue-aliked", "lightglue-xfeat"])
def test_real_lightglue_matches_two_views(shared: Path, name: str) -> None:
    """The published weights, for ALIKED and (the whole LighterGlue) for XFeat."""
    matcher = LightGlue(shared_lightglue(shared, name))
    features: LocalFeatures = XFeatFeatures(shared_network(shared, "xfeat"))
    if name == "lightglue-aliked":
        features = AlikedFeatures(network_of(shared_state(shared, "aliked-n16"), "aliked-n16"))
    first, second = ring_poses(36)[:2]
    camera = CAMERA.resized(480, 480)
    a, b = (features.extract(draw(pose, camera)) for pose in (first, second))
    pairs = matcher.match(a, b)
    error = epipolar_error(a.keypoints[pairs[:, 0]], b.keypoints[pairs[:, 1]], camera, camera, second @ first.inverse())
    print(name, len(a), len(b), len(pairs), round(float(np.mean(error < 2)), 3))
    assert len(pairs) > 100 and np.mean(error < 2) > 0.8


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (1, 1), (0, 0)])
def test_too_few_features_for_lighterglue(shared: Path, first: int, second: int) -> None:
    matcher = LighterGlue(shared_network(shared, "lighterglue"))
    assert matcher.match(random_features(first, 64), random_features(second, 64)).shape == (0, 2)


def test_another_network_is_not_lighterglue(shared: Path) -> None:
    with pytest.raises(ModelError, match="LighterGlue"):
        LighterGlue(shared_network(shared, "xfeat"))
    with pytest.raises(ModelError, match="damaged"):
        LighterGlue(Network("lighterglue", "onnx", b"nothing", "", "", ""))


def lightglue_network(channels: int) -> Network:
    """Random weights, named as in the published checkpoints."""
    torch.manual_seed(0)
    model = network_matching._implementation()(features=None, input_dim=channels)
    state = {}
    for name, value in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "transformers":
            name = ".".join([parts[2], parts[1], *parts[3:]])
        state[name] = value.clone().contiguous()
    assert any(name.startswith("self_attn.0.") for name in state)
    return Network("lightglue-aliked", "safetensors", save(state), "Apache-2.0", "yes", "")


@needs_lightglue
@pytest.mark.parametrize("channels", [128, 256])
def test_lightglue_with_random_weights(channels: int) -> None:
    matcher = LightGlue(lightglue_network(channels))
    a, b = random_features(60, channels), random_features(50, channels, seed=1)
    pairs = matcher.match(a, b)
    assert pairs.ndim == 2 and pairs.shape[1] == 2
    np.testing.assert_array_equal(pairs, matcher.match(a, b))
    assert matcher.match(a, random_features(1, channels)).shape == (0, 2)


@needs_lightglue
def test_other_weights_are_not_lightglue() -> None:
    with pytest.raises(ModelError, match="not the weights of LightGlue"):
        LightGlue(Network("lightglue-aliked", "safetensors", save({"a": torch.zeros(1)}), "", "", ""))


def test_lightglue_without_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(network_matching.importlib, "import_module", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pad_ros\[lightglue\]'") as caught:
        LightGlue(Network("lightglue-aliked", "safetensors", save({"a": torch.zeros(1)}), "", "", ""))
    assert caught.value.exit_status == 3
