"""`pad bag` with labels, limits and recorded results."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_factory import CAMERA, make_model
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Writer

from pad_ros.cli import main
from pad_ros.decision.inspection import AnomalyMap, DefectKind, DefectRegion, Inspection
from pad_ros.errors import InputError
from pad_ros.evaluation.dataset import Dataset, read_dataset
from pad_ros.evaluation.evaluate import evaluate
from pad_ros.evaluation.recordings import Limits, Recording, label_of, read_labels
from pad_ros.imaging import images
from pad_ros.imaging.geometry import Pose
from pad_ros.inspector import Inspector
from pad_ros.localization.result import Localization
from pad_ros.reporting.bag_writer import typestore
from pad_ros.verdicts import Reason, Verdict

TYPES = typestore()
SECOND = 10**9
POSE = Pose.look_at(np.array([1.0, 2.0, 3.0]), np.zeros(3), np.array([0.0, 0.0, 1.0]))


def picture(red: int) -> np.ndarray:
    pixels = np.random.default_rng(red).integers(0, 50, (CAMERA.height, CAMERA.width, 3)).astype(np.uint8)
    pixels[..., 0] = red
    return pixels


def verdict_of(self, image, camera=None):
    """Red decides: 0 is HOLD, from 150 on REJECT."""
    red = int(np.median(image[..., 0]))
    nan = float("nan")
    if red == 0:
        return Inspection(Verdict.HOLD, Reason.NOT_LOCALIZED, "nothing", nan, 1.0, (), None, None, None, image)
    values = np.zeros(image.shape[:2], np.float32)
    values[10:14, 20:26] = red / 150
    bad = red >= 150
    verdict, reason = (Verdict.REJECT, Reason.ANOMALY) if bad else (Verdict.PASS, Reason.NONE)
    defects = (DefectRegion((20, 10, 6, 4), 24, red / 150, (0.1, 0.2, 0.3), DefectKind.ADDED),) if bad else ()
    found = Localization(POSE, Reason.NONE, "", 40, 50, 0.5, np.eye(6) * 1e-6)
    return Inspection(
        verdict, reason, f"score {red / 150:.2f}", red / 150, 1.0, defects, found, None, AnomalyMap(values), image,
        timings_ms={"localize": 1.0, "render": 2.0, "score": 3.0, "total": 6.0},
    )  # fmt: skip


@pytest.fixture
def inspector(monkeypatch):
    monkeypatch.setattr(Inspector, "inspect", verdict_of)
    monkeypatch.setattr(Inspector, "warm_up", lambda self: None)
    return Inspector(make_model(), "cpu")


@pytest.fixture
def model(tmp_path, inspector):
    make_model().save(tmp_path / "model")
    return tmp_path / "model"


def make(kind, **values):
    return TYPES.types[kind](**values)


def time_msg(ns):
    return make("builtin_interfaces/msg/Time", sec=ns // SECOND, nanosec=ns % SECOND)


def image_message(red, stamp):
    png = cv2.imencode(".png", cv2.cvtColor(picture(red), cv2.COLOR_RGB2BGR))[1].ravel()
    header = make("std_msgs/msg/Header", stamp=time_msg(stamp), frame_id="camera")
    return make("sensor_msgs/msg/CompressedImage", header=header, format="png", data=png)


def write_bag(path: Path, frames, say=True) -> Path:
    """frames: (red, what it shows); image i is stamped and recorded at second i + 1, named half a second before."""
    with Writer(path, version=9) as writer:
        image = writer.add_connection("/cell/image_raw/compressed", "sensor_msgs/msg/CompressedImage", typestore=TYPES)
        name = writer.add_connection("/cell/image_name", "std_msgs/msg/String", typestore=TYPES)
        for i, (red, label) in enumerate(frames):
            now = (i + 1) * SECOND
            if say and label is not None:
                text = make("std_msgs/msg/String", data=str(label))
                writer.write(name, now - SECOND // 2, TYPES.serialize_cdr(text, text.__msgtype__))
            message = image_message(red, now)
            writer.write(image, now, TYPES.serialize_cdr(message, message.__msgtype__))
    return path


FRAMES = [(75, "good"), (75, "good"), (200, "Burrs"), (100, "Stains"), (200, "good"), (0, "good")]


def run(capsys, *argv):
    status = main([str(argument) for argument in argv])
    out, err = capsys.readouterr()
    return status, out, err


def test_labels_from_a_topic_give_metrics_and_report(tmp_path, model, capsys):
    bag = write_bag(tmp_path / "bag", FRAMES)
    status, out, _ = run(capsys, "bag", model, bag, "--out", tmp_path / "o", "--labels", "/cell/image_name")
    assert status == 1  # not all pass, and no limit was given
    metrics = json.loads((tmp_path / "o" / "metrics.json").read_text())
    assert (metrics["images"], metrics["dataset"]) == (6, "bag")
    assert metrics["false_reject_rate"] == 0.25 and metrics["escape_rate"] == 0.5
    assert metrics["hold_rate"] == pytest.approx(1 / 6)
    assert [row["label"] for row in metrics["per_image"]] == [label for _, label in FRAMES]
    assert metrics["latency_ms"]["total"]["p95"] > 0
    assert (tmp_path / "o" / "report.html").is_file() and "report.html" in out


def test_the_same_figures_as_for_the_data_set(tmp_path, inspector):
    """Masks too: the label topic holds the images' paths, as camera_replay publishes them."""
    root = tmp_path / "set"
    paths = []
    for i, (red, label) in enumerate(FRAMES):
        path = root / "test" / label / f"{i}.png"
        images.save(path, picture(red))
        paths.append(path)
        if label != "good":
            mask = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
            mask[10:14, 20:26] = 255
            images.save(root / "ground_truth" / label / f"{i}_mask.png", mask)
    bag = write_bag(tmp_path / "bag", [(red, path) for (red, _), path in zip(FRAMES, paths, strict=True)])
    expected = evaluate(inspector, read_dataset(root), tmp_path / "a")
    found = evaluate(inspector, Dataset("bag", Recording(bag, None, "/cell/image_name")), tmp_path / "b")
    for key in ("image_auroc", "pixel_auroc", "aupro", "false_reject_rate", "escape_rate", "hold_rate"):
        assert found[key] == expected[key], key
    verdicts = {Path(row["image"]).stem: row["verdict"] for row in expected["per_image"]}
    assert [row["verdict"] for row in found["per_image"]] == [verdicts[path.stem] for path in paths]


