"""The bundle on disk: round trip, replacing, and refusal of everything that is not a whole model of ours."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_factory import make_gaussians, make_model
from safetensors.numpy import load_file, save_file

from pad_ros import model as model_module
from pad_ros.errors import InputError, ModelError
from pad_ros.io import bundle_folder
from pad_ros.methods.presets import method_from_dict
from pad_ros.model import CALIBRATION, FORMAT_VERSION, MANIFEST, SPLATS, ReferenceModel, seal_manifest
from pad_ros.rendering.photographs import PHOTOGRAPHS_FILE

FEATURES = "features.safetensors"
FILES = (SPLATS, PHOTOGRAPHS_FILE, FEATURES, CALIBRATION, "map/cameras.bin", "map/images.bin", "map/points3D.bin")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine") / "model"
    make_model().save(folder)
    return folder


@pytest.fixture
def bundle(pristine, tmp_path):
    shutil.copytree(pristine, tmp_path / "model")
    return tmp_path / "model"


def seal(folder):
    """Recompute the hashes in the manifest, so that the damage reaches the parsers."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in manifest["files"]:
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(seal_manifest(manifest)[1])


def edit(folder, change):
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(seal_manifest(manifest)[1])


def refused(folder):
    """The message of the ModelError that loading raises."""
    with pytest.raises(ModelError) as caught:
        ReferenceModel.load(folder)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# --- round trip ---


@pytest.mark.parametrize("calibrated", [True, False])
def test_round_trip(tmp_path, calibrated):
    model = make_model(calibrated=calibrated)
    saved = model.save(tmp_path / "deep" / "model")
    loaded = ReferenceModel.load(tmp_path / "deep" / "model")
    assert loaded.hash == saved.hash and len(loaded.hash) == 64
    for name in ("name", "method", "camera", "background", "training", "created"):
        assert getattr(loaded, name) == getattr(model, name)
    assert method_from_dict(loaded.settings, "") == method_from_dict(model.settings, "")
    for field in dataclasses.fields(model.gaussians):
        expected = getattr(model.gaussians, field.name)
        np.testing.assert_allclose(getattr(loaded.gaussians, field.name), expected, rtol=1e-5, atol=1e-6)
    for field in dataclasses.fields(model.sfm_map):
        ours, theirs = getattr(model.sfm_map, field.name), getattr(loaded.sfm_map, field.name)
        if field.name == "poses":
            ours, theirs = [p.matrix for p in ours], [p.matrix for p in theirs]
        if isinstance(ours, np.ndarray) or field.name == "poses":
            np.testing.assert_allclose(theirs, ours, atol=1e-12)
            assert np.asarray(theirs).dtype == np.asarray(ours).dtype
        else:
            assert theirs == ours
    assert len(loaded.photographs) == len(model.photographs) > 0
    for ours, theirs in zip(model.photographs, loaded.photographs, strict=True):
        assert (theirs.name, theirs.camera) == (ours.name, ours.camera)
        for name in ("image", "depth"):
            np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name))
        np.testing.assert_allclose(theirs.pose.matrix, ours.pose.matrix, atol=1e-12)
    if model.calibration is None:
        assert loaded.calibration is None
        return
    for theirs, ours in ((loaded.calibration, model.calibration), (loaded.calibration.state, model.calibration.state)):
        for field in dataclasses.fields(ours):
            if field.name != "state":
                np.testing.assert_array_equal(getattr(theirs, field.name), getattr(ours, field.name))


def test_without_one_view_the_gaussians_and_the_other_views_stay():
    model = make_model()
    left = model.without_view("train/good/1.png")
    assert left.sfm_map.view_names == ("train/good/0.png", "train/good/2.png")
    assert left.photographs == model.photographs[:1] and len(model.photographs) == 2
    assert left.gaussians is model.gaussians and left.calibration is model.calibration
    assert left.settings == model.settings and left.camera == model.camera
    same = model.without_view("train/good/other.png")
    assert same.sfm_map is model.sfm_map and same.photographs == model.photographs


def test_other_users_may_read_it(pristine):
    for path in [pristine, *pristine.rglob("*")]:
        assert path.stat().st_mode & 0o044 == 0o044, path


