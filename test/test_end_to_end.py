"""Train, save, load, inspect, evaluate: the whole pipeline on a small part, as a user runs it."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from toy import CAMERA, QUERIES, SIZE, VIEWS

from pad_ros.cli import main
from pad_ros.evaluation.dataset import read_dataset
from pad_ros.imaging import images
from pad_ros.imaging.geometry import rotation_angle, translation_error
from pad_ros.inspector import Inspector
from pad_ros.io.nerf import read_nerf
from pad_ros.model import ReferenceModel
from pad_ros.verdicts import Reason, Verdict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inspector(toy):
    return Inspector.load(toy.bundle)


@pytest.fixture(scope="module")
def good(toy, inspector):
    return inspector.inspect(images.load(toy.good))


def run(capsys, *argv):
    status = main([str(argument) for argument in argv])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


def held(result, *reasons):
    """A HOLD for one of the reasons, that says why and claims nothing else."""
    assert result.verdict is Verdict.HOLD and result.reason in reasons, (result.verdict, result.reason_text)
    assert result.reason_text and np.isnan(result.score) and result.defects == ()
    return True


# --- what was learned ---


def test_the_model_is_what_the_views_allow(toy):
    training, calibration = toy.model.training, toy.model.calibration
    assert training["views"] == training["registered"] == VIEWS
    assert training["fitted"] == VIEWS and training["held_out"]["views"] == VIEWS // 4  # these were then learned too
    assert training["held_out"]["psnr"] > 22 and training["held_out"]["ssim"] > 0.8
    assert len(toy.model.photographs) == VIEWS
    assert toy.model.camera.width == SIZE and toy.model.background.colour is not None
    assert len(calibration.scores) >= training["held_out"]["views"]
    assert np.all(np.isfinite(calibration.scores)) and np.isfinite(calibration.threshold) and calibration.threshold > 0
    assert calibration.false_reject_rate == 0.05 and calibration.promised_rate <= 1 / 8
    assert 0 < calibration.coverage < np.pi


def test_loaded_it_answers_as_before_saving(toy, inspector, good):
    again = Inspector(ReferenceModel.load(toy.bundle)).inspect(images.load(toy.good))
    assert again.score == good.score and again.threshold == toy.model.calibration.threshold
    np.testing.assert_array_equal(again.anomaly_map.values, good.anomaly_map.values)
    before = Inspector(toy.model).inspect(images.load(toy.good))  # opacities and scales were rounded in the PLY
    assert before.verdict is good.verdict and before.score == pytest.approx(good.score, rel=0.05)


# --- one image ---


def test_a_good_image_passes_at_its_true_pose(toy, good):
    assert (good.verdict, good.reason) == (Verdict.PASS, Reason.NONE), good.reason_text
    assert 0 <= good.score <= good.threshold and 0 < good.p_value <= 1 and good.defects == ()
    assert good.anomaly_map.values.shape == (SIZE, SIZE) and good.anomaly_map.values.dtype == np.float32
    assert good.score == pytest.approx(float(good.anomaly_map.values.max()), rel=1e-5)
    assert good.rendering.rgb.shape == (SIZE, SIZE, 3)
    assert set(good.timings_ms) == {"localize", "render", "score", "total"}
    assert good.timings_ms["total"] >= good.timings_ms["localize"] > 0
    truth = {item.path.resolve(): item.pose for item in read_dataset(toy.dataset).images}[toy.good.resolve()]
    assert rotation_angle(good.localization.pose, truth) < np.radians(1.0)
    assert translation_error(good.localization.pose, truth) < 0.02
    covariance = good.localization.covariance
    assert covariance.shape == (6, 6) and np.all(np.linalg.eigvalsh(covariance) > 0)


def test_a_defect_is_rejected_where_it_is(toy, inspector):
    result = inspector.inspect(images.load(toy.defect))
    assert (result.verdict, result.reason) == (Verdict.REJECT, Reason.ANOMALY)
    assert result.score > result.threshold and result.p_value <= 1 / 4
    difference = np.abs(images.load(toy.defect).astype(int) - images.load(toy.good)).max(axis=2) > 0
    rows, columns = np.nonzero(difference)
    x, y, w, h = result.defects[0].box
    assert x < columns.mean() < x + w and y < rows.mean() < y + h
    assert result.defects[0].peak_score == pytest.approx(result.score, rel=1e-5)


def test_the_stages_one_by_one_give_the_same(toy, inspector, good):
    query = inspector.prepare(images.load(toy.good))
    localization = inspector.localize(query)
    result = inspector.score(query, localization, inspector.render(query, localization))
    assert result.score == good.score
    np.testing.assert_array_equal(result.localization.pose.matrix, good.localization.pose.matrix)
    np.testing.assert_array_equal(result.anomaly_map.values, good.anomaly_map.values)


def test_a_score_does_not_depend_on_the_images_before(toy, inspector, good):
    for path in (toy.defect, toy.foreign, toy.black):
        inspector.inspect(images.load(path))
    again = inspector.inspect(images.load(toy.good))
    assert again.score == good.score and again.p_value == good.p_value
    np.testing.assert_array_equal(again.localization.pose.matrix, good.localization.pose.matrix)


def test_intrinsics_that_come_with_the_image_are_used(toy, inspector, good):
    given = inspector.inspect(images.load(toy.good), CAMERA)
    assert given.verdict is good.verdict and given.score == pytest.approx(good.score, rel=0.05)


def test_a_larger_image_of_the_same_view_is_localized(toy, inspector, good):
    large = cv2.resize(images.load(toy.good), (2 * SIZE, 2 * SIZE), interpolation=cv2.INTER_CUBIC)
    result = inspector.inspect(large)
    assert result.localization.localized and result.anomaly_map.values.shape == (2 * SIZE, 2 * SIZE)
    assert rotation_angle(result.localization.pose, good.localization.pose) < np.radians(1.0)
    assert translation_error(result.localization.pose, good.localization.pose) < 0.02


# --- no trustworthy answer ---


def test_what_is_not_the_part_never_passes(toy, inspector):
    unknown = (Reason.NOT_LOCALIZED, Reason.WEAK_POSE, Reason.OUTSIDE_COVERAGE, Reason.POOR_RENDERING)
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    assert held(inspector.inspect(images.load(toy.foreign)), *unknown)
    assert held(inspector.inspect(noise), *unknown)
    for value in (0, 128, 255):
        assert held(inspector.inspect(np.full((SIZE, SIZE, 3), value, np.uint8)), Reason.NO_CONTENT)


def test_an_image_of_another_shape_is_held(inspector):
    wide = np.random.default_rng(0).integers(0, 256, (SIZE, 2 * SIZE, 3)).astype(np.uint8)
    assert held(inspector.inspect(wide), Reason.CAMERA_MISMATCH)
    assert held(inspector.inspect(wide, CAMERA), Reason.CAMERA_MISMATCH)


@pytest.mark.parametrize(
    "image", [None, np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE, 3)), np.zeros((0, 0, 3), np.uint8)]
)
def test_what_is_no_image_is_held(inspector, image):
    assert held(inspector.inspect(image), Reason.BAD_IMAGE)


@pytest.mark.parametrize("stage", ["localize", "render", "score"])
def test_a_failure_in_a_stage_is_held(toy, inspector, monkeypatch, stage):
    def fail(*arguments):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(Inspector, stage, fail)
        result = inspector.inspect(images.load(toy.good))
    assert held(result, Reason.INTERNAL_ERROR) and "out of luck" in result.reason_text
    assert inspector.inspect(images.load(toy.good)).verdict is Verdict.PASS


def test_a_model_without_threshold_holds_everything(toy):
    bare = Inspector(replace(toy.model, calibration=None))
    assert held(bare.inspect(images.load(toy.good)), Reason.UNCALIBRATED)
    calibration = replace(toy.model.calibration, threshold=float("nan"))
    assert held(
        Inspector(replace(toy.model, calibration=calibration)).inspect(images.load(toy.good)), Reason.UNCALIBRATED
    )


def test_a_view_that_the_reference_views_do_not_cover_is_held(toy):
    calibration = replace(toy.model.calibration, coverage=np.radians(0.1))
    inspector = Inspector(replace(toy.model, calibration=calibration))
    assert held(inspector.inspect(images.load(toy.good)), Reason.OUTSIDE_COVERAGE)


# --- commands ---


def test_inspect_leaves_verdicts_and_pictures(toy, tmp_path, capsys):
    out = tmp_path / "one"
    status, printed, _ = run(capsys, "inspect", toy.bundle, toy.good, "--out", out)
    assert status == 0 and "PASS" in printed
    document = json.loads((out / "results.json").read_text())
    (result,) = document["results"]
    assert document["model"] == "toy" and document["model_hash"] == toy.model.hash
    assert (result["image"], result["verdict"], result["reason"]) == (toy.good.name, "PASS", "NONE")
    assert np.array(result["camera_from_part"]).shape == (4, 4)
    for kind in ("heatmap", "overlay", "reference"):
        assert images.load(out / f"{toy.good.stem}_{kind}.png").shape == (SIZE, SIZE, 3)
    assert (out / "index.html").stat().st_size > 1000


def test_inspect_ends_with_1_when_anything_does_not_pass(toy, tmp_path, capsys):
    files = [toy.good, toy.defect, toy.foreign, toy.black, toy.truncated]
    status, printed, _ = run(capsys, "inspect", toy.bundle, *files, "--out", tmp_path / "all", "--json")
    assert status == 1
    verdicts = {line["image"]: (line["verdict"], line["reason"]) for line in map(json.loads, printed.splitlines())}
    assert [path.name for path in files] == list(verdicts)
    assert verdicts["0.png"] == ("PASS", "NONE") and verdicts["defect.png"] == ("REJECT", "ANOMALY")
    assert verdicts["foreign.png"][0] == "HOLD"
    assert verdicts["black.png"] == ("HOLD", "NO_CONTENT") and verdicts["truncated.png"] == ("HOLD", "BAD_IMAGE")
    alone = run(capsys, "inspect", toy.bundle, toy.defect, "--out", tmp_path / "alone", "--json")[1]
    together = json.loads((tmp_path / "all" / "results.json").read_text())["results"][1]
    assert json.loads(alone)["score"] == together["score"]


def test_evaluate_writes_the_agreed_metrics(toy, tmp_path, capsys):
    status, printed, _ = run(capsys, "evaluate", toy.bundle, toy.dataset, "--out", tmp_path)
    assert status == 0 and "report.html" in printed
    found = json.loads((tmp_path / "metrics.json").read_text())
    rates = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "f1_localization", "localized")
    rates += ("false_reject_rate", "escape_rate", "hold_rate")
    assert all(0 <= found[name] <= 1 for name in rates)
    assert (found["method"], found["model"], found["device"]) == ("pad", "toy", "cpu")
    assert found["images"] == sum(QUERIES.values()) == len(found["per_image"])
    assert found["localized"] >= 0.5  # small images, few features
    assert found["pose_error"]["rotation_deg"]["median"] < 0.5
    assert set(found["pose_error"]["translation_percent"]) >= {"median", "p95", "max"}
    for stage in ("localize", "render", "score", "total"):
        assert 0 < found["latency_ms"][stage]["p50"] <= found["latency_ms"][stage]["p95"]
    for record in found["per_image"]:
        assert {"image", "label", "verdict", "score", "threshold", "reason"} <= set(record)
    assert found["baselines"] == {}
    html = (tmp_path / "report.html").read_text()
    assert "toy" in html and "http://" not in html.replace("http://www.w3.org", "")


def test_info_tells_what_the_model_promises(toy, capsys):
    status, printed, _ = run(capsys, "info", toy.bundle)
    assert status == 0 and "toy" in printed and "threshold" in printed and f"{VIEWS} views" in printed


def test_a_damaged_bundle_gives_one_line(toy, tmp_path, capsys):
    copy = tmp_path / "model"
    shutil.copytree(toy.bundle, copy)
    splats = copy / "splats.ply"
    splats.write_bytes(splats.read_bytes()[:-7])
    status, printed, errors = run(capsys, "inspect", copy, toy.good, "--out", tmp_path / "out")
    assert status == 2 and printed == "" and "splats.ply" in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# --- training that does not end well ---


def test_an_interrupted_training_leaves_nothing(toy, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("pad_ros.training.fitting.fit_gaussians", interrupted)
    out = tmp_path / "models" / "toy"
    status, _, errors = run(capsys, "train", toy.dataset, "--out", out)
    assert status == 2 and "interrupted" in errors.splitlines()[-1]
    assert not out.exists() and (not out.parent.exists() or not list(out.parent.iterdir()))


def test_training_needs_enough_views(toy, tmp_path, capsys):
    views = read_nerf(toy.dataset / "transforms.json", None)
    document = json.loads((toy.dataset / "transforms.json").read_text())
    document["frames"] = document["frames"][:7]
    folder = tmp_path / "few"
    (folder / "train" / "good").mkdir(parents=True)
    for view in views.views[:7]:
        images.save(folder / view.name, view.image)
    (folder / "transforms.json").write_text(json.dumps(document))
    status, _, errors = run(capsys, "train", folder, "--out", tmp_path / "model")
    assert status == 2 and "7 views are too few" in errors.splitlines()[-1]
    assert not (tmp_path / "model").exists()
