"""Methods with a backbone, from training to the verdict; the network travels inside the model."""

import json
from dataclasses import replace

import pytest
from model_factory import make_calibration, make_model
from published_networks import random_network, random_state

from pad_ros.cli import main
from pad_ros.comparison.state import ComparisonState
from pad_ros.errors import ModelError
from pad_ros.imaging import images
from pad_ros.inspector import Inspector
from pad_ros.io.read_views import read_views
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel
from pad_ros.networks import registry
from pad_ros.training.train import train
from pad_ros.verdicts import Verdict

DEEP = ("scoring.backbone=mobilenet_v2",)
RECIPE = (
    *DEEP,
    "scoring.comparison=recipe",
    "scoring.photographs=0",
    "scoring.scales=[4.0]",
    "refinement.renderings=1",
)
FIT = ("splatting.steps=400", "splatting.gaussians=4000", "splatting.sh_degree=1")


# In front of random features: the poses of SplatPose and IGSPAD at toy size, and their comparisons.
WITHOUT_WEIGHTS = ("localization.features=sift", "localization.matcher=nearest", "scoring.backbone=mobilenet_v2")
DESCENT = (*WITHOUT_WEIGHTS, "optimization.steps=40", "optimization.decay_steps=10", "optimization.pixels=14400",
           "optimization.decay=0.6", *FIT)  # fmt: skip


def deep_model() -> ReferenceModel:
    method = load_method("pad", RECIPE)
    calibration = replace(make_calibration(20, 1), state=ComparisonState.without_statistics(20))
    return replace(
        make_model(), settings=method.to_dict(), networks=(random_network(),), calibration=calibration
    )  # fmt: skip


def test_a_backbone_and_its_licence_travel_inside_the_model(tmp_path):
    saved = deep_model().save(tmp_path / "model")
    assert (tmp_path / "model/networks/mobilenet-v2.onnx").read_bytes() == random_network().content
    manifest = json.loads((tmp_path / "model/manifest.json").read_text())
    assert len(manifest["files"]["networks/mobilenet-v2.onnx"]) == 64
    (entry,) = manifest["networks"]
    assert (entry["name"], entry["licence"], entry["commercial"]) == ("mobilenet-v2", "Apache-2.0", "yes")
    loaded = ReferenceModel.load(tmp_path / "model")
    assert loaded.hash == saved.hash
    assert loaded.networks[0].content == random_network().content
    assert loaded.calibration.state.features().shape == (20, 0)


def test_a_model_without_the_network_of_its_method_is_refused(tmp_path):
    replace(deep_model(), networks=()).save(tmp_path / "model")
    with pytest.raises(ModelError, match="the network mobilenet-v2 is missing"):
        ReferenceModel.load(tmp_path / "model")


def test_a_network_that_is_no_backbone_ends_in_hold(tmp_path):
    damaged = replace(random_network(), content=b"nonsense")
    inspector = Inspector(replace(deep_model(), networks=(damaged,)))
    result = inspector.inspect(make_model().photographs[0].image.repeat(5, axis=0)[:48].repeat(6, axis=1)[:, :64])
    assert result.verdict is Verdict.HOLD and result.reason_text


@pytest.mark.parametrize(("preset", "missing"), [
    ("pad_deep", "xfeat"), ("splatpose_plus", "aliked-n16"), ("pad --set scoring.backbone=efficientnet_b4",
                                                                   "efficientnet-b4"),
    ("background", "aliked-n16"), ("omniposead", "efficientnet-b4"),
    ("pad --set scoring.backbone=efficientnet_lite0", "efficientnet-lite0"),
    ("pad --set scoring.segmenter=birefnet", "birefnet"),
    ("pad --set scoring.comparison=background --set scoring.backbone=efficientnet_lite0 --set scoring.masks=rendering "
     "--set scoring.inpainter=lama", "efficientnet-lite0"),
    ("pad --set scoring.inpainter=lama", "lama"),
    ("splatpose", "aliked-n16"), ("igspad", "aliked-n16"),
    ("igspad --set localization.features=sift --set localization.matcher=nearest", "sam-vit-b"),
])  # fmt: skip
def test_missing_weights_end_training_before_it_begins(preset, missing, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAD_WEIGHTS", str(tmp_path))
    lite = replace(registry.entry("efficientnet-lite0"), package="")  # as where the package is not installed
    monkeypatch.setitem(registry.REGISTRY, "efficientnet-lite0", lite)
    status = main(["train", str(tmp_path), "--out", str(tmp_path / "model"), "--method", *preset.split()])
    error = capsys.readouterr().err
    assert status == 3
    assert f"pad weights fetch {missing}" in error and "licence" in error and len(error.splitlines()) == 1


def test_published_weights_are_exported_at_training(tmp_path, monkeypatch, capsys):
    """Fetched weights are read and exported; what is wrong with them is said before the views are read."""
    import torch

    entry = replace(registry.entry("mobilenet-v2"), sha256="")
    monkeypatch.setitem(registry.REGISTRY, "mobilenet-v2", entry)
    monkeypatch.setenv("PAD_WEIGHTS", str(tmp_path))
    torch.save(random_state("efficientnet-b4"), tmp_path / entry.file)
    command = ["train", str(tmp_path / "nothing"), "--out", str(tmp_path / "model"), "--set", *DEEP]
    assert main(command) == 2
    assert "not the weights of MobileNetV2" in capsys.readouterr().err
    torch.save(random_state("mobilenet-v2"), tmp_path / entry.file)
    assert main(command) == 2
    assert "nothing" in capsys.readouterr().err  # now the views are missing


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [DEEP, RECIPE], ids=["calibrated", "recipe"])
def test_from_training_to_the_verdict(toy, tmp_path, overrides):
    method = load_method("pad", [*FIT, *overrides])
    views = read_views(toy.dataset)
    model = train(
        views, method, name="toy", budget=1e9, false_reject_rate=0.05, networks=(random_network(),)
    ).save(tmp_path / "model")  # fmt: skip
    inspector = Inspector.load(tmp_path / "model")
    good, defect = (inspector.inspect(images.load(path)) for path in (toy.good, toy.defect))
    assert model.hash == inspector.model.hash
    assert good.score < defect.score
    assert (defect.verdict is Verdict.REJECT) == (defect.score > defect.threshold)
    assert overrides is RECIPE or defect.verdict is Verdict.REJECT  # random features dull the recipe
    assert inspector.inspect(images.load(toy.foreign)).verdict is Verdict.HOLD


