"""Nodes as processes of their own: three stages and a runner, replay, start-up errors, clean ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_inspector import CAMERA, write_bundle

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import InspectionResult as R  # noqa: E402
from pad_ros.msg import Trigger  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from pad_ros.demo import graph as demo_graph  # noqa: E402
from pad_ros.errors import InputError, PadError  # noqa: E402
from pad_ros.evaluation.recordings import Recording  # noqa: E402
from pad_ros.imaging import images  # noqa: E402
from pad_ros.imaging.geometry import Camera  # noqa: E402
from pad_ros.io.bags import read_images  # noqa: E402
from pad_ros.nodes.camera_replay import CameraReplayNode  # noqa: E402
from pad_ros.nodes.support import replay_source  # noqa: E402
from pad_ros.nodes.support.convert import camera_from_info  # noqa: E402

LABELS = ("good", "good", "Burrs", "good")
ENDLESS = (
    "image_width: .inf\nimage_height: 48\ndistortion_model: plumb_bob\n"
    "camera_matrix: {data: [1]}\ndistortion_coefficients: {data: [0]}\n"
)
FAKE = Path(__file__).with_name("fake_inspector.py")


def fake_command(node: str) -> list[str]:
    return [sys.executable, str(FAKE), node]


def write_image(path: Path, red: int) -> Path:
    pixels = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    pixels[..., 0] = red
    images.save(path, pixels)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("camera", [CAMERA, None], ids=["camera_info", "the model's camera"])
def test_three_processes_answer_each_image_once(tmp_path, bundle, camera):
    files = [write_image(tmp_path / f"{i}.png", red) for i, red in enumerate((75, 200, 0, 255, 100))]
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(files[0].read_bytes()[:60])
    answers: list[demo_graph.GraphResult] = []
    environment = dict(os.environ)
    demo_graph.run_graph(bundle, [*files, damaged], camera, answers.append, command=fake_command)
    assert dict(os.environ) == environment
    assert sorted(a.image for a in answers) == sorted([*files, damaged])
    by_name = {a.image.stem: a for a in answers}
    verdicts = {name: (a.result.verdict, a.result.reason) for name, a in by_name.items()}
    assert verdicts == {
        "0": (R.PASS, R.NONE),
        "1": (R.REJECT, R.ANOMALY),
        "2": (R.HOLD, R.NOT_LOCALIZED),
        "3": (R.HOLD, R.INTERNAL_ERROR),
        "4": (R.PASS, R.NONE),
        "damaged": (R.HOLD, R.BAD_IMAGE),
    }
    assert by_name["1"].overlay.shape == by_name["1"].reference.shape == (48, 64, 3)
    assert by_name["1"].heatmap.max() == pytest.approx(200 / 150)
    assert by_name["2"].overlay is None


@pytest.mark.slow
def test_a_node_that_does_not_start_is_named(tmp_path, bundle):
    def command(node: str) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no such luck')"] if node == "renderer" else fake_command(node)

    with pytest.raises(PadError, match="renderer ended with status 1: no such luck"):
        demo_graph.run_graph(bundle, [], None, print, command=command)


@pytest.mark.slow
@pytest.mark.parametrize("node", ["localizer", "renderer", "scorer", "cell"])
def test_without_a_model_parameter_a_node_says_so(node):
    done = subprocess.run([sys.executable, "-m", f"pad_ros.nodes.{node}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "no model given" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_with_a_damaged_model_lives_and_ends_cleanly(tmp_path, number):
    """The real Inspector refuses the bundle; the node stays up."""
    write_bundle(tmp_path / "model")
    command = [sys.executable, "-m", "pad_ros.nodes.cell", "--ros-args", "-p", f"model:={tmp_path / 'model'}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "/cell ready: no model" in process.stdout.readline()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("node", ["cell", "watchdog"])
def test_further_interrupts_do_not_disturb_the_end(tmp_path, node):
    """As Ctrl+C in the terminal of `ros2 launch`, which passes it on to a node that has got it already."""
    write_bundle(tmp_path / "model")
    model = ["-p", f"model:={tmp_path / 'model'}"] if node == "cell" else []
    command = [sys.executable, "-m", f"pad_ros.nodes.{node}", "--ros-args", *model]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert f"/{node} ready" in process.stdout.readline()
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors and "Exception" not in errors


@pytest.mark.slow
def test_an_interrupt_while_the_model_is_read_ends_quietly(bundle):
    waiting = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from fake_inspector import FakeInspector\n"
        "from pad_ros.nodes.cell import CellNode; from pad_ros.nodes.support.spin import run\n"
        "def load(*_):\n print('reading', flush=True); time.sleep(60)\n"
        "sys.exit(run(lambda: CellNode(load=load, overrides={'model': sys.argv[2]})))"
    )
    command = [sys.executable, "-c", waiting, str(FAKE.parent), str(bundle)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "reading\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.slow
def test_wrong_parameters_are_refused_in_one_line(bundle):
    for parameter in ("device:=gpu", "queue_size:=0", "depth:=many"):
        command = [*fake_command("scorer"), "--ros-args", "-p", f"model:={bundle}", "-p", parameter]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2, parameter
        assert parameter.split(":")[0] in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_replay_publishes_every_image_with_its_camera(tmp_path, graph):
    for i in (2, 10, 1):
        write_image(tmp_path / "set" / "test" / "good" / f"{i}.png", i)
    (tmp_path / "camera.yaml").write_text(
        "image_width: 64\nimage_height: 48\ndistortion_model: plumb_bob\n"
        "camera_matrix: {rows: 3, cols: 3, data: [60, 0, 30.5, 0, 61, 24.5, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n"
    )
    received, names = graph.listen(Image, "image_raw"), graph.listen(String, "image_name")
    infos = graph.listen(CameraInfo, "camera_info")
    parameters = {
        "images": tmp_path / "set",
        "camera": tmp_path / "camera.yaml",
        "log": tmp_path / "log.jsonl",
        "rate": 20.0,
    }
    assert "camera_replay ready: 3 images" in replay(parameters).stdout
    graph.wait(lambda: len(received) == len(names) == len(infos) == 3, "three images, named and with their cameras")
    assert [Path(m.data).name for m in names] == ["1.png", "2.png", "10.png"]
    assert camera_from_info(infos[0]).distortion == (0.1, 0, 0, 0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in received]
    assert [line["stamp"] for line in lines] == stamps


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_a_recorded_replay_is_the_data_set(tmp_path, graph, transport):
    """With triggers; pixels, cameras, labels and ground truth come out of the bag as they are in the files."""
    files = [write_image(tmp_path / "set" / "test" / label / f"{i}.png", 40 * i) for i, label in enumerate(LABELS)]
    mask = write_image(tmp_path / "set" / "ground_truth" / "Burrs" / "2_mask.png", 255)
    (tmp_path / "set" / "transforms.json").write_text('{"camera_angle_x": 1.0, "frames": []}')
    topic, kind = ("image_raw", Image) if transport == "raw" else ("image_raw/compressed", CompressedImage)
    received, triggers = graph.listen(kind, topic), graph.listen(Trigger, "trigger")
    parameters = {
        "images": tmp_path / "set",
        "record": tmp_path / "bag",
        "log": tmp_path / "log.jsonl",
        "image_transport": transport,
        "part_views": 2,
        "rate": 20.0,
    }
    replay(parameters)
    graph.wait(lambda: len(received) == 4 and len(triggers) == 4, "images and triggers")
    assert [t.part_id for t in triggers] == ["part_1", "part_1", "part_2", "part_2"]
    assert [t.header.stamp for t in triggers] == [m.header.stamp for m in received]
    camera = Camera.from_fov(CAMERA.width, CAMERA.height, 1.0)
    frames = list(read_images(tmp_path / "bag"))
    order = sorted(files)  # test/Burrs before test/good
    for frame, file in zip(frames, order, strict=True):
        np.testing.assert_array_equal(frame.image, images.load(file))
        assert frame.camera == camera
    for labels in ("/image_name", str(tmp_path / "log.jsonl")):
        items = list(Recording(tmp_path / "bag", None, labels))
        assert [item.label for item in items] == [file.parent.name for file in order]
        assert [item.mask_path for item in items][:2] == [mask, None]
    if transport == "raw":  # and the bag can be played in its turn
        again = graph.listen(Image, "again")
        replay({"images": tmp_path / "bag", "rate": 20.0}, "-r", "image_raw:=again")
        graph.wait(lambda: len(again) == 4, "images out of the bag")


def replay(parameters, *more):
    arguments = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
    command = [sys.executable, "-m", "pad_ros.nodes.camera_replay", "--ros-args", *arguments, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_replay_on_a_full_disk_ends_with_one_line(tmp_path, graph):
    write_image(tmp_path / "set" / "1.png", 1)
    graph.listen(Image, "image_raw")
    command = [sys.executable, "-m", "pad_ros.nodes.camera_replay", "--ros-args"]
    command += ["-p", f"images:={tmp_path / 'set'}", "-p", "log:=/dev/full", "-p", "rate:=20.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    refused = [line for line in done.stderr.splitlines() if line.startswith("pad_ros: ")]
    assert refused == ["pad_ros: /dev/full: cannot be written (No space left on device)"]


@pytest.mark.slow
def test_recording_on_a_full_disk_ends_with_one_line(tmp_path, graph, file_size_limit):
    for i in range(20):
        write_image(tmp_path / "set" / f"{i}.png", i)
    graph.listen(Image, "image_raw")
    command = [sys.executable, "-m", "pad_ros.nodes.camera_replay", "--ros-args", "-p", f"images:={tmp_path / 'set'}"]
    command += ["-p", f"record:={tmp_path / 'bag'}", "-p", "rate:=50.0"]
    with file_size_limit(60_000):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    refused = [line for line in done.stderr.splitlines() if line.startswith("pad_ros: ")]
    assert refused == [f"pad_ros: {tmp_path / 'bag'}: cannot be written (File too large)"]


@pytest.mark.parametrize("name", ["log", "record"])
def test_replay_refuses_outputs_that_cannot_be_made(tmp_path, graph, name):
    write_image(tmp_path / "1.png", 1)
    with pytest.raises(InputError, match="cannot be"):
        CameraReplayNode(overrides={"images": str(tmp_path), name: str(tmp_path / "1.png" / "in a file")})


@pytest.mark.parametrize(
    "content", ['{"a":' * 100_000, '{"camera_angle_x": 1.0, "frames": [], "w": Infinity, "h": 1e999}']
)
def test_replay_refuses_a_transforms_file_that_cannot_be(tmp_path, content):
    image = write_image(tmp_path / "1.png", 1)
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(InputError, match="transforms.json"):
        replay_source.read_camera(tmp_path / "transforms.json", image)


def test_replay_takes_the_intrinsics_of_a_data_set(tmp_path):
    image = write_image(tmp_path / "test" / "good" / "1.png", 1)
    (tmp_path / "transforms.json").write_text('{"camera_angle_x": 1.5707963267948966, "frames": []}')
    camera = replay_source.read_camera(tmp_path / "transforms.json", image)
    assert (camera.width, camera.height, camera.cx) == (64, 48, 32)
    assert camera.fx == pytest.approx(32)
    assert replay_source.find_images(str(tmp_path)) == [image]


@pytest.mark.parametrize("text", ["", "camera_matrix: 3", "image_width: 64", "{", "- 1", ENDLESS, "[" * 5000])
def test_replay_refuses_what_is_no_calibration(tmp_path, text):
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="not a ROS camera calibration"):
        replay_source.read_camera(path, path)


def test_processes_are_gone_after_an_interrupt(tmp_path, bundle):
    process = demo_graph._Process("scorer", [sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(0.2)
    process.stop()
    with pytest.raises(PadError, match="ended with status"):
        process.check()
