"""What a replay prints at its end: the figures of `pad evaluate`, of a data set and of its recording."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_inspector import CAMERA

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from sensor_msgs.msg import Image  # noqa: E402

from pad_ros.errors import InputError  # noqa: E402
from pad_ros.imaging import images  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.support.replay_source import open_source  # noqa: E402

SHOWN = {"good": (60, 75, 90, 200), "Burrs": (160, 80), "Missing": (170,)}  # red: 150 and more is REJECT


@pytest.fixture
def dataset(tmp_path) -> Path:
    for label, reds in SHOWN.items():
        for i, red in enumerate(reds):
            pixels = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
            pixels[..., 0] = red
            images.save(tmp_path / "set" / "test" / label / f"{i}.png", pixels)
            if label != "good":
                mask = np.zeros_like(pixels)
                mask[12:16, 22:28] = 255
                images.save(tmp_path / "set" / "ground_truth" / label / f"{i}_mask.png", mask)
    (tmp_path / "set" / "transforms.json").write_text('{"camera_angle_x": 1.0, "frames": []}')
    return tmp_path / "set"


def replayed(*parameters: str) -> list[str]:
    """The lines that a replay prints; it must end by itself."""
    words = [word for parameter in ("figures:=true", "rate:=20.0", *parameters) for word in ("-p", parameter)]
    command = [sys.executable, "-m", "pad_ros.nodes.camera_replay", "--ros-args", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def figure(lines: list[str], name: str) -> str:
    (line,) = [line for line in lines if line.startswith(name)]
    return re.split(r"\s{2,}", line)[1]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_a_data_set_and_its_recording_end_with_the_same_figures(graph, dataset, tmp_path, transport):
    graph.add(CellNode, free_running="every", frozen_check=False, image_transport=transport, queue_size=20)
    bag = tmp_path / "bag"
    way = f"image_transport:={transport}"
    first = replayed(f"images:={dataset}", f"record:={bag}", way)
    assert "7 images, 7 results" in first
    assert figure(first, "False rejects").startswith("0.250")
    assert figure(first, "Escapes").startswith("0.333")
    assert figure(first, "Image AUROC").startswith("0.667")
    again = replayed(f"images:={bag}", "labels:=/image_name", way)
    names = [re.split(r"\s{2,}", line)[0] for line in first[first.index("7 images, 7 results") + 2 :]]
    for name in names:
        if not name.startswith("Time"):
            assert figure(again, name) == figure(first, name), name


@pytest.mark.slow
def test_without_labels_the_verdicts_are_counted(graph, dataset):
    graph.add(CellNode, free_running="every", frozen_check=False, queue_size=20)
    lines = replayed(f"images:={dataset / 'test' / 'good'}")
    assert "4 images, 4 results" in lines and "3 PASS, 1 REJECT" in lines


@pytest.mark.slow
def test_without_a_cell_all_images_count_as_hold(graph, dataset):
    graph.listen(Image, "image_raw")
    lines = replayed(f"images:={dataset}", "figures_wait:=0.0")
    assert lines[-1] == "7 images, 0 results"


def test_labels_are_for_bags(dataset):
    with pytest.raises(InputError, match="only a bag takes them"):
        open_source(str(dataset), "", "labels.csv")
