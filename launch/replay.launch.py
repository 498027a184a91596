"""Recorded images instead of a camera, each inspected: camera_replay and cell. The launch ends with the figures.

ros2 launch pad_ros replay.launch.py model:=/data/models/loader images:=/data/mad/loader
ros2 launch pad_ros replay.launch.py model:=/data/models/loader images:=/data/bags/monday labels:=/image_name
"""

from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from pad_ros.nodes.support import launching


def actions(given: launching.Given) -> list[Any]:
    cell = launching.Cell(given, "replay.yaml")
    source = {name: launching.text(given[name]) for name in ("images", "camera", "labels", "record")}
    return [
        *cell.transport(processes=2),
        cell.node("camera_replay", source, respawn=False, ends_launch=True),
        cell.node("cell", {"model": launching.text(given["model"])}, respawn=False),
        *cell.rviz("inspection.rviz"),
    ]


def generate_launch_description() -> LaunchDescription:
    own = [
        DeclareLaunchArgument("images", description="image folder, data set or rosbag2"),
        DeclareLaunchArgument(
            "camera", default_value="", description="ROS calibration file; empty: the source's, else the model's"
        ),
        DeclareLaunchArgument("labels", default_value="", description="what a bag shows, as pad bag --labels"),
        DeclareLaunchArgument("record", default_value="", description="new rosbag2 of what is published"),
    ]
    return launching.description([*launching.common_arguments("replay"), *own], actions)
