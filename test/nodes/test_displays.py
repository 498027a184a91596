"""The layouts of RViz and Foxglove: their topics exist in the graph, with types that the displays show."""

import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
import yaml

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from pad_ros.msg import InspectionResult  # noqa: E402

from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.fusion import FusionNode  # noqa: E402
from pad_ros.nodes.localizer import LocalizerNode  # noqa: E402
from pad_ros.nodes.renderer import RendererNode  # noqa: E402
from pad_ros.nodes.scorer import ScorerNode  # noqa: E402
from pad_ros.nodes.watchdog import WatchdogNode  # noqa: E402

IMAGE, CLOUD = "sensor_msgs/msg/Image", "sensor_msgs/msg/PointCloud2"
MARKERS, DIAGNOSTICS = "visualization_msgs/msg/MarkerArray", "diagnostic_msgs/msg/DiagnosticArray"
RVIZ = {"Image": IMAGE, "PointCloud2": CLOUD, "MarkerArray": MARKERS}
GRAPHS = {
    "inspection": (CellNode,),
    "part": (LocalizerNode, RendererNode, ScorerNode, FusionNode),
}


def typed_topics(graph, classes) -> dict[str, str]:
    """What nodes in the namespace /cell publish and subscribe to: topic -> type."""
    nodes = [graph.add(node_class, namespace="cell") for node_class in classes]
    nodes.append(graph.add_node(WatchdogNode(namespace="cell")))
    entities = (entity for node in nodes for entity in (*node.publishers, *node.subscriptions))
    found = {entity.topic_name: entity.msg_type for entity in entities}
    return {topic: f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}" for topic, kind in found.items()}


@pytest.fixture(params=sorted(GRAPHS))
def layout(request, graph, repository) -> tuple[dict, dict[str, str]]:
    """An RViz layout, and the topics of the graph that it is for."""
    text = (repository / "rviz" / f"{request.param}.rviz").read_text()
    return yaml.safe_load(text), typed_topics(graph, GRAPHS[request.param])


def test_rviz_shows_topics_of_the_graph_with_their_types(layout):
    document, topics = layout
    shown = [d for d in document["Visualization Manager"]["Displays"] if "Topic" in d]
    assert {d["Class"].rpartition("/")[2] for d in shown} == set(RVIZ)
    for display in shown:
        assert topics[f"/cell/{display['Topic']['Value']}"] == RVIZ[display["Class"].rpartition("/")[2]]
    images = {d["Topic"]["Value"] for d in shown if d["Class"].endswith("/Image")}
    assert images == {"image_raw", "reference", "heatmap/colour", "heatmap_overlay"}


def test_rviz_colours_clouds_by_anomaly_between_fixed_limits(layout):
    (cloud,) = [d for d in layout[0]["Visualization Manager"]["Displays"] if d["Class"].endswith("PointCloud2")]
    assert (cloud["Color Transformer"], cloud["Channel Name"]) == ("Intensity", "anomaly")
    assert cloud["Autocompute Intensity Bounds"] is False
    assert 0 == cloud["Min Intensity"] < cloud["Max Intensity"]


def test_rviz_hides_no_dock_and_places_each(layout):
    """RViz reads both keys into a variable that it does not initialise: without them all images may be hidden."""
    document = layout[0]
    window = document["Window Geometry"]
    assert window["Hide Left Dock"] is window["Hide Right Dock"] is False
    state = bytes.fromhex(window["QMainWindow State"])
    panels = [panel["Name"] for panel in document["Panels"]]
    displays = document["Visualization Manager"]["Displays"]
    for name in (*panels, *(d["Name"] for d in displays if d["Class"].endswith("/Image"))):
        assert name.encode("utf-16-be") in state and window[name] == {"collapsed": False}


def foxglove_paths(panel: str, config: dict) -> Iterator[tuple[str, str]]:
    """(message path, type that the panel needs; "": any) of one panel."""
    if panel.startswith("Image!"):
        yield config["imageMode"]["imageTopic"], IMAGE
    elif panel.startswith("3D!"):
        for topic, settings in config["topics"].items():
            yield topic, CLOUD if "colorField" in settings else MARKERS
    elif panel.startswith("Plot!"):
        yield from ((path["value"], "") for path in config["paths"])
    elif panel.startswith("DiagnosticSummary!"):
        yield config["topicToRender"], DIAGNOSTICS
    else:
        yield config.get("path") or config["topicPath"], ""


def test_foxglove_shows_topics_and_fields_of_the_graph(graph, repository):
    document = json.loads((repository / "foxglove" / "inspection.json").read_text())
    topics = typed_topics(graph, (CellNode,))
    for panel, config in document["configById"].items():
        for path, kind in foxglove_paths(panel, config):
            topic, _, field = path.partition(".")
            assert kind in ("", topics[topic]), panel
            if field:
                assert topics[topic] == "pad_ros/msg/InspectionResult"
                assert field in InspectionResult.get_fields_and_field_types(), panel
    placed = re.findall(r'"(\w+![\w]+)"', json.dumps(document["layout"]))
    assert sorted(placed) == sorted(document["configById"])


def test_foxglove_names_the_verdicts(repository):
    config = json.loads((repository / "foxglove" / "inspection.json").read_text())["configById"]["Indicator!verdict"]
    named = {rule["label"]: int(rule["rawValue"]) for rule in config["rules"]}
    assert named == {name: getattr(InspectionResult, name) for name in ("PASS", "REJECT", "HOLD")}


def test_clouds_name_the_field_that_the_layouts_colour_by(repository):
    from builtin_interfaces.msg import Time

    from pad_ros.nodes.support.cloud import cloud_message

    cloud = cloud_message(np.zeros((1, 3)), np.ones(1, np.float32), np.zeros((1, 3), np.uint8), Time(), "part")
    document = json.loads((repository / "foxglove" / "inspection.json").read_text())
    settings = document["configById"]["3D!part"]["topics"]["/cell/anomaly_cloud"]
    assert settings["colorField"] == "anomaly" and settings["minValue"] == 0 < settings["maxValue"]
    assert "anomaly" in {field.name for field in cloud.fields}