def test_labels_from_a_file(tmp_path, model, capsys):
    bag = write_bag(tmp_path / "bag", FRAMES, say=False)
    lines = [f"{(i + 1) * SECOND},{label}" for i, (_, label) in enumerate(FRAMES)]
    csv = tmp_path / "labels.csv"
    csv.write_text("stamp,label\n" + "\n".join(lines) + "\n")
    logged = tmp_path / "log.jsonl"
    logged.write_text(
        "".join(
            json.dumps({"stamp": (i + 1) * SECOND, "image": f"/data/test/{label}/{i}.png"}) + "\n"
            for i, (_, label) in enumerate(FRAMES)
        )
    )
    assert {k: v.name for k, v in read_labels(csv).items()} == {k: v.name for k, v in read_labels(logged).items()}
    run(capsys, "bag", model, bag, "--out", tmp_path / "o", "--labels", csv)
    assert json.loads((tmp_path / "o" / "metrics.json").read_text())["escape_rate"] == 0.5


def test_masks_of_a_label_file(tmp_path):
    (tmp_path / "labels.csv").write_text("stamp,label,mask\n5,Burrs,masks/5.png\n6,good,\n")
    found = read_labels(tmp_path / "labels.csv")
    assert found[5].mask_path == tmp_path / "masks" / "5.png" and found[6].mask_path is None


@pytest.mark.parametrize(
    "text, label", [("good", "good"), ("Burrs", "Burrs"), ("", "good"), ("/x/test/Stains/3.png", "Stains")]
)
def test_label_of(text, label):
    assert label_of(text).name == label and label_of(text).mask_path is None


DAMAGED_LABELS = {
    "empty": "", "other columns": "a,b\n1,2\n", "stamp is text": "stamp,label\nx,good\n", "cut off": "{",
    "no label": '{"stamp": 1}', "a list": "[1]", "NUL": "\0",
    "infinite stamp": '{"stamp": Infinity, "label": "good"}',
    "stamp of 5000 digits": f"stamp,label\n{'9' * 5000},good\n",
    "huge field": f"stamp,label\n1,{'x' * 200_000}\n", "deep JSON": '{"stamp": ' + "[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED_LABELS)
def test_damaged_label_files(tmp_path, kind):
    (tmp_path / "labels").write_text(DAMAGED_LABELS[kind])
    with pytest.raises(InputError, match="labels") as caught:
        read_labels(tmp_path / "labels")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


LABEL_STARTS = ["", "stamp,label\n", '{"stamp": ', '{"label": "x", "stamp": 1, "mask": ']


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from(LABEL_STARTS), rest=st.text())
def test_any_label_file_is_read_or_refused(tmp_path, start, rest):
    (tmp_path / "labels").write_text(start + rest, encoding="utf-8")
    try:
        read_labels(tmp_path / "labels")
    except InputError as error:
        assert "\n" not in str(error)


def test_every_image_needs_a_label(tmp_path, model, capsys):
    bag = write_bag(tmp_path / "bag", [(75, None), (75, "good")])
    assert main(["bag", str(model), str(bag), "--out", str(tmp_path / "o"), "--labels", "/cell/image_name"]) == 2
    assert "no label for the image stamped 1000000000" in capsys.readouterr().err
    assert main(["bag", str(model), str(bag), "--out", str(tmp_path / "o"), "--labels", "/nothing"]) == 2
    assert "there are: /cell/image_name" in capsys.readouterr().err


