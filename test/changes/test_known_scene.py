"""`pad changes` from photographs to the page, on a small generated scene; and what it says of unusable input."""

import json

import numpy as np
import pytest

from pad_ros.cli import main
from pad_ros.demo.scenes import camera_of, make_pair, write_pair
from pad_ros.imaging import images


@pytest.mark.slow
def test_photographs_to_changes(tmp_path, capsys):
    write_pair(make_pair(1, ("vanished",)), tmp_path, (16, 4), seed=10, camera=camera_of(240, 180))
    command = ["changes", str(tmp_path / "before"), str(tmp_path / "after"), "--out", str(tmp_path / "out")]
    fewer = ["--set", "splatting.gaussians=6000", "--set", "splatting.first_gaussians=3000", "--budget", "40"]
    assert main([*command, *fewer]) == 0
    written = json.loads((tmp_path / "out" / "changes.json").read_text())
    assert len(written["photographs"]) + len(written["left_out"]) == 4
    assert (tmp_path / "out" / "index.html").is_file()
    assert f"{len(written['changes'])} changes in {len(written['photographs'])} photographs" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["before", "after"])
def test_a_missing_set_is_one_line_and_status_2(missing, tmp_path, capsys):
    for name in ("before", "after"):
        if name != missing:
            for k in range(3):
                noise = np.random.default_rng(k).integers(0, 256, (60, 80, 3), np.uint8)
                images.save(tmp_path / name / f"{k}.png", noise)
    assert main(["changes", str(tmp_path / "before"), str(tmp_path / "after"), "--out", str(tmp_path / "out")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pad: error:")]
    assert f"{tmp_path / missing}: no such file or folder" in line


def test_too_few_photographs_before_are_named(tmp_path, capsys):
    for name in ("before", "after"):
        for k in range(3):
            noise = np.random.default_rng(k).integers(0, 256, (60, 80, 3), np.uint8)
            images.save(tmp_path / name / f"{k}.png", noise)
    assert main(["changes", str(tmp_path / "before"), str(tmp_path / "after"), "--out", str(tmp_path / "out")]) == 2
    assert "3 photographs are too few, give at least 8" in capsys.readouterr().err
