"""Networks: read without running anything, and carried by a reference model."""

import io
import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_factory import make_model
from safetensors.torch import save
from scipy.io import savemat

from pad_ros.errors import InputError, MissingDependencyError, ModelError, PadError
from pad_ros.methods.presets import load_method
from pad_ros.model import ReferenceModel, seal_manifest
from pad_ros.networks.network import Network, by_name, load_networks, read_networks, save_networks
from pad_ros.networks.registry import REGISTRY, Weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3)}


def register(monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setitem(REGISTRY, "toy", Weights("toy", f"https://host/toy{suffix}", "", 0, "MIT", "ask", "toys"))


def toy(content: bytes = save(STATE), kind: str = "safetensors") -> Network:
    return Network("toy", kind, content, "MIT", "ask", "0" * 64)


def test_a_checkpoint_becomes_safetensors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch, ".pth")
    torch.save(STATE, tmp_path / "toy.pth")
    (network,) = read_networks(["toy"], tmp_path)
    assert (network.name, network.kind, network.licence, network.commercial) == ("toy", "safetensors", "MIT", "ask")
    assert len(network.source_sha256) == 64
    for name, value in STATE.items():
        torch.testing.assert_close(network.tensors()[name], value)
    assert by_name([network]) == {"toy": network}


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors"])
def test_other_kinds_travel_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str) -> None:
    register(monkeypatch, suffix)
    (tmp_path / f"toy{suffix}").write_bytes(b"content")
    assert read_networks(["toy"], tmp_path)[0].content == b"content"


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil-was-here",)


@pytest.mark.parametrize("content", [b"", b"nonsense", pickle.dumps(Evil()), pickle.dumps({"a": 1})])
def test_no_code_of_a_checkpoint_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    register(monkeypatch, ".pth")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"toy\.pth: not a"):
        read_networks(["toy"], tmp_path)
    torch.save({"a": Evil()}, tmp_path / "toy.pth")
    with pytest.raises(InputError, match=r"toy\.pth: not a checkpoint"):
        read_networks(["toy"], tmp_path)
    assert not (tmp_path / "evil-was-here").exists()


def test_damaged_networks() -> None:
    with pytest.raises(ModelError, match="toy is damaged"):
        toy(b"nonsense").tensors()
    with pytest.raises(ModelError, match="toy is damaged"):
        toy(b"nonsense", "onnx").session()


@pytest.mark.parametrize(
    ("device", "installed", "expected"),
    [
        ("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
        ("cuda", ["CPUExecutionProvider"], ["CPUExecutionProvider"]),
        ("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]),
    ],
)
def test_the_runtime_uses_a_gpu_where_both_have_one(
    monkeypatch: pytest.MonkeyPatch, device: str, installed: list[str], expected: list[str]
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: installed)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, providers: asked.append(providers))
    toy(b"", "onnx").session(device)
    assert asked == [expected]


def test_they_are_saved_and_loaded(tmp_path: Path) -> None:
    save_networks([toy()], tmp_path)
    (found,) = load_networks(tmp_path, [toy().entry()], ["toy"])
    assert found.content == toy().content
    assert found.entry() == toy().entry()
    assert load_networks(tmp_path, [], []) == ()


@pytest.mark.parametrize(
    "entries",
    [None, 3, [3], [{}], [{"name": "../toy", "kind": "onnx"}], [{"name": "toy", "kind": "pkl"}], [{"name": 3}],
     [toy().entry() | {"more": "x"}], [toy().entry() | {"kind": "onnx"}], [{"name": "toy", "kind": "safetensors"}]],
)  # fmt: skip
def test_odd_entries(tmp_path: Path, entries: object) -> None:
    save_networks([toy()], tmp_path)
    with pytest.raises(ModelError):
        load_networks(tmp_path, entries, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "kind", "licence", "x"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(sorted(toy().entry())), value=JSON, entries=JSON)
def test_any_entries_are_read_or_refused(tmp_path: Path, key: str, value: object, entries: object) -> None:
    save_networks([toy()], tmp_path)
    for tried in ([toy().entry() | {key: value}], entries):
        try:
            load_networks(tmp_path, tried, [])
        except ModelError as error:
            assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.floats(0, 1))
def test_any_changed_byte_of_tensors(where: float, value: int, cut: float) -> None:
    content = bytearray(save(STATE))
    content[int(where * len(content))] = value
    for damaged in (bytes(content), bytes(content[: int(cut * len(content))])):
        try:
            toy(damaged).tensors()
        except ModelError as error:
            assert "\n" not in str(error)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), suffix=st.sampled_from([".pth", ".mat"]))
def test_any_changed_byte_of_a_checkpoint(tmp_path: Path, where: float, value: int, suffix: str) -> None:
    buffer = io.BytesIO()
    if suffix == ".pth":
        torch.save(STATE, buffer)
    else:
        savemat(buffer, {"net": {"layers": [1, 2, 3], "meta": "x"}})
    content = bytearray(buffer.getvalue())
    content[int(where * len(content))] = value
    (tmp_path / f"toy{suffix}").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        register(patch, suffix)
        try:
            read_networks(["toy"], tmp_path)
        except PadError as error:
            assert "\n" not in str(error)


def test_a_model_carries_its_networks(tmp_path: Path) -> None:
    method = load_method("pad", ["localization.features=aliked"])
    network = replace(toy(), name="aliked-n16")
    plain = make_model()
    sfm_map = replace(plain.sfm_map, features="aliked")
    model = replace(plain, settings=method.to_dict(), networks=(network,), sfm_map=sfm_map).save(tmp_path / "model")
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    assert manifest["networks"] == [network.entry()]
    assert "networks/aliked-n16.safetensors" in manifest["files"]
    loaded = ReferenceModel.load(tmp_path / "model")
    assert loaded.hash == model.hash
    assert loaded.networks[0].content == network.content

    with pytest.raises(ModelError, match="the map was made with the features 'sift'"):
        ReferenceModel.load(resaved(replace(model, sfm_map=plain.sfm_map), tmp_path / "other"))
    with pytest.raises(ModelError, match="the network aliked-n16 is missing"):
        ReferenceModel.load(resaved(replace(model, networks=()), tmp_path / "none"))
    (tmp_path / "model" / "networks" / "aliked-n16.safetensors").write_bytes(b"else")
    with pytest.raises(ModelError, match=r"aliked-n16\.safetensors.*damaged"):
        ReferenceModel.load(tmp_path / "model")


def resaved(model: ReferenceModel, folder: Path) -> Path:
    model.save(folder)
    return folder


def test_a_model_from_before_networks_still_loads(tmp_path: Path) -> None:
    make_model().save(tmp_path / "model")
    path = tmp_path / "model" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["networks"]
    for name in ("features", "matcher", "retrieval", "matched_views"):
        del manifest["settings"]["localization"][name]
    path.write_text(seal_manifest(manifest)[1])
    assert ReferenceModel.load(tmp_path / "model").networks == ()
    shutil.rmtree(tmp_path / "model")


def test_training_without_weights_ends_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pad_ros.cli import main

    arguments = ["train", str(tmp_path / "views"), "--out", str(tmp_path / "m"), "--weights", str(tmp_path),
                 "--set", "localization.features=xfeat"]  # fmt: skip
    assert main(arguments) == MissingDependencyError.exit_status == 3
    assert "pad weights fetch xfeat" in capsys.readouterr().err