@pytest.mark.parametrize(
    "limits, status, broken",
    [
        (("--max-false-reject", "0.25", "--max-escape", "0.5", "--max-hold", "0.2"), 0, []),
        (("--max-false-reject", "0.2"), 1, ["false reject rate"]),
        (("--max-escape", "0", "--max-hold", "0"), 1, ["escape rate", "hold rate"]),
        (("--max-p95-ms", "1e6"), 0, []),
        (("--max-p95-ms", "1e-6"), 1, ["time per image"]),
    ],
)
def test_limits_decide_the_exit_status(tmp_path, model, capsys, limits, status, broken):
    bag = write_bag(tmp_path / "bag", FRAMES)
    found, out, _ = run(capsys, "bag", model, bag, "--out", tmp_path / "o", "--labels", "/cell/image_name", *limits)
    lines = [line for line in out.splitlines() if line.startswith("limit broken: ")]
    assert found == status
    assert len(lines) == len(broken) and all(name in line for name, line in zip(broken, lines, strict=True))


def test_limits_without_labels(tmp_path, model, capsys):
    bag = write_bag(tmp_path / "bag", FRAMES)
    assert run(capsys, "bag", model, bag, "--out", tmp_path / "o", "--max-hold", "0.2")[0] == 0
    assert run(capsys, "bag", model, bag, "--out", tmp_path / "p", "--max-hold", "0.1")[0] == 1
    status, _, err = run(capsys, "bag", model, bag, "--out", tmp_path / "q", "--max-escape", "0.1")
    assert status == 2 and "need --labels" in err


def test_a_rate_of_no_image_breaks_its_limit():
    nan = float("nan")
    assert Limits(escape=0.5).broken(0.0, nan, 0.0, 1.0) == [
        "escape rate: no such image, the limit 0.5 cannot be checked"
    ]
    assert Limits().broken(nan, nan, nan, nan) == []


@pytest.mark.parametrize("labels", [(), ("--labels", "/cell/image_name")])
def test_recorded_results_can_be_read_again(tmp_path, model, capsys, labels):
    bag, out = write_bag(tmp_path / "bag", FRAMES), tmp_path / "results"
    run(capsys, "bag", model, bag, "--out", tmp_path / "o", "--record", out, *labels)
    with AnyReader([out], default_typestore=TYPES) as reader:
        found: dict[str, list] = {}
        for connection, time_ns, raw in reader.messages():
            found.setdefault(connection.topic, []).append((time_ns, reader.deserialize(raw, connection.msgtype)))
    results = [message for _, message in found["/cell/result"]]
    assert [r.verdict for r in results] == [1, 1, 2, 1, 2, 0]
    assert [r.header.stamp.sec for r in results] == [1, 2, 3, 4, 5, 6]
    assert results[0].header.frame_id == "camera" and results[0].model_name == "ball"
    assert [time_ns // SECOND for time_ns, _ in found["/cell/result"]] == [1, 2, 3, 4, 5, 6]
    assert (results[2].defects[0].box.x_offset, results[2].defects[0].centroid.z) == (20, 0.3)
    turn, place = results[0].pose.pose.orientation, results[0].pose.pose.position
    pose = Pose.from_quaternion(np.array([turn.w, turn.x, turn.y, turn.z]), np.array([place.x, place.y, place.z]))
    np.testing.assert_allclose(pose.matrix, POSE.matrix, atol=1e-12)
    assert results[5].pose.covariance[0] == -1 and np.isnan(results[5].score)
    heatmaps = [message for _, message in found["/cell/heatmap"]]
    assert len(heatmaps) == len(found["/cell/heatmap_overlay"]) == 5
    values = heatmaps[2].data.view(np.float32).reshape(48, 64)
    assert values[12, 22] == pytest.approx(200 / 150)


def test_an_existing_bag_is_not_overwritten(tmp_path, model, capsys):
    bag = write_bag(tmp_path / "bag", FRAMES)
    status, _, err = run(capsys, "bag", model, bag, "--out", tmp_path / "o", "--record", bag)
    assert status == 2 and "exists already" in err


def test_the_recorded_result_is_what_rclpy_reads(tmp_path, model, capsys):
    pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")
    from pad_ros.msg import InspectionResult
    from rclpy.serialization import deserialize_message

    bag, out = write_bag(tmp_path / "bag", FRAMES[:3]), tmp_path / "results"
    run(capsys, "bag", model, bag, "--out", tmp_path / "o", "--record", out)
    with AnyReader([out], default_typestore=TYPES) as reader:
        raws = [bytes(raw) for connection, _, raw in reader.messages() if connection.topic == "/cell/result"]
    messages = [deserialize_message(raw, InspectionResult) for raw in raws]
    assert [m.verdict for m in messages] == [1, 1, 2]
    assert (messages[2].defects[0].area, messages[2].reason_text) == (24, "score 1.33")


@pytest.mark.parametrize("text", ["-1", "2", "x", "nan"])
def test_limits_are_shares(text):
    with pytest.raises(SystemExit) as stop:
        main(["bag", "m", "b", "--out", "o", "--max-hold", text])
    assert stop.value.code == 2