def test_threshold_of_too_few_views_survives(tmp_path):
    model = make_model()
    model = dataclasses.replace(model, calibration=dataclasses.replace(model.calibration, threshold=math.inf))
    model.save(tmp_path / "m")
    assert ReferenceModel.load(tmp_path / "m").calibration.threshold == math.inf


def test_calibration_that_could_reject_nothing_is_refused(tmp_path):
    """The bound on a pixel's evidence must leave room above the threshold: else every part would pass."""
    model = make_model()
    state = dataclasses.replace(model.calibration.state, max_evidence=model.calibration.threshold)
    blind = dataclasses.replace(model.calibration, state=state)
    dataclasses.replace(model, calibration=blind).save(tmp_path / "m")
    with pytest.raises(ModelError, match="no evidence could exceed the threshold"):
        ReferenceModel.load(tmp_path / "m")


def test_queries_may_have_four_times_the_pixels_of_the_camera():
    model = make_model()
    assert model.max_query_pixels == 4 * model.camera.width * model.camera.height
    huge = dataclasses.replace(model, camera=dataclasses.replace(model.camera, width=8000, height=8000))
    assert huge.max_query_pixels == 64_000_000


def test_hash_names_the_content(tmp_path):
    first = make_model().save(tmp_path / "a")
    assert first.hash == make_model().save(tmp_path / "b").hash
    assert first.hash != make_model(name="cube").save(tmp_path / "c").hash


# --- where it may be written ---


def test_replaces_an_older_model(bundle):
    new = make_model(gaussians=7, name="new").save(bundle)
    assert ReferenceModel.load(bundle).hash == new.hash
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "m").mkdir()
    make_model().save(tmp_path / "m")
    ReferenceModel.load(tmp_path / "m")


def test_a_link_to_a_model_stays_a_link(bundle, tmp_path):
    link = tmp_path / "current"
    link.symlink_to(bundle)
    new = make_model(name="new").save(link)
    assert link.is_symlink() and ReferenceModel.load(bundle).hash == new.hash


def _photos(folder):
    (folder / "photo.png").write_bytes(b"precious")


def _foreign_manifest(folder):
    (folder / MANIFEST).write_text('{"name": "a web page"}')


def _broken_manifest(folder):
    (folder / MANIFEST).write_text('{"format": ')


@pytest.mark.parametrize("fill", [_photos, _foreign_manifest, _broken_manifest])
def test_other_content_is_never_replaced(tmp_path, fill):
    folder = tmp_path / "m"
    folder.mkdir()
    fill(folder)
    before = {p: p.read_bytes() for p in folder.iterdir()}
    for attempt in (ReferenceModel.check_destination, make_model().save):
        with pytest.raises(InputError, match="choose another --out"):
            attempt(folder)
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_notes_beside_the_model_are_not_lost(bundle):
    (bundle / "notes.txt").write_text("lens changed on Monday")
    with pytest.raises(InputError, match=r"notes\.txt"):
        make_model().save(bundle)
    assert (bundle / "notes.txt").exists()


def test_impossible_destinations(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "m", tmp_path / "file" / "a" / "m"):
        for attempt in (ReferenceModel.check_destination, make_model().save):
            with pytest.raises(InputError) as caught:
                attempt(path)
            assert str(path) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_destination(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="read-only"):
        ReferenceModel.check_destination(tmp_path / "m")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["save_ply", "save_map", "flush", "put_in_place"])
def test_a_failed_save_leaves_the_old_model(bundle, monkeypatch, step, error):
    def fail(*_):
        raise error

    old = ReferenceModel.load(bundle).hash
    monkeypatch.setattr(model_module, step, fail)
    with pytest.raises((InputError, KeyboardInterrupt)):
        make_model(name="new").save(bundle)
    monkeypatch.undo()
    assert ReferenceModel.load(bundle).hash == old
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


def test_a_full_disk_leaves_the_old_model(bundle, file_size_limit):
    old = ReferenceModel.load(bundle).hash
    with file_size_limit(20_000), pytest.raises(InputError, match="cannot be written"):
        make_model(gaussians=5000, name="new").save(bundle)
    assert ReferenceModel.load(bundle).hash == old
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


