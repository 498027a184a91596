"""Many parts over local processes: all are done, none twice, and what goes wrong with one stays with it."""

import json
import os

import pytest
from part_work import arguments, make_parts, train

from pad_ros.cli import main
from pad_ros.errors import InputError
from pad_ros.scale_out.each import run_each


def parts_json(out):
    found = json.loads((out / "parts.json").read_text())
    return {part["name"]: part for part in found["parts"]}, found


def test_all_parts_the_worst_first_and_nothing_twice(tmp_path, capfd):
    folder, out = make_parts(tmp_path / "parts", a={}, b={}, c={}, d={"number": -5}), tmp_path / "out"
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").write_text("no part")
    assert run_each(arguments(folder, out), train) == 0
    printed = capfd.readouterr()
    assert "training" not in printed.out + printed.err
    assert (out / "a.log").read_text() == "training a\n"
    found, document = parts_json(out)
    assert list(found) == ["d", "a", "b", "c"] and document["done"] == 4
    assert found["d"]["figures"]["dB on the part"] == -5 and found["d"]["written"] > 100
    report = (out / "report.html").read_text()
    assert report.index(">d<") < report.index(">a<") < report.index(">c<")
    assert sorted(p.name for p in (out / "a").rglob("*") if p.is_file()) == ["manifest.json", "points"]
    assert not [path for path in out.iterdir() if path.name.startswith(".")]

    made = {path: path.stat().st_ino for path in out.rglob("manifest.json")}
    assert run_each(arguments(folder, out), train) == 0
    assert parts_json(out)[1]["kept"] == 4 and made == {path: path.stat().st_ino for path in made}
    assert parts_json(out)[0]["d"]["figures"]["dB on the part"] == -5

    (folder / "a" / "number").write_text("77")  # another input
    (out / "b" / "map" / "points").unlink()  # an output that is not whole
    (out / "c.done.json").write_text("{}")
    assert run_each(arguments(folder, out), train) == 1
    found = parts_json(out)[0]
    assert [found[name]["state"] for name in "abcd"] == ["done", "done", "failed", "kept"]
    assert "not of an earlier run" in found["c"]["why"]  # what has no mark of ours is not replaced
    (out / "c.done.json").write_text('{"complete": false}')
    assert run_each(arguments(folder, out, seed=1), train) == 0  # another setting: all
    assert parts_json(out)[1]["done"] == 4


def test_one_that_fails_does_not_stop_the_others(tmp_path, capfd):
    folder = make_parts(tmp_path / "parts", a={"refused": ""}, b={}, c={"bug": ""}, d={})
    assert run_each(arguments(folder, tmp_path / "out"), train) == 1
    found = parts_json(tmp_path / "out")[0]
    assert list(found)[-2:] == ["b", "d"] and {found[name]["state"] for name in "bd"} == {"done"}
    assert found["a"]["why"] == "a: too few views" and found["c"]["why"] == "RuntimeError: a bug"
    assert "Traceback" in (tmp_path / "out" / "c.log").read_text()
    assert "2 of 4 parts failed" in capfd.readouterr().err
    assert "too few views" in (tmp_path / "out" / "report.html").read_text()
    (folder / "a" / "refused").unlink()
    (folder / "c" / "bug").unlink()
    assert run_each(arguments(folder, tmp_path / "out"), train) == 0
    assert parts_json(tmp_path / "out")[1]["kept"] == 2


def test_a_killed_worker_loses_nothing_and_a_deadly_part_ends(tmp_path):
    parts = {f"p{i}": {} for i in range(6)}
    folder = make_parts(tmp_path / "parts", **parts, once={"kills": 1}, deadly={"kills": 99})
    (marks := tmp_path / "marks").mkdir()
    assert run_each(arguments(folder, tmp_path / "out", marks), train) == 1
    found = parts_json(tmp_path / "out")[0]
    assert {name for name, part in found.items() if part["state"] == "done"} == {*parts, "once"}
    assert found["once"]["tries"] == 2
    assert found["deadly"]["why"] == "its worker was killed by signal 9 (3 times)"
    assert len(list(marks.iterdir())) == 4


def test_workers_are_limited_to_their_cpus(tmp_path):
    from pad_ros.scale_out.local_pool import _cards, _environment
    from pad_ros.scale_out.task import Resources

    with _environment(Resources(3).environment()):
        assert os.environ["NUMBA_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"] == "3"
    assert os.environ.get("OPENCV_FOR_THREADS_NUM") != "3"
    assert _cards(0.0, 1) == {"CUDA_VISIBLE_DEVICES": ""}
    assert [_cards(0.5, number)["CUDA_VISIBLE_DEVICES"] for number in range(4)] == ["0", "0", "1", "1"]


@pytest.mark.parametrize("out", ["parts", "parts/models"])
def test_the_input_is_never_the_output(tmp_path, out):
    folder = make_parts(tmp_path / "parts", a={})
    with pytest.raises(InputError, match="choose another --out"):
        run_each(arguments(folder, tmp_path / out), train)
    assert (folder / "a" / "number").exists()


def line_of(capsys, *argv, status=2):
    assert main([str(word) for word in argv]) == status
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_usage(tmp_path, capsys):
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    assert "no subfolders" in line_of(capsys, "train", "--each", empty, "--out", out)
    assert "cannot be used" in line_of(capsys, "train", f"--each={tmp_path / 'none'}", "--out", out)
    assert "cannot be used" in line_of(capsys, "train", "--each", "nosuch://bucket/parts", "--out", out)
    make_parts(tmp_path / "parts", a={})
    named = ("train", "--each", tmp_path / "parts", "--out", out, "--name", "x")
    assert "--name: is for one part" in line_of(capsys, *named)
    for wrong in (("--on", "slurm"), ("--workers", "0"), ("--cpus", "many"), ("--gpus", "3"), ("--retries", "-1")):
        with pytest.raises(SystemExit):
            main(["train", "--each", str(empty), "--out", str(out), *wrong])
    with pytest.raises(SystemExit):  # one part has its argument as before
        main(["evaluate", "model", "--out", str(out)])
    assert not out.exists()


def test_without_ray_one_line_says_so(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    line = line_of(capsys, "train", "--each", tmp_path, "--out", tmp_path / "o", "--on", "ray", status=3)
    assert "pip install 'pad_ros[ray]'" in line


def test_a_real_command_finds_its_models_by_name(tmp_path, capsys):
    """`pad evaluate MODELS --each DATASETS`: the damaged model of one part is that part's own failure."""
    import numpy as np
    from model_factory import make_model

    from pad_ros.imaging import images

    for name in ("ball", "cube"):
        noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        images.save(tmp_path / "data" / name / "test" / "good" / "0.png", noise)
    make_model().save(tmp_path / "models" / "ball")
    words = ("evaluate", tmp_path / "models", "--each", tmp_path / "data", "--out", tmp_path / "out", "--device", "cpu")
    assert main([str(word) for word in words]) == 1
    found = parts_json(tmp_path / "out")[0]
    assert found["ball"]["state"] == "done" and found["ball"]["figures"]["holds"] == 1.0
    assert "cube: no such folder" in found["cube"]["why"]
    assert (tmp_path / "out" / "ball" / "report.html").is_file()
    assert 'href="ball/report.html"' in (tmp_path / "out" / "report.html").read_text()
