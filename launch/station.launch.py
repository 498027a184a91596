"""What tells the plant of a cell that runs: OPC UA and MQTT, each where it is asked for.

ros2 launch pad_ros station.launch.py namespace:=cell_1 opcua:=true recipes:=/data/models address:=0.0.0.0
ros2 launch pad_ros station.launch.py namespace:=cell_1 mqtt:=true host:=broker.plant parameters:=/data/station.yaml
"""

from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from pad_ros.nodes.support import launching

# Node parameters that are arguments too; empty: the parameter file decides.
OPCUA = {"recipes": "folder of models for PrepareRecipe", "address": "that the OPC UA server listens on"}
MQTT = {"host": "of the MQTT broker"}


def actions(given: launching.Given) -> list[Any]:
    cell = launching.Cell(given, "station.yaml")
    started = []
    for node, arguments in (("opcua", OPCUA), ("mqtt", MQTT)):
        if launching.flag(given, node):
            chosen = {name: launching.text(given[name]) for name in arguments if given[name]}
            topics = [("trigger", given["trigger"])] if node == "opcua" else []
            started.append(cell.node(node, chosen, remappings=topics))
    return started or launching.shutdown("nothing to start: opcua:=true, mqtt:=true, or both")


def generate_launch_description() -> LaunchDescription:
    own = [
        DeclareLaunchArgument("namespace", default_value="cell", description="that of the cell"),
        DeclareLaunchArgument("parameters", default_value="", description="file of node parameters; empty: our own"),
        DeclareLaunchArgument("opcua", default_value="false", description="start the OPC UA server"),
        DeclareLaunchArgument("mqtt", default_value="false", description="start the MQTT publisher"),
        DeclareLaunchArgument("trigger", default_value="trigger", description="that the cell takes"),
        *(DeclareLaunchArgument(name, default_value="", description=what) for name, what in {**OPCUA, **MQTT}.items()),
    ]
    return launching.description(own, actions)
