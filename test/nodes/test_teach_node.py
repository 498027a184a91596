"""teach: a robot's bag, image by image, as views with poses; what is missing; training, and a model that is loaded."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from robot_bag import FIXTURE, images_of, in_metres, robot_bag, robot_transforms
from textured_cube import CAMERA, draw, ring_poses

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import Trigger  # noqa: E402
from pad_ros.srv import LoadModel  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

from pad_ros.errors import InputError, MissingDependencyError  # noqa: E402
from pad_ros.io.bags import read_images, read_messages  # noqa: E402
from pad_ros.io.read_views import read_views  # noqa: E402
from pad_ros.io.transforms import TOPICS, TRANSFORM_TYPE  # noqa: E402
from pad_ros.model import ReferenceModel  # noqa: E402
from pad_ros.nodes import teach  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.support import frames  # noqa: E402
from pad_ros.nodes.support.convert import camera_to_info, rgb_to_image  # noqa: E402
from pad_ros.nodes.support.stages import stamp_msg  # noqa: E402

COUNT = 12
TRUE = [in_metres(pose, 0.1) for pose in ring_poses(COUNT)]


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    pictures = images_of(lambda pose: draw(in_metres(pose, 10.0)), TRUE, CAMERA)
    return robot_bag(tmp_path_factory.mktemp("robot") / "bag", pictures, robot_transforms(TRUE))


class Line:
    """The teach node, and what plays the bag's images, triggers and transforms to it."""

    def __init__(self, graph, folder, bag, **overrides):
        self.graph, self.bag = graph, bag
        given = {"views": str(folder / "views"), "model": str(folder / "taught"), "load_model": "", **overrides}
        self.node = teach.TeachNode(overrides=given)
        graph.add_node(self.node)
        self.said = []
        kept = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        graph.tester.create_subscription(String, "teach/status", lambda m: self.said.append(json.loads(m.data)), kept)
        self.images = graph.publisher(Image, "image_raw")
        self.infos = graph.publisher(CameraInfo, "camera_info")
        self.triggers = graph.publisher(Trigger, "trigger")

    @property
    def status(self):
        return self.said[-1]

    def transforms(self):
        """As /tf would bring them: the PyPI wheels have no tf2_msgs, so its messages are handed on as they are read."""
        for topic, message in read_messages(self.bag, TOPICS, TRANSFORM_TYPE):
            self.node.frames.on_message(message, topic == "/tf_static")

    def play(self, views=COUNT):
        for count, frame in enumerate(list(read_images(self.bag))[:views], start=self.node.views.count + 1):
            header = Header(stamp=stamp_msg(frame.stamp_ns), frame_id=frame.frame_id)
            self.infos.publish(camera_to_info(frame.camera, header))
            self.triggers.publish(Trigger(header=Header(stamp=header.stamp), part_id="good"))
            self.images.publish(rgb_to_image(frame.image, header))
            self.graph.wait(lambda count=count: self.node.views.count >= count or self.refused, f"view {count}")

    @property
    def refused(self):
        return self.said and self.status["text"].startswith("no view")

    def train(self, model=""):
        return self.graph.call(LoadModel, "teach/train", LoadModel.Request(path=model))

    def ends(self, state):
        self.graph.wait(lambda: self.said and self.status["state"] == state, state)
        return self.status["text"]


@pytest.fixture
def without_tf2(monkeypatch):
    monkeypatch.setattr(frames, "subscribe", lambda node, on_message: None)


@pytest.fixture
def line(graph, tmp_path, bag, without_tf2):
    return lambda **overrides: Line(graph, tmp_path, bag, **overrides)


def test_views_are_kept_with_the_poses_of_the_robot(line, bag, tmp_path):
    taught = line(part_frame=FIXTURE)
    taught.transforms()
    taught.graph.wait(lambda: bool(taught.said), "a status")
    assert taught.status["missing"] == ["all around at 15 degrees", "all around at 45 degrees", "from above"]
    taught.play()
    taught.graph.wait(lambda: taught.status["views"] == COUNT, "the last status")
    assert taught.status["text"].startswith("missing: ") and "from above" in taught.status["missing"]
    assert not any("all around at 15" in text for text in taught.status["missing"])
    views, direct = read_views(tmp_path / "views", part_frame=FIXTURE), read_views(bag, part_frame=FIXTURE)
    assert len(views) == COUNT and not views.exact and views.measured.part == FIXTURE
    for ours, theirs in zip(views.views, direct.views, strict=True):
        np.testing.assert_allclose(ours.pose.matrix, theirs.pose.matrix, atol=1e-6)
        np.testing.assert_array_equal(ours.image, theirs.image)
        assert ours.camera == theirs.camera


def test_a_view_without_a_pose_is_refused(line):
    taught = line(part_frame=FIXTURE)
    taught.play(1)
    taught.graph.wait(lambda: taught.refused, "a refusal")
    assert taught.status["text"] == "no view: /tf has no frame 'fixture'; there are: none"
    assert taught.node.views.count == 0


