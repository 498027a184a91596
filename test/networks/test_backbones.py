import dataclasses
import hashlib

import cv2
import numpy as np
import pytest
import torch
from benchmark_modules import benchmark
from published_networks import network_of, published, random_backbone, random_images, random_network, random_state

from pad_ros.errors import InputError, MissingDependencyError, ModelError
from pad_ros.imaging import images
from pad_ros.networks.architectures import IMAGENET_DEVIATION, IMAGENET_MEAN
from pad_ros.networks.backbones import LEVELS, Backbone, exported
from pad_ros.networks.network import Network, find_network, read_networks

CHANNELS = {"mobilenet-v2": (16, 24, 32, 96, 320), "efficientnet-b4": (24, 32, 56, 160, 448)}
coral = benchmark("stand_in")
FOX, KIT_FOX = 277, 278  # ImageNet classes "red fox" and "kit fox"


@pytest.fixture(scope="module")
def real(shared) -> Network:
    if not (shared / "weights" / coral.FILE).is_file():
        pytest.skip(f"no {coral.FILE} in {shared / 'weights'}")
    found: Network = coral.stand_in(shared / "weights")
    return found


@pytest.mark.parametrize("name", CHANNELS)
def test_the_export_gives_what_torch_gives(name):
    reference, photos = published(name), random_images()
    found = Backbone(exported(network_of(name, reference.state_dict()))).levels(photos)
    x = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_DEVIATION)[:, None, None]
    with torch.no_grad():
        expected = reference(x)
    for level, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours.shape == (2, CHANNELS[name][level], 64 >> level + 1, 96 >> level + 1)
        assert np.abs(ours - theirs.numpy()).max() <= 1e-4 * float(theirs.abs().max())


def test_equal_weights_give_equal_bytes_and_equal_features():
    first, second = (random_network() for _ in range(2))
    assert hashlib.sha256(first.content).digest() == hashlib.sha256(second.content).digest()
    assert (first.kind, first.file, first.licence) == ("onnx", "networks/mobilenet-v2.onnx", "Apache-2.0")
    photos = random_images()
    for a, b in zip(Backbone(first).levels(photos), Backbone(second).levels(photos), strict=True):
        assert np.array_equal(a, b)


def test_a_level_alone_is_the_same_and_floats_are_as_good_as_bytes():
    backbone, photos = random_backbone(), random_images(1)
    every = backbone.levels(photos)
    (alone,) = backbone.levels(photos.astype(np.float32) / 255, [2])
    assert np.array_equal(alone, every[2])
    assert len(every) == LEVELS


def test_odd_sizes_are_rounded_up():
    shapes = [x.shape[2:] for x in random_backbone().levels(random_images(1, 37, 51))]
    assert shapes == [(19, 26), (10, 13), (5, 7), (3, 4), (2, 2)]


@pytest.mark.parametrize(("change", "problem"), [
    (lambda s: s.pop("features.5.conv.1.0.weight"), "features.5.conv.1.0.weight is missing"),
    (lambda s: s.update({"features.0.0.weight": torch.zeros(8, 3, 3, 3)}), r"features.0.0.weight is \[8, 3, 3, 3\]"),
    (lambda s: s["features.3.conv.2.weight"].fill_(float("nan")), "features.3.conv.2.weight is not finite"),
    (lambda s: s["features.0.1.running_var"].fill_(-1), "features.0.1.running_var is negative"),
])  # fmt: skip
def test_other_weights_are_refused(change, problem):
    state = random_state("mobilenet-v2")
    change(state)
    with pytest.raises(InputError, match=problem):
        exported(network_of("mobilenet-v2", state))


def test_weights_of_one_architecture_do_not_pass_for_another():
    with pytest.raises(InputError, match="not the weights of EfficientNet-B4: features"):
        exported(network_of("efficientnet-b4", random_state("mobilenet-v2")))


def test_other_networks_are_left_alone():
    other = network_of("aliked-n16", {"a": torch.zeros(1)})
    assert exported(other) is other


def test_what_is_not_a_backbone_is_refused():
    good = random_network()
    for content in (b"", b"nonsense", good.content[: len(good.content) // 2]):
        with pytest.raises(ModelError, match="mobilenet-v2 is damaged"):
            Backbone(dataclasses.replace(good, content=content))
    with pytest.raises(ModelError, match="not a backbone"):
        Backbone(dataclasses.replace(good, content=good.content.replace(b"level4", b"lavel4")))
    with pytest.raises(ModelError, match="efficientnet-b4 is missing"):
        find_network(Backbone, "efficientnet_b4", (good,), "cpu")
    assert find_network(Backbone, "none", (good,), "cpu") is None


def test_the_stand_in_has_the_levels_of_the_published_network(real):
    found = Backbone(real).levels(random_images(1, 224, 224))
    assert tuple(x.shape[1] for x in found) == CHANNELS["mobilenet-v2"]
    assert [x.shape[2] for x in found] == [112, 56, 28, 14, 7]


def test_the_stand_in_sees_a_fox(real, shared):
    """Its classifier, put on our last level, names what a photograph shows: the features are ImageNet's."""
    photos = sorted((shared / "data" / "fox").rglob("*.jpg"))
    if not photos:
        pytest.skip(f"no photographs of the fox below {shared}")
    arrays = coral.read_arrays(shared / "weights" / coral.FILE)
    (wide, wide_bias), (last, last_bias) = (coral.convolution(arrays, i) for i in coral.HEAD)
    photo = cv2.resize(images.load(photos[0]), (224, 224), interpolation=cv2.INTER_AREA)
    x = Backbone(real).levels(photo[None], [4])[0][0]  # [320, 7, 7]
    x = np.clip(np.tensordot(wide[:, :, 0, 0], x, 1) + wide_bias[:, None, None], 0, 6).mean(axis=(1, 2))
    classes = np.argsort(-(last[:, :, 0, 0] @ x + last_bias))[:5] - 1  # the first is "background"
    assert {FOX, KIT_FOX} & set(classes.tolist())


@pytest.mark.parametrize(("name", "head"), [("mobilenet-v2", "features.18"), ("efficientnet-b4", "features.8")])
def test_published_weights_see_a_fox(name, head, shared):
    """With fetched weights: PAD_WEIGHTS=FOLDER pytest test/scoring/test_backbones.py -k published."""
    photos = sorted((shared / "data" / "fox").rglob("*.jpg"))
    try:
        (found,) = read_networks([name])
    except MissingDependencyError as error:
        pytest.skip(str(error))
    state = {key: tensor.numpy() for key, tensor in found.tensors().items()}
    photo = cv2.resize(images.load(photos[0]), (224, 224), interpolation=cv2.INTER_AREA)
    x = Backbone(exported(found)).levels(photo[None], [4])[0][0]  # [C, 7, 7]
    norm = {
        part: state[f"{head}.1.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    }
    x = np.tensordot(state[f"{head}.0.weight"][:, :, 0, 0], x, 1) - norm["running_mean"]
    x = x * norm["weight"] / np.sqrt(norm["running_var"] + 1e-5) + norm["bias"]
    x = (np.clip(x, 0, 6) if name == "mobilenet-v2" else x / (1 + np.exp(-x))).mean(axis=(1, 2))
    classes = np.argsort(-(state["classifier.1.weight"] @ x + state["classifier.1.bias"]))[:5]
    assert {FOX, KIT_FOX} & set(classes.tolist())
