"""NetVLAD with random weights in the layout of the published MATLAB file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from network_states import netvlad_state, network_of
from scipy.io import savemat
from textured_cube import draw, ring_poses
from torch import Tensor

from pad_ros.errors import InputError, ModelError
from pad_ros.localization.features import Features
from pad_ros.localization.netvlad import NetVlad
from pad_ros.networks.netvlad_file import VGG16, VLAD, WHITENING, read_matlab

NO_FEATURES = Features(np.zeros((0, 2)), np.zeros((0, 1), np.float32), np.zeros(0, np.float32))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return netvlad_state()


def write_matlab(path: Path, state: dict[str, Tensor]) -> None:
    """As MatConvNet saves the network: a list of layers, most of them without weights."""
    s = {name: value.numpy() for name, value in state.items()}
    layers = np.empty(WHITENING + 2, object)
    for place in range(len(layers)):
        layers[place] = {"type": "relu", "weights": np.zeros(0)}

    def put(place: int, *weights: np.ndarray) -> None:
        pair = np.empty(2, object)
        pair[:] = weights
        layers[place] = {"type": "conv", "weights": pair}

    for place in VGG16:
        put(place, s[f"vgg16.{place}.weight"].transpose(2, 3, 1, 0), s[f"vgg16.{place}.bias"])
    put(VLAD, s["assignment"].T, -s["centres"].T)
    put(WHITENING, s["whitening.weight"].T[None, None], s["whitening.bias"])
    mean = np.broadcast_to(s["mean"], (4, 4, 3))
    savemat(path, {"net": {"layers": layers, "meta": {"normalization": {"averageImage": mean}}}})


def test_the_published_layout_is_read(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "netvlad.mat"
    write_matlab(path, state)
    found = read_matlab(path, path.read_bytes())
    assert set(found) == set(state)
    for name, value in state.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("content", [b"", b"nothing", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="not the published NetVLAD"):
        read_matlab(Path("x.mat"), content)


def test_other_weights_are_refused(state: dict[str, Tensor]) -> None:
    for wrong in ({}, {**state, "mean": torch.zeros(4)}, {k: v for k, v in state.items() if k != "centres"}):
        with pytest.raises(ModelError, match="not the weights of NetVLAD"):
            NetVlad(network_of(wrong))


def test_vectors_have_unit_length_and_tell_views_apart(state: dict[str, Tensor]) -> None:
    retrieval = NetVlad(network_of(state))
    poses = ring_poses(12)
    views = np.stack([retrieval.describe(draw(poses[i])[64:256, 64:256], NO_FEATURES) for i in (0, 3, 6)])
    assert views.shape == (3, 16)
    np.testing.assert_allclose(np.linalg.norm(views, axis=1), 1, atol=1e-5)
    again = retrieval.describe(draw(poses[3])[64:256, 64:256], NO_FEATURES)
    np.testing.assert_array_equal(again, views[1])
    apart = np.linalg.norm(views - again, axis=1)  # random weights: too little for a product in single precision
    assert apart[1] == 0 < min(apart[0], apart[2])


@pytest.mark.parametrize("shape", [(1, 1), (5, 90), (31, 33)])
def test_small_images(state: dict[str, Tensor], shape: tuple[int, int]) -> None:
    vector = NetVlad(network_of(state)).describe(np.full((*shape, 3), 90, np.uint8), NO_FEATURES)
    assert np.all(np.isfinite(vector))


def test_the_vlad_layer_is_that_of_the_paper(state: dict[str, Tensor]) -> None:
    """Equation 4 of Arandjelovic et al., cluster by cluster, behind a network of the test's own."""
    image = draw(ring_poses(12)[0])[100:180, 100:196]
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() - state["mean"][:, None, None]
    layers = torch.nn.Sequential()
    for place in range(29):
        if place in VGG16:
            outputs, inputs = VGG16[place]
            conv = torch.nn.Conv2d(inputs, outputs, 3, padding=1)
            conv.load_state_dict({key: state[f"vgg16.{place}.{key}"] for key in ("weight", "bias")})
            layers.append(conv)
        else:
            layers.append(torch.nn.MaxPool2d(2) if place in (4, 9, 16, 23) else torch.nn.ReLU())
    with torch.no_grad():
        cells = torch.nn.functional.normalize(layers(x)[0].reshape(512, -1), dim=0).T  # [n, 512]
    shares = torch.softmax(cells @ state["assignment"].T, dim=1)
    vlad = torch.stack([(shares[:, k : k + 1] * (cells - state["centres"][k])).sum(dim=0) for k in range(64)])
    vlad = vlad / vlad.norm(dim=1, keepdim=True)
    vector = vlad.T.reshape(-1)  # channels first
    whitened = state["whitening.weight"] @ (vector / vector.norm()) + state["whitening.bias"]
    expected = (whitened / whitened.norm()).numpy()
    np.testing.assert_allclose(NetVlad(network_of(state)).describe(image, NO_FEATURES), expected, atol=1e-4)
