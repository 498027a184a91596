"""What stands beside a cell that runs: recorder, OPC UA and MQTT, each where it is asked for.

ros2 launch pad_ros station.launch.py namespace:=cell_1 record_to:=/data/station model:=/data/models/bracket
ros2 launch pad_ros station.launch.py namespace:=cell_1 opcua:=true recipes:=/data/models address:=0.0.0.0
ros2 launch pad_ros station.launch.py namespace:=cell_1 mqtt:=true host:=broker.plant parameters:=/data/station.yaml
"""

from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from pad_ros.nodes.support import launching


def actions(given: launching.Given) -> list[Any]:
    started = launching.Cell(given, "station.yaml").station(launching.camera_topics(given), given["load_services"])
    return started or launching.shutdown("nothing to start: record_to:=FOLDER, opcua:=true, mqtt:=true, or several")


def generate_launch_description() -> LaunchDescription:
    own = [
        DeclareLaunchArgument("namespace", default_value="cell", description="that of the cell"),
        DeclareLaunchArgument("parameters", default_value="", description="file of node parameters; empty: our own"),
        DeclareLaunchArgument("image", default_value="image_raw", description="the camera's image topic"),
        DeclareLaunchArgument("camera_info", default_value="", description="its intrinsics; empty: beside the image"),
        DeclareLaunchArgument("trigger", default_value="trigger", description="that the cell takes"),
        DeclareLaunchArgument("model", default_value="", description="the cell's, to make it known to the station"),
        DeclareLaunchArgument(
            "load_services", default_value="", description="that change the cell's model, of three nodes three"
        ),
        *launching.STATION_ARGUMENTS,
    ]
    return launching.description(own, actions)
