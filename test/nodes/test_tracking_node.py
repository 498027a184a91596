"""The pose of the frame before goes to the next one, and no further than that."""

import pytest
from fake_inspector import POSE, FakeInspector

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.localizer import LocalizerNode  # noqa: E402

GOOD, EMPTY = 75, 0


@pytest.fixture
def guesses(monkeypatch):
    """Where the inspector was told to look first, frame by frame."""
    given = []
    localize = FakeInspector.localize

    def spy(self, query, prior=None):
        given.append(prior)
        return localize(self, query, prior)

    monkeypatch.setattr(FakeInspector, "localize", spy)
    return given


@pytest.mark.parametrize("kind", [CellNode, LocalizerNode])
def test_a_frame_is_looked_for_where_the_one_before_was(graph, guesses, kind, monkeypatch):
    monkeypatch.setattr("pad_ros.nodes.localizer.NEXT_STAGE_PATIENCE", 0.0)  # nobody renders here
    graph.add(kind, tracking=True)
    images = graph.publisher(type(graph.image(GOOD)), "image_raw")
    for count, shown in enumerate((GOOD, GOOD, EMPTY, GOOD), start=1):
        images.publish(graph.image(shown))
        graph.wait(lambda count=count: len(guesses) == count, "a frame")
        graph.settle()
    assert [near is not None for near in guesses] == [False, True, True, False]  # the empty frame ends the track
    assert guesses[1].pose is POSE


def test_without_the_parameter_each_frame_stands_alone(graph, guesses):
    graph.add(CellNode)
    results = graph.results()
    images = graph.publisher(type(graph.image(GOOD)), "image_raw")
    for count in (1, 2):
        images.publish(graph.image(GOOD))
        graph.wait(lambda count=count: len(results) == count, "a result")
    assert guesses == [None, None]


@pytest.fixture
def robot_cell(graph, monkeypatch):
    """A cell that asks /tf, whose messages the PyPI wheels do not have."""
    monkeypatch.setattr("pad_ros.nodes.support.frames.subscribe", lambda node, on_message: None)
    return graph.add(CellNode, pose_prior="tf")


def test_a_frame_is_looked_for_where_the_robot_has_the_camera(graph, guesses, robot_cell, monkeypatch):
    asked = []
    monkeypatch.setattr(robot_cell._frames, "pose", lambda frame, header: asked.append(frame) or POSE)
    robot_cell.inspector.model.training = {"part_frame": "fixture"}
    images = graph.publisher(type(graph.image(GOOD)), "image_raw")
    images.publish(graph.image(GOOD))
    graph.wait(lambda: len(guesses) == 1, "a frame")
    assert asked == ["fixture"] and guesses[0].pose is POSE


@pytest.mark.parametrize(
    "training, said",
    [
        ({}, "pose_prior: the model was taught without --part-frame: nothing in /tf says where its part is"),
        ({"part_frame": "fixture"}, "pose_prior: /tf has no frame 'fixture'; there are: none"),
    ],
)
def test_without_a_pose_from_the_robot_it_is_searched_for(graph, guesses, robot_cell, training, said):
    robot_cell.inspector.model.training = training
    images = graph.publisher(type(graph.image(GOOD)), "image_raw")
    images.publish(graph.image(GOOD))
    graph.wait(lambda: len(guesses) == 1, "a frame")
    assert guesses == [None]
    assert said in robot_cell.health.warnings()
