"""Teach a part: a view at each trigger, with the camera's pose from /tf; the model is trained, the cell loads it.

ros2 launch pad_ros teach.launch.py model:=/data/models/loader views:=/data/views/loader part_frame:=fixture
ros2 service call /cell/teach/train pad_ros/srv/LoadModel
"""

from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from pad_ros.nodes.support import launching


def actions(given: launching.Given) -> list[Any]:
    cell = launching.Cell(given, "teach.yaml")
    topics = launching.camera_topics(given)
    model = {"model": launching.text(given["model"])}
    taught = {"views": launching.text(given["views"]), "part_frame": launching.text(given["part_frame"])}
    images = {"images": launching.text(given["replay"]), **launching.camera_frame(given)}
    return [
        *cell.transport(processes=3),
        *([cell.node("camera_replay", images, remappings=topics, respawn=False)] if given["replay"] else []),
        # Without a model all is HOLD (NO_MODEL), until the new one is there.
        cell.node("cell", model, launching.part_frame(given), launching.camera_frame(given), remappings=topics),
        cell.node("teach", model, taught, launching.camera_frame(given), remappings=topics, respawn=False),
    ]


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument("views", description="new folder for the views"),
        DeclareLaunchArgument("part_frame", default_value="", description="frame of /tf that the part is fixed in"),
    ]
    return launching.description(
        [*launching.common_arguments("cell"), *launching.CAMERA_ARGUMENTS, *arguments], actions
    )