@pytest.mark.parametrize("error", [OSError(5, "I/O error"), KeyboardInterrupt()])
@pytest.mark.parametrize("fails_at", [1, 2])
def test_interrupted_replacement_brings_the_old_model_back(bundle, monkeypatch, fails_at, error):
    old, calls, rename = ReferenceModel.load(bundle).hash, [], Path.rename
    monkeypatch.setattr(bundle_folder, "_exchange", lambda *_: False)

    def flaky(self, target):
        calls.append(target)
        if len(calls) == fails_at:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", flaky)
    with pytest.raises((InputError, KeyboardInterrupt)):
        make_model(name="new").save(bundle)
    monkeypatch.undo()
    assert ReferenceModel.load(bundle).hash == old
    assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


def saving(models, folder):
    """The id of a process that saves the models in turns until it is killed."""
    child = os.fork()
    if child == 0:
        try:
            while True:
                for model in models:
                    model.save(folder)
        finally:
            os._exit(1)
    return child


@pytest.mark.parametrize("exchange", [True, False])
def test_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path, monkeypatch, exchange):
    """kill -9 of a process that saves two models in turns, and again each time on what the last one left."""
    if not exchange:
        monkeypatch.setattr(bundle_folder, "_exchange", lambda *_: False)
    models = make_model(name="first"), make_model(gaussians=7, name="second")
    folder = tmp_path / "m"
    began = time.monotonic()
    hashes = {model.save(folder).hash for model in models}
    both = time.monotonic() - began
    found = set()
    for pause in np.random.default_rng(0).uniform(0.0, 1.5 * both, 16):
        child = saving(models, folder)
        time.sleep(float(pause))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])  # it did not end by itself
        found.add(ReferenceModel.load(folder).hash)
    assert found <= hashes
    models[0].save(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]  # nothing of the killed ones is left


def test_a_model_is_read_while_it_is_replaced(tmp_path):
    models = make_model(name="first"), make_model(gaussians=7, name="second")
    hashes = {model.save(tmp_path / "m").hash for model in models}
    child = saving(models, tmp_path / "m")
    try:
        assert {ReferenceModel.load(tmp_path / "m").hash for _ in range(30)} <= hashes
    finally:
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_between_two_renames(bundle, monkeypatch):
    """Where the system cannot exchange folders there is a moment without a model; the next load ends it."""
    old = ReferenceModel.load(bundle).hash
    left = bundle.parent / f".{bundle.name}.old.abc"
    for attempt in (ReferenceModel.load, ReferenceModel.check_destination):
        left.mkdir()
        bundle.rename(left / "content")
        attempt(bundle)
        assert ReferenceModel.load(bundle).hash == old
        assert [p.name for p in bundle.parent.iterdir()] == [bundle.name]


def test_links_in_a_bundle_are_refused(bundle, tmp_path):
    outside = tmp_path / "outside"
    (bundle / SPLATS).rename(outside)
    (bundle / SPLATS).symlink_to(outside)
    assert "is a link" in refused(bundle)
    (bundle / SPLATS).unlink()
    outside.rename(bundle / SPLATS)
    (bundle / "map").rename(tmp_path / "map")
    (bundle / "map").symlink_to(tmp_path / "map")
    assert "is a link" in refused(bundle)


# --- what is refused ---


def test_not_there(tmp_path):
    assert "no such folder" in refused(tmp_path / "none")
    assert "not a reference model" in refused(tmp_path)
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file")
    refused(tmp_path / "a\0b")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("sealed", [False, True])
