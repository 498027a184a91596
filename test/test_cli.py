"""`pad`: arguments, exit statuses, and one line of error. What the commands compute is tested elsewhere."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from model_factory import CAMERA, make_model
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_typestore

from pad_ros.cli import main
from pad_ros.decision.inspection import Inspection
from pad_ros.imaging import images
from pad_ros.inspector import Inspector
from pad_ros.model import ReferenceModel
from pad_ros.verdicts import Reason, Verdict


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "model"
    make_model().save(folder)
    return folder


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photos" / "good.png"
    images.save(path, np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8))
    return path


@pytest.fixture
def everything_passes(monkeypatch):
    def inspect(self, image, camera=None):
        assert self.scene.roi in (None, (4, 2, 40, 44))
        assert camera is None or camera == CAMERA
        return Inspection(
            Verdict.PASS, Reason.NONE, "score 0.50 <= threshold 1.60", 0.5, 1.6, (), None, None, None, image
        )

    monkeypatch.setattr(Inspector, "inspect", inspect)


def run(capsys, *argv):
    """(exit status, stdout, stderr) of `pad argv`."""
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as stop:  # argparse
        status = stop.code
    out, err = capsys.readouterr()
    return status, out, err


def error_line(capsys, *argv, status=2):
    """The one line on stderr of a command that fails with `status`."""
    code, out, err = run(capsys, *argv)
    assert code == status, err
    assert out == "" and "Traceback" not in err and "internal error" not in err
    (line,) = err.splitlines()
    assert line.startswith("pad: error: ")
    return line


# --- usage ---


def test_without_a_command_help_is_shown(capsys):
    status, out, err = run(capsys)
    assert status == 2 and out == "" and "train" in err and "inspect" in err


def test_help_and_version(capsys):
    assert run(capsys, "--help")[0] == 0
    assert run(capsys, "--version")[:2] == (0, run(capsys, "--version")[1])
    for command in ("train", "calibrate", "inspect", "evaluate", "bag", "bench", "demo", "info"):
        status, out, _ = run(capsys, command, "--help")
        assert status == 0 and command in out


@pytest.mark.parametrize(
    "argv",
    [
        ("fly",),
        ("train",),
        ("train", "views"),
        ("train", "views", "--out", "m", "--budget", "0"),
        ("train", "views", "--out", "m", "--budget", "-5"),
        ("train", "views", "--out", "m", "--budget", "nan"),
        ("train", "views", "--out", "m", "--budget", "inf"),
        ("train", "views", "--out", "m", "--budget", "long"),
        ("train", "views", "--out", "m", "--false-reject-rate", "1"),
        ("train", "views", "--out", "m", "--false-reject-rate", "0"),
        ("train", "views", "--out", "m", "--false-reject-rate", "x"),
        ("train", "views", "--out", "m", "--seed", "-1"),
        ("train", "views", "--out", "m", "--seed", "99999999999999"),
        ("train", "views", "--out", "m", "--device", "tpu"),
        ("train", "views", "--out", "m", "--max-side", "wide"),
        ("train", "views", "--out", "m", "--poses", "guess"),
        ("train", "views", "--out", "m", "--part", "fox"),
        ("train", "views", "--out", "m", "--part", "sphere:1,2,3"),
        ("inspect", "model", "--out", "o"),
        ("info",),
        ("calibrate", "model", "good"),
        ("calibrate", "model", "--out", "m"),
        ("calibrate", "model", "good", "--out", "m", "--false-reject-rate", "1"),
        ("demo", "--budget", "0"),
    ],
)
def test_bad_usage(capsys, argv):
    status, out, err = run(capsys, *argv)
    assert status == 2 and out == "" and "error:" in err and "_positive" not in err and "_share" not in err


def test_an_unreadable_region_says_what_is_expected(capsys):
    _, _, err = run(capsys, "train", "views", "--out", "m", "--part", "ball:1,2,3,4")
    expected = "expected sphere:X,Y,Z,R, box:X0,Y0,Z0,X1,Y1,Z1 in the part frame, auto or scene"
    assert err.splitlines()[-1] == f"pad train: error: argument --part: 'ball:1,2,3,4' is no region: {expected}"


# --- bad input ---


def test_training_input(capsys, tmp_path, photo, model):
    out = tmp_path / "new"
    views = photo.parent
    assert str(tmp_path / "none") in error_line(capsys, "train", tmp_path / "none", "--out", out)
    assert "there are: " in error_line(capsys, "train", views, "--out", out, "--method", "nope")
    assert "KEY=VALUE" in error_line(capsys, "train", views, "--out", out, "--set", "nonsense")
    assert "gausians" in error_line(capsys, "train", views, "--out", out, "--set", "splatting.gausians=3")
    assert "32 px" in error_line(capsys, "train", views, "--out", out, "--max-side", "5")
    assert "32 px" in error_line(capsys, "train", views, "--out", out, "--max-side", "-5")
    assert "choose another" in error_line(capsys, "train", views, "--out", views)
    assert "not a folder" in error_line(capsys, "train", views, "--out", photo)
    assert not out.exists()


@pytest.mark.parametrize("posed", [False, True])
def test_photographs_that_make_no_map_end_before_the_fit(capsys, tmp_path, monkeypatch, posed):
    """In seconds, with what is wrong with which photograph, and what to do."""
    monkeypatch.setattr("pad_ros.training.fitting.fit_gaussians", lambda *_: pytest.fail("the fit was begun"))
    for i in range(9):
        coarse = np.random.default_rng(i).integers(0, 256, (9, 9, 3)).astype(np.uint8)
        images.save(tmp_path / f"images/{i}.png", coarse.repeat(16, axis=0).repeat(16, axis=1))
    matrix = np.diag([1.0, 1, 1, 1])
    frames = [{"file_path": f"images/{i}.png", "transform_matrix": (matrix + i * np.eye(4, k=3)).tolist()}
              for i in range(9)]  # fmt: skip
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 150.0, "frames": frames}))
    poses = () if posed else ("--poses", "none")
    status, _, err = run(capsys, "train", tmp_path, "--out", tmp_path / "m", *poses)
    line = next(line for line in err.splitlines() if line.startswith("pad: error: "))
    assert status == 2
    if posed:
        assert "landmarks could be triangulated" in line and "take sharper views" in line
    else:
        assert "of 9 views could be placed in one map, too few to go on. Not placed: images/0.png (" in line
        assert "What to do: take them sharp, all around the part" in line


def test_newlines_in_names_do_not_break_the_line(capsys, tmp_path):
    assert "none here" in error_line(capsys, "train", tmp_path / "none\nhere", "--out", tmp_path / "m")


@pytest.mark.parametrize("command", ["train", "inspect", "evaluate", "bench"])
def test_cuda_is_missing(capsys, tmp_path, model, photo, command, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    dataset = tmp_path / "dataset"
    images.save(dataset / "test" / "good" / "0.png", images.load(photo))
    arguments = {
        "train": (photo.parent, "--out", tmp_path / "m"),
        "inspect": (model, photo, "--out", tmp_path / "o"),
        "evaluate": (model, dataset, "--out", tmp_path / "o"),
        "bench": (model, photo),
    }[command]
    assert "--device cpu" in error_line(capsys, command, *arguments, "--device", "cuda", status=3)
    assert not (tmp_path / "m").exists() and not (tmp_path / "o").exists()


def test_not_a_model(capsys, tmp_path, photo):
    for path in (tmp_path / "none", photo.parent, photo):
        assert str(path) in error_line(capsys, "info", path)
        assert str(path) in error_line(capsys, "inspect", path, photo, "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_damaged_model(capsys, tmp_path):
    make_model().save(tmp_path / "m")
    with (tmp_path / "m" / "splats.ply").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    assert "splats.ply: damaged" in error_line(capsys, "info", tmp_path / "m")


def test_inspection_input(capsys, tmp_path, model, photo):
    out = tmp_path / "o"
    assert "none.png" in error_line(capsys, "inspect", model, photo, tmp_path / "none.png", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "no images" in error_line(capsys, "inspect", model, tmp_path / "empty", "--out", out)
    assert not out.exists()
    assert str(photo) in error_line(capsys, "inspect", model, photo, "--out", photo)
    assert "test/" in error_line(capsys, "evaluate", model, tmp_path / "empty", "--out", out)


def test_unexpected_errors_are_one_line_too(capsys, monkeypatch, model):
    def fail(folder):
        raise RuntimeError("first\nsecond")

    monkeypatch.delenv("PAD_DEBUG", raising=False)
    monkeypatch.setattr(ReferenceModel, "load", staticmethod(fail))
    status, out, err = run(capsys, "info", model)
    assert (status, out) == (2, "") and len(err.splitlines()) == 1 and "internal error: RuntimeError: first" in err
    monkeypatch.setenv("PAD_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["info", str(model)])


def test_interruption(capsys, monkeypatch, model):
    def interrupt(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(ReferenceModel, "load", staticmethod(interrupt))
    status, _, err = run(capsys, "info", model)
    assert status != 0 and len(err.splitlines()) == 1


# --- verdicts ---


def results(folder):
    return json.loads((folder / "results.json").read_text())["results"]


def test_all_pass(capsys, tmp_path, model, photo, everything_passes):
    status, out, err = run(capsys, "inspect", model, photo, "--out", tmp_path / "o")
    assert (status, err) == (0, "") and "PASS" in out
    assert [r["verdict"] for r in results(tmp_path / "o")] == ["PASS"]


def test_region_and_empty_cell(capsys, tmp_path, model, photo, everything_passes):
    out = tmp_path / "out"
    status, _, _ = run(capsys, "inspect", model, photo, "--out", out, "--roi", "4,2,40,44", "--background", photo)
    assert status == 0
    for region in ("4,2,40", "40,2,4,44", "a,b,c,d", "-1,0,4,4"):
        status, _, err = run(capsys, "inspect", model, photo, "--out", out, f"--roi={region}")
        assert status == 2 and "expected X0,Y0,X1,Y1" in err
    missing = tmp_path / "empty.png"
    assert str(missing) in error_line(capsys, "inspect", model, photo, "--out", out, "--background", missing)


def test_an_empty_cell_of_another_size_holds_every_image(capsys, tmp_path, model, photo):
    other = tmp_path / "other.png"
    images.save(other, np.zeros((40, 60, 3), np.uint8))
    status, out, err = run(capsys, "inspect", model, photo, "--out", tmp_path / "out", "--json", "--background", other)
    assert out, err
    found = json.loads(out.splitlines()[0])
    assert status == 1 and found["verdict"] == "HOLD" and "60x40" in found["reason_text"]


def test_unreadable_images_are_held(capsys, tmp_path, model, photo, everything_passes):
    data = photo.read_bytes()
    (photo.parent / "cut.png").write_bytes(data[: len(data) // 2])
    (photo.parent / "text.jpg").write_text("not an image")
    (photo.parent / "empty.png").write_bytes(b"")
    status, out, err = run(capsys, "inspect", model, photo.parent, "--out", tmp_path / "o", "--json")
    assert (status, err) == (1, "")
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["image"]: (line["verdict"], line["reason"]) for line in lines} == {
        "cut.png": ("HOLD", "BAD_IMAGE"),
        "empty.png": ("HOLD", "BAD_IMAGE"),
        "good.png": ("PASS", "NONE"),
        "text.jpg": ("HOLD", "BAD_IMAGE"),
    }
    assert all("cut.png" in line["reason_text"] for line in lines if line["image"] == "cut.png")


def test_what_is_not_the_part_is_held(capsys, tmp_path, model, photo):
    status, out, _ = run(capsys, "inspect", model, photo, "--out", tmp_path / "o")
    assert status == 1 and "HOLD" in out and "INTERNAL_ERROR" not in json.dumps(results(tmp_path / "o"))


def test_info(capsys, model):
    status, out, err = run(capsys, "info", model)
    assert (status, err) == (0, "") and "ball" in out and "20" in out
    status, out, _ = run(capsys, "info", model, "--json")
    assert status == 0 and json.loads(out)["name"] == "ball"


# --- bags ---


def write_bag(folder, topics, frames):
    types = get_typestore(Stores.ROS2_JAZZY)
    with Writer(folder, version=9) as writer:
        for topic in topics:
            connection = writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=types)
            for i in range(frames):
                pixels = np.random.default_rng(i).integers(0, 256, 48 * 64 * 3).astype(np.uint8)
                header = types.types["std_msgs/msg/Header"](types.types["builtin_interfaces/msg/Time"](i, 0), "cam")
                message = types.types["sensor_msgs/msg/Image"](header, 48, 64, "rgb8", 0, 192, pixels)
                writer.write(connection, i, types.serialize_cdr(message, "sensor_msgs/msg/Image"))
    return folder


def test_bag(capsys, tmp_path, model, everything_passes):
    bag = write_bag(tmp_path / "bag", ["/cam/image_raw"], 2)
    status, out, _ = run(capsys, "bag", model, bag, "--out", tmp_path / "o")
    assert status == 0 and out.count("PASS") == 2


def test_bag_input(capsys, tmp_path, model, everything_passes):
    two = write_bag(tmp_path / "two", ["/a/image_raw", "/b/image_raw"], 1)
    out = tmp_path / "o"
    line = error_line(capsys, "bag", model, two, "--out", out)
    assert "/a/image_raw" in line and "/b/image_raw" in line and "--topic" in line
    assert "/c" in error_line(capsys, "bag", model, two, "--topic", "/c", "--out", out)
    assert run(capsys, "bag", model, two, "--topic", "/b/image_raw", "--out", out)[0] == 0
    assert "none" in error_line(capsys, "bag", model, tmp_path / "none", "--out", out)
    empty = write_bag(tmp_path / "empty", ["/a/image_raw"], 0)
    assert "no images" in error_line(capsys, "bag", model, empty, "--out", out)


# --- as a process ---


def test_a_closed_pipe_is_no_error(model):
    command = f"{sys.executable} -m pad_ros.cli info {model} --json | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr and "error" not in done.stderr
    assert done.stdout == "{"


# --- calibrate ---


def test_calibrate_leaves_the_model_as_it_is(capsys, model, photo):
    line = error_line(capsys, "calibrate", model, photo.parent, "--out", model)
    assert "the model itself is not changed" in line


def test_calibrate_refuses_what_holds_no_images(capsys, model, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "no images" in error_line(capsys, "calibrate", model, tmp_path / "nothing", "--out", tmp_path / "m")
    assert "no such file" in error_line(capsys, "calibrate", model, tmp_path / "none", "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_calibrate_says_why_images_cannot_be_used(capsys, model, photo, tmp_path):
    status, out, err = run(capsys, "calibrate", model, photo.parent, "--out", tmp_path / "m")
    assert status == 2 and out == "" and "Traceback" not in err
    assert "0 good units can be used, at least 5 are needed; good.png: " in err.splitlines()[-1]
