"""The node that compares what a robot sees with the scene it knows."""

import json
import sys
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")
sys.path.insert(0, str(Path(__file__).parents[1] / "changes"))

from geometry_msgs.msg import PoseArray  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from splat_table import BEFORE, CAMERA, GREEN, Block, known_scene, photographs  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

from pad_ros.changes.known_scene import KnownScene, Seen  # noqa: E402
from pad_ros.errors import InputError  # noqa: E402
from pad_ros.nodes.scene_change import SceneChangeNode  # noqa: E402
from pad_ros.nodes.support.convert import image_to_rgb, rgb_to_image  # noqa: E402


class FoundScene(KnownScene):
    """A scene that finds the photographs of this test, and no others."""

    photographs: tuple[Seen, ...]

    def find(self, name, image, camera=None):
        return next((s for s in self.photographs if (s.image == image).all()), "nothing here is known")


@pytest.fixture
def round_trip(graph):
    scene = known_scene()
    known = FoundScene(**{field.name: getattr(scene, field.name) for field in fields(scene)})
    seen = photographs(known, (*BEFORE, Block(0.3, -0.7, GREEN)), 4)
    object.__setattr__(known, "photographs", tuple(seen))
    node = graph.add_node(SceneChangeNode(load=lambda path, device: known, overrides={"model": "scene"}))
    return node, [s.image for s in seen]


def test_images_of_a_round_give_masks_and_places(graph, round_trip):
    _, shown = round_trip
    masks, places, kinds = (
        graph.listen(kind, topic)
        for kind, topic in ((Image, "change_mask"), (PoseArray, "changes"), (String, "change_list"))
    )
    for topic in ("change_mask", "changes", "change_list"):
        graph.wait_matched(topic)
    publisher = graph.publisher(Image, "image_raw")
    for k, image in enumerate(shown):
        header = Header(frame_id="camera")
        header.stamp.sec = k + 1
        publisher.publish(rgb_to_image(image, header))
        graph.wait(lambda k=k: len(masks) == k + 1 and len(kinds) == k + 1, "a mask")
    assert masks[-1].header.stamp.sec == 4 and masks[-1].header.frame_id == "camera"
    assert (masks[-1].width, masks[-1].height) == (CAMERA.width, CAMERA.height)
    assert image_to_rgb(masks[-1]).max() == 255
    (pose,) = places[-1].poses
    assert places[-1].header.frame_id == "scene"
    assert (pose.position.x, pose.position.y) == pytest.approx((0.3, -0.7), abs=0.15)
    assert [change["kind"] for change in json.loads(kinds[-1].data)] == ["appeared"]


def test_what_is_no_photograph_of_the_scene_gets_no_answer(graph, round_trip):
    node, shown = round_trip
    masks = graph.listen(Image, "change_mask")
    graph.wait_matched("change_mask")
    publisher = graph.publisher(Image, "image_raw")
    publisher.publish(rgb_to_image(255 - shown[0], Header()))
    graph.wait(lambda: bool(node.health.warnings()), "the warning")
    broken = rgb_to_image(shown[0], Header())
    broken.step = 1
    publisher.publish(broken)
    graph.wait(lambda: node.health.status()[2].get("failed") == 1, "the count")
    assert "not found in the scene: nothing here is known" in node.health.status()[1] and not masks


def test_a_model_is_needed(graph):
    with pytest.raises(InputError, match="parameter model"):
        SceneChangeNode()
