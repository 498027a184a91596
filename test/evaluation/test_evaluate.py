import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluation_fakes import SIZE, FakeInspector, write_dataset

from pad_ros.errors import InputError
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.evaluation.evaluate import evaluate, metrics_table
from pad_ros.imaging import images

DESIGN_KEYS = ["method", "model", "dataset", "device", "images", "localized", "image_auroc", "pixel_auroc", "pixel_ap",
               "aupro", "f1_localization", "false_reject_rate", "escape_rate", "hold_rate", "pose_error", "latency_ms",
               "per_image", "baselines"]  # fmt: skip


class Page(HTMLParser):
    """Collects tags, and fails on any that is not closed."""

    VOID = {"meta", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)


@pytest.fixture
def dataset(tmp_path):
    return read_dataset(write_dataset(tmp_path / "square"))


def read(out):
    text = (out / "metrics.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    return json.loads(text)


def test_metrics_json_is_what_the_design_says(dataset, tmp_path):
    inspector, out = FakeInspector(hold=[2, 7]), tmp_path / "out"
    evaluate(inspector, dataset, out)
    found = read(out)
    assert set(DESIGN_KEYS) <= set(found)
    assert inspector.warm
    assert (found["model"], found["method"], found["dataset"], found["device"]) == ("square", "pad", "square", "cpu")
    assert found["images"] == 9 == len(found["per_image"])
    assert found["localized"] == pytest.approx(7 / 9)
    assert found["hold_rate"] == pytest.approx(2 / 9)
    assert found["false_reject_rate"] == 0.0
    assert found["escape_rate"] == 0.0
    assert found["verdicts"]["defective"] == {"HOLD": 1, "PASS": 0, "REJECT": 4}
    assert found["pose_error"]["rotation_deg"]["median"] == pytest.approx(np.degrees(0.01))
    assert set(found["latency_ms"]) == {"localize", "render", "score", "total"}
    assert found["latency_ms"]["render"] == {"p50": 2.0, "p95": 2.0}
    record = found["per_image"][0]
    assert (record["image"], record["label"], record["verdict"]) == ("test/good/0.png", "good", "PASS")
    held = found["per_image"][1]
    assert (held["verdict"], held["score"], held["reason"]) == ("HOLD", None, "NOT_LOCALIZED")
    assert held["latency_ms"]["render"] is None
    assert found["per_defect"]["Burrs"]["images"] == 3
    assert found["per_defect"]["good"]["image_auroc"] is None
    low, high = found["confidence"]["image_auroc"]
    assert low <= found["image_auroc"] <= high
    assert sorted(p.name for p in out.iterdir()) == ["metrics.json", "report.html"]


def test_the_report_is_one_whole_page_without_network(dataset, tmp_path):
    evaluate(FakeInspector(hold=[2]), dataset, tmp_path)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.tags.count("svg") == 8  # ROC, PRO, precision-recall, scores, calibration, two pose errors, time
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "script" not in page.tags and "link" not in page.tags
    assert not re.search(r"https?://|url\(", text)
    assert "too few &lt;b&gt;matches" in text  # texts are escaped
    assert "<b>matches" not in text
    assert ">nan<" not in text and "None</" not in text
    assert "square on square" in text


def test_all_right_means_full_marks(dataset, tmp_path):
    found = evaluate(FakeInspector(), dataset, tmp_path)
    for key in ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "localized"):
        assert found[key] == pytest.approx(1.0), key
    table = metrics_table(found)
    assert "Image AUROC       1.000  (1.000 to 1.000)" in table
    assert "Pose error        0.573 deg" in table


def test_a_baseline_without_poses_stands_beside_the_method(dataset, tmp_path):
    class PoseNaive(FakeInspector):
        def inspect(self, image, camera=None):
            result = super().inspect(image)
            return replace(result, localization=None, rendering=None, timings_ms={})

    found = evaluate(FakeInspector(), dataset, tmp_path, baselines={"patchcore": PoseNaive()})
    baseline = read(tmp_path)["baselines"]["patchcore"]
    assert baseline["image_auroc"] == 1.0
    assert baseline["localized"] == 0.0
    assert baseline["pose_error"] is None
    assert baseline["latency_ms"]["render"] == {"p50": None, "p95": None}
    assert metrics_table(found).splitlines()[0].split() == ["pad", "patchcore"]
    Page((tmp_path / "report.html").read_text())


def test_an_undecodable_image_is_held_and_its_defect_missed(dataset, tmp_path):
    broken = next(i for i in dataset.images if i.name == "test/Burrs/2.png")
    broken.path.write_bytes(broken.path.read_bytes()[:60])
    found = evaluate(FakeInspector(), dataset, tmp_path)
    record = next(r for r in found["per_image"] if r["image"] == broken.name)
    assert (record["verdict"], record["reason"]) == ("HOLD", "BAD_IMAGE")
    assert "truncated" in record["reason_text"]
    assert found["image_auroc"] == pytest.approx(4 / 5)
    assert found["aupro"] < 0.9
    Page((tmp_path / "report.html").read_text())


def test_without_poses_truth_or_defects_figures_are_null(tmp_path):
    folder = write_dataset(tmp_path / "square", poses=False)
    for label in ("Burrs", "Stains"):
        for file in (folder / "test" / label).iterdir():
            file.unlink()
    evaluate(FakeInspector(threshold=float("nan")), read_dataset(folder), tmp_path / "out")
    found = read(tmp_path / "out")
    for key in ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "escape_rate", "pose_error",
                "threshold"):  # fmt: skip
        assert found[key] is None, key
    assert found["false_reject_rate"] == 0.0
    Page((tmp_path / "out/report.html").read_text())


def test_everything_held_still_gives_a_report(dataset, tmp_path):
    found = evaluate(FakeInspector(hold=range(1, 10)), dataset, tmp_path)
    assert (found["hold_rate"], found["localized"], found["image_auroc"]) == (1.0, 0.0, 0.0)
    assert found["pixel_auroc"] == 0.5
    Page((tmp_path / "report.html").read_text())


def test_bad_ground_truth_and_bad_folders_are_refused(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    inspector = FakeInspector()
    with pytest.raises(InputError, match="cannot be made a folder"):
        evaluate(inspector, dataset, tmp_path / "file")
    assert inspector.calls == 0  # refused before the work
    images.save(dataset.images[-1].mask_path, np.zeros((SIZE, SIZE + 1, 3), np.uint8))
    with pytest.raises(InputError, match="mask of 65x64 px for an image of 64x64 px"):
        evaluate(inspector, dataset, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
