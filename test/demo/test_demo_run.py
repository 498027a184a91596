"""`pad demo`: what it refuses before it begins, and how it judges the verdicts. The rest takes minutes."""

from types import SimpleNamespace

import numpy as np
import pytest
from model_factory import make_model

from pad_ros.cli import main
from pad_ros.decision.inspection import Inspection
from pad_ros.decision.result_message import result_message
from pad_ros.demo import run as demo
from pad_ros.imaging import images
from pad_ros.verdicts import Reason, Verdict


def test_a_folder_of_the_users_is_never_cleared(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path), "--no-ros"]) == 2
    error = capsys.readouterr().err
    assert "no demo folder" in error and len(error.splitlines()) == 1
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_file_in_the_way_is_left_alone(tmp_path, capsys):
    path = tmp_path / "out"
    path.write_text("x")
    assert main(["demo", "--out", str(path), "--no-ros"]) == 2
    assert path.read_text() == "x" and "Traceback" not in capsys.readouterr().err


def test_a_new_an_empty_and_its_own_folder_are_taken(tmp_path):
    for folder in (tmp_path / "deep" / "new", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        demo._clear(folder)
        (folder / "old.txt").touch()
        demo._clear(folder)
        assert [path.name for path in folder.iterdir()] == [demo.MARKER]


def test_an_unknown_part_is_refused(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "out"), "--part", "spoon", "--no-ros"]) == 2
    assert "spoon" in capsys.readouterr().err.splitlines()[-1]


def test_without_ros_it_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 3
    assert "--no-ros" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_queries_show_what_they_should(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "VIEWS", 4)
    monkeypatch.setattr(demo, "SIZE", 64)
    monkeypatch.setattr(demo, "QUERIES", {"good": 1})
    queries = dict(demo._make_images(tmp_path / "dataset", "bracket", 0))
    assert list(queries) == ["good", "foreign", "black", "truncated"]
    assert not images.load(queries["black"]).any()
    with pytest.raises(images.ImageError):
        images.load(queries["truncated"])
    assert images.load(queries["foreign"]).shape == images.load(queries["good"]).shape == (64, 64, 3)
    other = dict(demo._make_images(tmp_path / "other" / "dataset", "bracket", 1))
    assert (images.load(other["good"]) != images.load(queries["good"])).any()


def test_a_verdict_is_compared_with_what_the_image_shows(tmp_path, capsys):
    path = tmp_path / "test" / "0.png"
    for label, verdict, right in (
        ("good", Verdict.PASS, True), ("good", Verdict.HOLD, False), ("Burrs", Verdict.REJECT, True),
        ("Burrs", Verdict.PASS, False), ("black", Verdict.HOLD, True), ("truncated", Verdict.REJECT, False),
    ):  # fmt: skip
        row = demo._row(label, path, verdict, "NONE: why", 1.0, 12.3)
        assert (row.verdict == row.expected) is right
        assert ("expected" in capsys.readouterr().out) is not right


def test_the_demos_results_are_a_station(tmp_path, capsys):
    """As of the line, and as of this process; `pad station` then shows them."""
    pytest.importorskip("sqlalchemy", reason="the packages of the extra `station` are not installed")
    model = make_model().save(tmp_path / "model")
    photo = np.full((64, 64, 3), 90, np.uint8)
    held = Inspection.hold(Reason.NOT_LOCALIZED, "no pose", image=photo)
    images.save(path := tmp_path / "good" / "0.png", photo)
    stamp = SimpleNamespace(sec=1, nanosec=0)
    message = result_message(
        lambda kind, **fields: SimpleNamespace(**fields), held, header=SimpleNamespace(stamp=stamp, frame_id=""),
        part_id="", model_name="ball", model_hash=model.hash, trigger_stamp=stamp,
    )  # fmt: skip
    with demo._station(tmp_path, model, tmp_path / "model") as station:
        demo._keep(station, SimpleNamespace(image=path, result=message, reference=None, heatmap=None))
        station.add("good/1.png", held, part_id="good/1.png")
    assert main(["history", "list", str(tmp_path), "--out", str(tmp_path / "results.csv")]) == 0
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 3 and all("kept" in line and "NOT_LOCALIZED" in line for line in lines[1:])
    assert len(list((tmp_path / "pictures").rglob("*_query.png"))) == 2
