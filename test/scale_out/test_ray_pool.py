"""The same tasks on a Ray cluster of this machine."""

import json
from pathlib import Path

import pytest
from part_work import arguments, make_parts, train

pytest.importorskip("ray", reason="Ray is not installed (pip install 'pad_ros[ray]')")

from pad_ros.cli import main  # noqa: E402
from pad_ros.scale_out.each import run_each  # noqa: E402

pytestmark = pytest.mark.slow


def test_parts_on_ray(tmp_path, monkeypatch, repository):
    """Failing parts stay alone, workers that die are replaced, and what is done is kept."""
    monkeypatch.setenv("PYTHONPATH", f"{repository}:{Path(__file__).parents[1]}")
    folder = make_parts(tmp_path / "parts", a={}, b={"refused": ""}, once={"kills": 1}, deadly={"kills": 99})
    (marks := tmp_path / "marks").mkdir()
    given = arguments(folder, tmp_path / "out", marks, on="ray", retries=1)
    assert run_each(given, train) == 1
    found = {part["name"]: part for part in json.loads((tmp_path / "out" / "parts.json").read_text())["parts"]}
    assert {name: part["state"] for name, part in found.items()} == {
        "a": "done", "b": "failed", "once": "done", "deadly": "failed"}  # fmt: skip
    assert found["b"]["why"] == "b: too few views" and found["deadly"]["why"]
    assert len(list(marks.glob("deadly.*"))) == 2
    (folder / "deadly" / "kills").unlink()
    assert run_each(given, train) == 1
    found = {part["name"]: part["state"] for part in json.loads((tmp_path / "out" / "parts.json").read_text())["parts"]}
    assert found == {"a": "kept", "b": "failed", "once": "kept", "deadly": "done"}


def test_no_cluster_is_one_line(tmp_path, capsys):
    folder = make_parts(tmp_path / "parts", a={})
    words = ["train", "--each", str(folder), "--out", str(tmp_path / "out"), "--on", "ray://127.0.0.1:9"]
    assert main(words) == 2
    assert "no cluster" in capsys.readouterr().err.splitlines()[-1]
