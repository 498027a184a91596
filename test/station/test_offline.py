"""`pad inspect --record-to` and `pad bag --record-to`: the same history as a line's."""

import numpy as np
import pytest
from model_factory import CAMERA, make_model
from sqlalchemy import select

from pad_ros.cli import main
from pad_ros.decision.inspection import AnomalyMap, DefectKind, DefectRegion, Inspection
from pad_ros.imaging import images
from pad_ros.inspector import Inspector
from pad_ros.station.database import open_history
from pad_ros.station.place import Place
from pad_ros.station.schema import defects, models, pictures, results
from pad_ros.verdicts import Reason, Verdict


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("offline") / "model"
    return make_model().save(folder), folder


@pytest.fixture
def rejected(monkeypatch):
    """Every image is rejected."""

    def inspect(self, image, camera=None):
        heatmap = AnomalyMap(np.full(image.shape[:2], 2.0, np.float32))
        found = DefectRegion((3, 4, 5, 6), 30, 2.0, (0.0, 0.1, 0.2), DefectKind.CHANGED)
        return Inspection(
            Verdict.REJECT, Reason.ANOMALY, "score 2.00", 2.0, 1.6, (found,), None, None, heatmap, image,
            {"total": 5.0}, 0.1,
        )  # fmt: skip

    monkeypatch.setattr(Inspector, "inspect", inspect)


def test_inspections_are_kept_with_pictures_and_their_model(tmp_path, model, rejected, capsys):
    for i in range(3):
        image = np.random.default_rng(i).integers(0, 256, (CAMERA.height, CAMERA.width, 3)).astype(np.uint8)
        images.save(tmp_path / "photos" / f"{i}.png", image)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    station = tmp_path / "station"
    command = ["inspect", str(model[1]), str(tmp_path / "photos"), "--out", str(tmp_path / "out")]
    assert main([*command, "--record-to", str(station), "--cell", "bench"]) == 1
    with open_history(Place(station)).connect() as connection:
        rows = connection.execute(select(results).order_by(results.c.source)).all()
        assert [(row.source, row.part_id, row.verdict) for row in rows] == [
            *((f"{i}.png", f"{i}", 2) for i in range(3)), ("broken.png", "broken", 0)
        ]  # fmt: skip
        assert {row.cell for row in rows} == {"bench"} and {row.model_hash for row in rows} == {model[0].hash}
        assert rows[0].p_value == 0.1
        assert len(connection.execute(select(defects)).all()) == 3
        kept = connection.execute(select(pictures.c.path).where(pictures.c.kind == "query")).all()
        assert len(kept) == 3 and all((station / "pictures" / row.path).is_file() for row in kept)
        (known,) = connection.execute(select(models)).all()
        assert (known.hash, known.folder, known.threshold) == (model[0].hash, str(model[1].resolve()), 1.6)


def test_a_station_that_cannot_be_written_is_one_line(tmp_path, model, rejected, capsys):
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    images.save(tmp_path / "1.png", image)
    command = ["inspect", str(model[1]), str(tmp_path / "1.png"), "--out", str(tmp_path / "out"), "--record-to"]
    for place, words in (("/proc/station", "no station can be kept there"), (str(tmp_path / "1.png"), "1.png")):
        assert main([*command, place]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
        assert words in line
    assert main([*command, str(tmp_path / "s"), "--database", "mysql://x/y"]) == 2
    assert "not supported" in capsys.readouterr().err
