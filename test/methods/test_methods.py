"""Method presets: every key is known, every value of its type."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pad_ros.errors import InputError
from pad_ros.methods import presets as methods
from pad_ros.methods.presets import Method, load_method, method_from_dict, preset_folder


def test_every_preset_loads():
    names = [path.stem for path in preset_folder().glob("*.yaml")]
    assert "pad" in names
    for name in names:
        method = load_method(name)
        assert method.name == name and method.description


def test_a_backbone_of_one_level_is_for_the_cosine():
    assert load_method("igspad").networks == ("aliked-n16", "lightglue-aliked", "sam-vit-b")
    assert load_method("splatpose").networks == ("aliked-n16", "lightglue-aliked", "efficientnet-b4")
    with pytest.raises(InputError, match="goes with scoring.comparison=cosine"):
        load_method("pad", ["scoring.backbone=sam_vit_b"])
    with pytest.raises(InputError, match="scoring.backbone must name a network"):
        load_method("pad", ["scoring.comparison=cosine"])


def test_round_trip_through_json():
    method = load_method("pad", ["splatting.gaussians=1234", "scoring.scales=[1, 2.5]"])
    assert method_from_dict(json.loads(json.dumps(method.to_dict())), "manifest") == method


def test_overrides():
    method = load_method("pad", ["splatting.gaussians=30000", "scoring.scales=[1, 3]", "splatting.lr_decay=10"])
    assert method.splatting.gaussians == 30000
    assert method.scoring.scales == (1.0, 3.0)
    assert method.splatting.lr_decay == 10.0 and isinstance(method.splatting.lr_decay, float)
    assert load_method("pad").splatting == Method("x").splatting  # nothing leaks into the next


@pytest.mark.parametrize("name", ["", "nope", "../methods/pad", "pad.yaml", "/etc/passwd", "PAD"])
def test_unknown_presets(name):
    with pytest.raises(InputError, match="there are: .*pad"):
        load_method(name)


# Ten lists of ten references each to the one before: a few hundred bytes that would be 10 GB of text.
BOMB = "[&a0 [lol], " + ", ".join(f"&a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 11)) + "]"


@pytest.mark.parametrize(
    "override, mentions",
    [
        ("splatting.gaussians", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("", "KEY=VALUE"),
        ("splatting.gausians=3", "gausians"),
        ("nope.x=3", "nope"),
        ("splatting=3", "splatting"),
        ("name.x=3", "name"),
        ("splatting.gaussians.x=3", "gaussians"),
        ("splatting..gaussians=3", "splatting"),
        ("splatting.gaussians=many", "int"),
        ("splatting.gaussians=1.5", "int"),
        ("splatting.gaussians=true", "int"),
        ("splatting.gaussians=", "int"),
        ("splatting.gaussians=null", "int"),
        ("splatting.gaussians=[1", "YAML"),
        ("splatting.gaussians=-1", "gaussians"),
        ("splatting.lr_means=.nan", "lr_means"),
        ("splatting.lr_means=.inf", "lr_means"),
        ("splatting.lr_means=-0.1", "lr_means"),
        ("splatting.sh_degree=9", "sh_degree: expected 0 to 3, got 9"),
        ("splatting.gaussians=1e9", "gaussians"),
        ("refinement.levels=[0.5, 2]", "levels: expected 0.01 to 1, got 2"),
        ("refinement.renderings=0", "renderings"),
        ("scoring.shift=1000", "shift"),
        ("scoring.scales=[0]", "scales"),
        ("scoring.scales=3", "list"),
        ("scoring.scales=[]", "scales"),
        ("scoring.scales=[a]", "float"),
        ("scoring.scales=[.nan]", "scales"),
        ("description=3", "str"),
        ("splatting.gaussians=!!timestamp 9", "not valid YAML"),
        ("splatting.gaussians=!!int x", "not valid YAML"),
        ("splatting.gaussians=!!bool x", "not valid YAML"),
        ("splatting.gaussians=0x" + "f" * 6000, "a very large int"),
        ("splatting.gaussians=" + "9" * 6000, "not valid YAML"),
        ("splatting.gaussians=" + "x" * 200_000, "more than 100000 characters"),
        ("splatting.gaussians=" + "[" * 90_000, "not valid YAML"),
        ("x=" + BOMB, "references to other values"),
    ],
)
def test_overrides_that_make_no_sense(override, mentions):
    with pytest.raises(InputError, match=mentions) as caught:
        load_method("pad", [override])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


keys = st.sampled_from([field.name for field in dataclasses.fields(Method)]) | st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_any_settings_make_a_method_or_an_input_error(settings):
    try:
        method = method_from_dict({"name": "x", **settings}, "manifest")
    except InputError:
        return
    assert isinstance(method, Method)


@given(st.text(max_size=30))
def test_any_override(text):
    try:
        load_method("pad", [text])
    except InputError:
        return
    assert "=" in text


@pytest.mark.parametrize("content", ["[1, 2]", "just text", "a: [", "splatting: {gaussians: x}", "\x00"])
def test_broken_preset_files(tmp_path, monkeypatch, content):
    (tmp_path / "mine.yaml").write_text(content)
    monkeypatch.setattr(methods, "preset_folder", lambda: tmp_path)
    with pytest.raises(InputError, match=r"mine\.yaml"):
        load_method("mine")