BACKGROUND = ("scoring.comparison=background", "scoring.segmenter=grabcut", "scoring.inpainter=opencv")
STAND_INS = (
    "scoring.backbone=mobilenet_v2", "localization.features=sift", "localization.matcher=nearest",
    "localization.retrieval=vlad",
)  # fmt: skip


@pytest.mark.slow
def test_background_from_training_to_the_verdict(toy, tmp_path):
    """The preset, with stand-ins that are named for what is not to be had."""
    method = load_method("background", [*FIT, *BACKGROUND, *STAND_INS])
    model = train(
        read_views(toy.dataset), method, name="toy", budget=1e9, false_reject_rate=0.05, networks=(random_network(),)
    ).save(tmp_path / "model")  # fmt: skip
    inspector = Inspector.load(tmp_path / "model")
    good, defect = (inspector.inspect(images.load(path)) for path in (toy.good, toy.defect))
    assert model.method == "background"
    assert good.score < defect.score
    assert (defect.verdict is Verdict.REJECT) == (defect.score > defect.threshold)
    assert inspector.inspect(images.load(toy.foreign)).verdict is Verdict.HOLD


SMALL_FIELD = (
    "nerf.layers=3", "nerf.width=48", "nerf.frequencies=5", "nerf.view_frequencies=1", "nerf.samples=16",
    "nerf.fine_samples=16", "nerf.steps=600", "nerf.rays=512", "nerf.learning_rate=0.005", "nerf.max_side=64",
    "nerf.pose_steps=40", "nerf.pose_rays=256",
)  # fmt: skip


@pytest.mark.slow
def test_omniposead_from_training_to_the_verdict(toy, tmp_path):
    """The preset at toy size, with a backbone that is named in place of EfficientNet-B4."""
    named = ("scoring.backbone=mobilenet_v2", "localization.retrieval=mobilenet_v2")
    method = load_method("omniposead", [*SMALL_FIELD, *named])
    saved = train(
        read_views(toy.dataset), method, name="toy", budget=1e9, false_reject_rate=0.05, networks=(random_network(),)
    ).save(tmp_path / "model")  # fmt: skip
    manifest = json.loads((tmp_path / "model/manifest.json").read_text())
    assert len(manifest["files"]["nerf.safetensors"]) == 64
    inspector = Inspector.load(tmp_path / "model")
    assert inspector.model.hash == saved.hash and inspector.model.nerf is not None
    results = [inspector.inspect(images.load(path)) for path in (toy.good, toy.defect, toy.foreign)]
    for result in results:  # a pose that the verifier trusts, or HOLD with its reason
        assert result.localization is not None
        assert result.localization.localized or (result.verdict is Verdict.HOLD and result.reason_text)
    assert results[2].verdict is not Verdict.PASS
    (tmp_path / "model/nerf.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="nerf.safetensors: damaged"):
        ReferenceModel.load(tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["splatpose", "igspad"])
def test_pose_optimization_from_training_to_the_verdict(toy, tmp_path, preset):
    """A stand-in for the backbone runs because it is asked for by name."""
    method = load_method(preset, [*DESCENT, "splatting.eps2d=0.1"])
    views = read_views(toy.dataset)
    model = train(views, method, name="toy", budget=1e9, false_reject_rate=0.05, networks=(random_network(),))
    model.save(tmp_path / "model")
    inspector = Inspector.load(tmp_path / "model")
    good, defect, foreign = (inspector.inspect(images.load(path)) for path in (toy.good, toy.defect, toy.foreign))
    assert inspector.method.networks == ("mobilenet-v2",)
    for found in (good, defect):
        assert found.verdict is not Verdict.HOLD or found.reason_text
    assert good.localization.localized and [a.strategy for a in good.localization.attempts] == ["pose optimization"]
    assert foreign.verdict is Verdict.HOLD