def test_without_a_frame_views_have_no_poses(line, tmp_path):
    taught = line()
    taught.play(2)
    taught.graph.wait(lambda: taught.status["views"] == 2, "the last status")
    assert taught.status["text"] == "without part_frame nobody can say which directions are missing"
    assert not read_views(tmp_path / "views").posed


def test_too_few_views_are_not_trained(line):
    taught = line(part_frame=FIXTURE)
    taught.transforms()
    taught.play(3)
    answer = taught.train()
    assert not answer.success and answer.message == "3 views are too few, at least 8 are needed"


def test_models_are_written_in_one_folder_only(line, monkeypatch, tmp_path):
    """Anybody on the network may ask for a training; it must not overwrite what lies elsewhere."""
    pretend(monkeypatch, "import sys,pathlib as p; p.Path(sys.argv[1]).mkdir()")
    taught = line()
    taught.play(8)
    answer = taught.train(str(tmp_path / "deeper" / "model"))
    assert not answer.success and answer.message.endswith(f"is not in {tmp_path}, where this node may write models")
    assert not taught.train("/etc").success
    assert taught.train(str(tmp_path / "other")).success
    assert taught.ends("trained") == str(tmp_path / "other") and (tmp_path / "other").is_dir()


def pretend(monkeypatch, code):
    monkeypatch.setattr(teach, "training_command", lambda parameters, model: [sys.executable, "-c", code, model])


def test_what_was_trained_is_loaded_into_the_cell(line, graph, monkeypatch):
    pretend(monkeypatch, "import sys,pathlib as p; f=p.Path(sys.argv[1]); f.mkdir(); (f/'name').write_text('taught')")
    cell = graph.add(CellNode)
    taught = line(part_frame=FIXTURE, load_model="load_model", train_after=0)
    taught.transforms()
    taught.play(8)
    assert taught.train().success
    assert not taught.train().success
    assert "load_model:" in taught.ends("loaded")
    assert cell.inspector.model.name == "taught"


def test_nobody_to_load_the_model_is_said(line, monkeypatch):
    pretend(monkeypatch, "pass")
    monkeypatch.setattr(teach, "SERVICE_WAIT", 0.5)
    taught = line(load_model="elsewhere/load_model")
    taught.play(8)
    assert taught.train().success
    assert taught.ends("failed").endswith("is trained, but nobody offers the service elsewhere/load_model")


def test_a_training_that_fails_says_why(line, monkeypatch):
    pretend(monkeypatch, "import sys; sys.exit('pad: error: views: only 3 landmarks')")
    taught = line(part_frame=FIXTURE)
    taught.transforms()
    taught.play(8)
    assert taught.train().success
    assert taught.ends("failed") == "views: only 3 landmarks"


def test_it_trains_by_itself_where_all_directions_are_there(line, monkeypatch):
    pretend(monkeypatch, "pass")
    monkeypatch.setattr(teach, "missing_directions", lambda poses, lowest: [])
    taught = line(part_frame=FIXTURE, train_after=8)
    taught.transforms()
    taught.play(8)
    assert taught.ends("trained").endswith("taught")


@pytest.mark.parametrize("missing", ["views", "model"])
def test_folders_are_needed(graph, tmp_path, missing):
    given = {"views": str(tmp_path / "a"), "model": str(tmp_path / "b"), missing: ""}
    with pytest.raises(InputError, match=f"parameter {missing}: a folder to write the {missing} to is needed"):
        teach.TeachNode(overrides=given)


def test_a_folder_in_use_is_not_mixed_with(graph, tmp_path):
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "other.png").touch()
    with pytest.raises(InputError, match="is in use; name a new folder for the views, or empty that one"):
        teach.TeachNode(overrides={"views": str(tmp_path / "views"), "model": "m"})


def test_without_tf2_msgs_it_says_what_to_install(graph, monkeypatch):
    def missing(kind: str) -> type:
        raise ImportError(kind)

    monkeypatch.setattr(frames, "message_class", missing)
    node = Node("asking")
    graph.add_node(node)
    with pytest.raises(MissingDependencyError, match="poses from /tf need tf2_msgs, which is not installed"):
        frames.subscribe(node, lambda message, static: None)


@pytest.mark.slow
def test_a_bag_becomes_a_model_in_metres(line, tmp_path):
    taught = line(part_frame=FIXTURE, budget=20.0)
    taught.transforms()
    taught.play()
    assert taught.train().success
    taught.graph.wait(lambda: taught.status["state"] in ("trained", "failed"), "the training", patience=400.0)
    assert taught.status["state"] == "trained", taught.status
    model = ReferenceModel.load(Path(tmp_path / "taught"))
    assert model.training["part_frame"] == FIXTURE and model.training["metres"] is True
    surface = np.abs(model.sfm_map.points).max(axis=1)
    assert np.median(surface) == pytest.approx(0.06, abs=0.001)