def test_every_truncation(bundle, name, sealed):
    data = (bundle / name).read_bytes()
    for length in sorted({0, 1, 7, 8, 9, len(data) // 3, len(data) // 2, len(data) - 8, len(data) - 1}):
        (bundle / name).write_bytes(data[:length])
        if sealed:
            seal(bundle)
        refused(bundle)


@pytest.mark.parametrize("name", FILES)
def test_flipped_bytes(bundle, name):
    data = (bundle / name).read_bytes()
    for at in np.linspace(0, len(data) - 1, 9).astype(int):
        (bundle / name).write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        assert "hash" in refused(bundle)


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_flipped_bytes_behind_right_hashes(pristine, tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("flip") / "model"
    shutil.copytree(pristine, folder)
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # Counts and headers come first: look there most of the time.
        end = len(content) if data.draw(st.booleans()) else min(200, len(content))
        content[data.draw(st.integers(0, end - 1))] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    (folder / name).write_bytes(bytes(content))
    seal(folder)
    try:
        loaded = ReferenceModel.load(folder)  # some bytes are only another colour
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(loaded.gaussians.means).all()
        assert np.isfinite(loaded.sfm_map.points).all()
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", (*FILES, MANIFEST))
def test_missing_and_renamed(bundle, name):
    (bundle / name).rename(bundle / f"{name}.old")
    refused(bundle)
    (bundle / f"{name}.old").unlink()
    refused(bundle)


def test_strange_files(bundle):
    for name in ("extra.bin", "map/extra.bin", ".hidden"):
        (bundle / name).write_bytes(b"x")
        assert name in refused(bundle)
        (bundle / name).unlink()
    (bundle / "loop").symlink_to(bundle / "loop")
    assert "loop" in refused(bundle)


@pytest.mark.parametrize("name", FILES)
def test_folder_in_place_of_a_file(bundle, name):
    (bundle / name).unlink()
    (bundle / name).mkdir()
    refused(bundle)


def test_dead_link_and_pipe_in_place_of_a_file(bundle):
    (bundle / SPLATS).unlink()
    (bundle / SPLATS).symlink_to(bundle / "nowhere")
    refused(bundle)
    (bundle / SPLATS).unlink()
    os.mkfifo(bundle / SPLATS)
    refused(bundle)  # and does not wait for a writer


@pytest.mark.parametrize("name", ["../model/splats.ply", "/etc/hostname", "../../x", "", ".", "map"])
def test_paths_out_of_the_bundle(bundle, name):
    edit(bundle, lambda m: m["files"].update({name: hashlib.sha256(b"").hexdigest()}))
    refused(bundle)


def test_oversized(bundle, monkeypatch):
    monkeypatch.setattr(model_module, "MAX_BUNDLE_BYTES", 1000)
    assert "larger" in refused(bundle)
    monkeypatch.setattr(model_module, "MAX_MANIFEST_BYTES", 100)
    assert "larger" in refused(bundle)


@pytest.mark.parametrize(
    "version", [0, 1, FORMAT_VERSION - 1, FORMAT_VERSION + 1, str(FORMAT_VERSION), None, [FORMAT_VERSION]]
)
def test_other_versions(bundle, version):
    edit(bundle, lambda m: m.update(format_version=version))
    assert "version" in refused(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"format": "another"}', "\ud800"])
def test_manifests_that_are_none(bundle, text):
    (bundle / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(bundle)


@settings(deadline=None, max_examples=60)
@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_flipped_byte_of_the_manifest(pristine, tmp_path_factory, where, flip):
    folder = tmp_path_factory.mktemp("sealed") / "model"
    shutil.copytree(pristine, folder)
    data = bytearray((folder / MANIFEST).read_bytes())
    data[int(where * len(data))] ^= flip
    (folder / MANIFEST).write_bytes(data)
    refused(folder)
    shutil.rmtree(folder)


def test_an_edited_threshold(bundle):
    text = (bundle / MANIFEST).read_text()
    manifest = json.loads(text)
    threshold = json.dumps(manifest["calibration"]["threshold"])
    assert text.count(f'"threshold": {threshold}') == 1
    (bundle / MANIFEST).write_text(text.replace(f'"threshold": {threshold}', '"threshold": 1000.0'))
    assert "damaged or edited" in refused(bundle)


def test_wrong_count_of_gaussians(bundle):
    edit(bundle, lambda m: m.update(gaussians=m["gaussians"] + 1))
    assert "promises" in refused(bundle)


def test_model_without_gaussians(tmp_path):
    model = dataclasses.replace(make_model(calibrated=False), gaussians=make_gaussians(0))
    model.save(tmp_path / "m")
    refused(tmp_path / "m")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_splats_that_are_not_finite(bundle, value):
    data = bytearray((bundle / SPLATS).read_bytes())
    begin = data.index(b"end_header\n") + len(b"end_header\n")
    data[begin + 8 : begin + 12] = np.float32(value).tobytes()
    (bundle / SPLATS).write_bytes(bytes(data))
    seal(bundle)
    assert "finite" in refused(bundle)


CALIBRATION_DAMAGE = {
    "missing": lambda a: a.pop("residual_mean"),
    "renamed": lambda a: a.update(mean=a.pop("residual_mean")),
    "rows": lambda a: a.update(residual_mean=a["residual_mean"][:-1]),
    "columns": lambda a: a.update(residual_mean=np.repeat(a["residual_mean"], 2, axis=1)),
    "rarity": lambda a: a.update(rarity=a["rarity"][:, None]),
    "cues": lambda a: a.update(knots=np.repeat(a["knots"], 2, axis=0), factors=np.repeat(a["factors"], 2, axis=0)),
    "covariates": lambda a: a.update(knots=a["knots"][:, :-1], factors=a["factors"][:, :-1]),
    "knots": lambda a: a.update(knots=a["knots"][..., ::-1]),
    "factors": lambda a: a.update(factors=a["factors"][..., :-1]),
    "dimensions": lambda a: a.update(residual_mean=a["residual_mean"][:, 0]),
    "scores": lambda a: a.update(scores=a["scores"][None]),
    "type": lambda a: a.update(residual_mean=a["residual_mean"].astype(np.float64)),
    "integers": lambda a: a.update(scores=a["scores"].astype(np.int32)),
    "nan": lambda a: a["residual_mean"].__setitem__(3, np.nan),
    "inf": lambda a: a["scores"].__setitem__(0, np.inf),
    "negative": lambda a: a["residual_mean"].__setitem__(0, -1),
}


@pytest.mark.parametrize("damage", CALIBRATION_DAMAGE)
def test_calibration_arrays(bundle, damage):
    arrays = {name: array.copy() for name, array in load_file(bundle / CALIBRATION).items()}
    CALIBRATION_DAMAGE[damage](arrays)
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, bundle / CALIBRATION)
    seal(bundle)
    refused(bundle)


@pytest.mark.parametrize("name", ["descriptors", "descriptor_landmark", "descriptor_view", "keypoints", "vocabulary"])
@pytest.mark.parametrize("damage", ["missing", "rows", "type", "dimensions"])
def test_feature_arrays(bundle, name, damage):
    arrays = load_file(bundle / FEATURES)
    if damage == "missing":
        del arrays[name]
    elif damage == "rows":
        arrays[name] = arrays[name][:-1]
    elif damage == "type":
        arrays[name] = arrays[name].astype(np.int64)
    else:
        arrays[name] = arrays[name][None]
    save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, bundle / FEATURES)
    seal(bundle)
    refused(bundle)


WRONG = (None, True, -1, 0, 1e400, math.nan, 10**400, "x", "", [], [1], {}, {"x": 1}, [[]], "1\n2")


def paths_of(value, path=()):
    """The path of every value in nested groups and lists."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_of(inner, (*path, key))


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_change_to_the_manifest(pristine, tmp_path_factory, data):
    manifest = json.loads((pristine / MANIFEST).read_text())
    paths = [path for path in paths_of(manifest) if path]
    *parents, last = data.draw(st.sampled_from(paths))
    target = manifest
    for key in parents:
        target = target[key]
    if data.draw(st.booleans()):
        target[last] = data.draw(st.sampled_from(WRONG))
    else:
        del target[last]
    folder = tmp_path_factory.mktemp("manifest") / "model"
    shutil.copytree(pristine, folder)
    (folder / MANIFEST).write_text(seal_manifest(manifest)[1])
    try:
        loaded = ReferenceModel.load(folder)
    except ModelError as error:
        assert "\n" not in str(error)
    else:  # free text and figures may differ; what is used in computing must be of its type
        assert isinstance(loaded.name, str) and isinstance(loaded.method, str)
        method_from_dict(loaded.settings, "")
        if loaded.calibration is not None:
            assert isinstance(loaded.calibration.threshold, int | float)
    shutil.rmtree(folder)


def test_the_lens_distortion_is_kept(tmp_path):
    model = make_model()
    model = dataclasses.replace(
        model, camera=dataclasses.replace(model.camera, distortion=(0.06, -0.08, -0.001, 0.0002))
    )
    model.save(tmp_path / "model")
    assert ReferenceModel.load(tmp_path / "model").camera == model.camera
