"""What `pad inspect` and `pad info` print and leave on disk."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from model_factory import CAMERA, make_calibration, make_model

from pad_ros.decision.inspection import AnomalyMap, DefectKind, DefectRegion, Inspection
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Pose
from pad_ros.localization.result import Localization
from pad_ros.rendering.result import ReferenceRendering
from pad_ros.reporting.reports import InspectionWriter, model_summary
from pad_ros.verdicts import Reason, Verdict

SHAPE = (CAMERA.height, CAMERA.width)
POSE = Pose.look_at(np.array([3.0, 0, 1]), np.zeros(3), np.array([0, 0, 1.0]))


def rejected(level=0.5) -> Inspection:
    rgb = np.full((*SHAPE, 3), level, np.float32)
    ones = np.ones(SHAPE, np.float32)
    rendering = ReferenceRendering(rgb, ones, ones, np.zeros((*SHAPE, 0), np.float32), CAMERA, POSE)
    return Inspection(
        Verdict.REJECT, Reason.ANOMALY, "score 3.00 > threshold 1.60", 3.0, 1.6,
        (DefectRegion((5, 6, 7, 8), 40, 3.0, (0.1, 0.2, 0.3), DefectKind.MISSING),),
        Localization(POSE, Reason.NONE, "", 40, 50, 0.5), rendering, AnomalyMap(3 * ones),
        np.zeros((*SHAPE, 3), np.uint8), {"localize": 1.234, "total": 5.678}, 0.1,
    )  # fmt: skip


PASSED = replace(rejected(), verdict=Verdict.PASS, reason=Reason.NONE, reason_text="fine", defects=())
HELD = Inspection(
    Verdict.HOLD, Reason.NO_CONTENT, "black", math.nan, math.nan, (), None, None, None, np.zeros((*SHAPE, 3), np.uint8)
)


def written(folder, inspection):
    with InspectionWriter(folder, make_model()) as writer:
        writer.add("a.png", inspection)
    text = (folder / "results.json").read_text()
    assert "NaN" not in text
    return json.loads(text)["results"][0]


def test_an_inspection_as_json_holds_what_matters(tmp_path):
    values = written(tmp_path, rejected())
    assert (values["image"], values["verdict"], values["reason"]) == ("a.png", "REJECT", "ANOMALY")
    assert (values["score"], values["threshold"], values["p_value"]) == (3.0, 1.6, 0.1)
    assert values["defects"] == [
        {"box": [5, 6, 7, 8], "area": 40, "peak_score": 3.0, "centroid": [0.1, 0.2, 0.3], "kind": "MISSING"}
    ]
    np.testing.assert_allclose(values["camera_from_part"], POSE.matrix)
    assert values["timings_ms"] == {"localize": 1.23, "total": 5.68}


def test_what_is_not_known_is_null(tmp_path):
    values = written(tmp_path, HELD)
    assert all(values[key] is None for key in ("score", "threshold", "p_value", "camera_from_part"))
    assert values["defects"] == [] and values["reason_text"] == "black"


def test_pictures_verdicts_and_an_overview_are_left(tmp_path, capsys):
    with InspectionWriter(tmp_path / "new" / "out", make_model()) as writer:
        writer.add("bad.png", rejected())
        writer.add("black.png", HELD)
    assert not writer.all_passed
    out = tmp_path / "new" / "out"
    names = {path.name for path in out.iterdir()}
    assert names == {"bad_heatmap.png", "bad_overlay.png", "bad_reference.png", "results.json", "index.html"}
    assert images.load(out / "bad_reference.png").shape == (*SHAPE, 3)
    document = json.loads((out / "results.json").read_text())
    assert document["model"] == "ball" and [r["verdict"] for r in document["results"]] == ["REJECT", "HOLD"]
    first, second = capsys.readouterr().out.splitlines()
    assert "bad.png" in first and "REJECT" in first and "black" in second and "HOLD" in second


def test_only_when_all_passed_it_says_so(tmp_path, capsys):
    with InspectionWriter(tmp_path, make_model(), json_lines=True) as writer:
        writer.add("a.png", PASSED)
        assert writer.all_passed
        writer.add("b.png", HELD)
        assert not writer.all_passed
        writer.add("c.png", PASSED)
    assert not writer.all_passed
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == ["a.png", "b.png", "c.png"]


def test_images_of_the_same_name_keep_their_own_pictures(tmp_path, capsys):
    levels = (0.1, 0.3, 0.5, 0.7)
    with InspectionWriter(tmp_path, make_model()) as writer:
        for name, level in zip(("0.png", "0.png", "0001_0.png", "0.jpg"), levels, strict=True):
            writer.add(name, rejected(level))
    references = sorted(images.load(path)[0, 0, 0] for path in tmp_path.glob("*_reference.png"))
    assert references == pytest.approx([255 * level for level in levels], abs=1)


def test_results_of_an_interrupted_run_are_kept(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), InspectionWriter(tmp_path, make_model()) as writer:
        writer.add("a.png", rejected())
        raise KeyboardInterrupt
    assert len(json.loads((tmp_path / "results.json").read_text())["results"]) == 1
    assert (tmp_path / "index.html").is_file()


def test_the_summary_says_what_the_model_promises():
    text = "\n".join(model_summary(make_model()))
    for words in ("ball", "64x48", "3 views", "12 landmarks", "20, SH degree 1", "30.0 dB", "25.0 dB on the part"):
        assert words in text
    assert "1.600 for 1 % false rejects, from 9 reference views (enough to promise 10.0 %)" in text
    assert text.count(" to ") >= 10 and text.count("<- threshold") == 1 and "10 %: " in text and "2 %: " in text


def test_the_summary_of_a_model_calibrated_on_a_line_says_so():
    model = make_model()
    scores = np.linspace(0.5, 1.2, 20).astype(np.float32)
    entry = {"units": 20, "source": "good_parts", "newest_image": "2026-11-28T10:00:00+00:00"}
    calibration = model.calibration.with_scores(scores, model.calibration.scores, 0.05)
    training = {**model.training, "line_calibrations": [entry]}
    text = "\n".join(model_summary(replace(model, calibration=calibration, training=training)))
    assert "1.200 for 5 % false rejects, from 20 good units (enough to promise 5.0 %)" in text
    assert "from 20 good units of good_parts (newest image 2026-11-28T10:00:00+00:00)" in text


@pytest.mark.parametrize("calibration", [None, replace(make_calibration(), threshold=math.nan)])
def test_the_summary_of_an_uncalibrated_model_says_hold(calibration):
    text = "\n".join(model_summary(replace(make_model(), calibration=calibration, training={})))
    assert "every verdict will be HOLD" in text
