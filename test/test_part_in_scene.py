"""A part taught on a table with clutter behind it, end to end: only the part counts, on whatever it stands."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from table_scene import CAMERA, MISSING, Table, photographs, poses, write_views

from pad_ros.cli import main
from pad_ros.imaging import images
from pad_ros.imaging.geometry import rotation_angle
from pad_ros.inspector import Inspector
from pad_ros.model import ReferenceModel
from pad_ros.verdicts import Verdict

pytestmark = pytest.mark.slow

VIEWS = 36
SETTINGS = ("splatting.steps=900", "splatting.gaussians=6000", "splatting.sh_degree=1")
OTHER = Table(seed=7)


@dataclass(frozen=True)
class Taught:
    folder: Path
    model: ReferenceModel


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> Taught:
    folder = tmp_path_factory.mktemp("table")
    write_views(folder / "views", VIEWS)
    arguments = ["train", folder / "views", "--out", folder / "model", "--budget", "1e9", "--false-reject-rate", "0.05"]
    status = main([*map(str, arguments), *(word for setting in SETTINGS for word in ("--set", setting))])
    assert status == 0
    return Taught(folder, ReferenceModel.load(folder / "model"))


def inspected(taught: Taught, table: Table, without: str = ""):
    """(the true pose, the inspection) of three views between the reference views."""
    views = poses(11, seed=3)[1::4]
    inspector = Inspector(taught.model, "cpu")
    return [(pose, inspector.inspect(image, CAMERA)) for pose, image in zip(views, photographs(views, table, without))]


def test_the_part_is_found_by_itself(taught):
    training = taught.model.training
    assert training["region"].startswith("sphere:") and training["above_plane"][2] == pytest.approx(1, abs=0.02)
    assert np.all(np.abs(taught.model.gaussians.means).max(axis=0) < 1.2)  # nothing of table and clutter is left
    assert np.all(np.linalg.norm(taught.model.sfm_map.of_part().points, axis=1) < 1.4)
    assert training["held_out"]["psnr_part"] > 20


@pytest.mark.parametrize("table", [Table(), OTHER])
def test_a_good_part_is_found_wherever_it_stands(taught, table):
    for pose, result in inspected(taught, table):
        if result.verdict is not Verdict.HOLD:
            assert np.degrees(rotation_angle(result.localization.pose, pose)) < 0.5


SHADE = pytest.mark.xfail(reason="Gaussians of the shade under the part stay with it: on another table they are missed")


@pytest.mark.parametrize("table", [Table(), pytest.param(OTHER, marks=SHADE)])
def test_a_good_part_passes_wherever_it_stands(taught, table):
    found = inspected(taught, table)
    assert [result.verdict for _, result in found] == [Verdict.PASS] * 3, [r.reason_text for _, r in found]


@pytest.mark.parametrize("table", [Table(), OTHER])
def test_a_part_with_something_missing_is_rejected(taught, table):
    verdicts = [found.verdict for _, found in inspected(taught, table, MISSING)]
    assert Verdict.PASS not in verdicts and verdicts.count(Verdict.REJECT) >= 2


def test_pictures_show_what_is_compared(taught, capsys):
    out = taught.folder / "pictures"
    assert main(["info", str(taught.folder / "model"), "--pictures", str(out)]) == 0
    assert "part        sphere:" in capsys.readouterr().out
    files = sorted(out.glob("part_*.png"))
    assert 4 <= len(files) <= 8 and "sphere:" in (out / "index.html").read_text()
    shown = images.load(files[0]).astype(int)
    outlined = np.abs(shown - (0, 70, 200)).max(axis=2) < 40
    assert 60 < np.count_nonzero(outlined) < 0.2 * outlined.size


def test_a_region_that_holds_no_landmarks_is_one_line(taught, capsys):
    arguments = ["train", taught.folder / "views", "--out", taught.folder / "none", "--part", "sphere:9,9,9,0.1"]
    assert main(list(map(str, arguments))) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("pad: error: --part sphere:9,9,9,0.1 holds 0 of ") and "the cameras look at sphere:" in line
    assert not (taught.folder / "none").exists()
