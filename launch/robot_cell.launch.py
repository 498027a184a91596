"""A camera on a robot: localizer, renderer and scorer as processes, the watchdog, and one verdict per part.

The robot publishes a trigger with the part's part_id at each viewpoint; `fusion` makes one part_result of them.

ros2 launch pad_ros robot_cell.launch.py model:=/data/models/loader namespace:=robot_1 image:=/robot_1/camera/image_raw
"""

from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument

from pad_ros.nodes.support import launching

LOAD_SERVICES = "localizer/load_model,renderer/load_model,scorer/load_model"


def actions(given: launching.Given) -> list[Any]:
    cell = launching.Cell(given, "robot_cell.yaml")
    topics, views = launching.camera_topics(given), launching.number(given, "views")
    model, frame = {"model": launching.text(given["model"])}, launching.part_frame(given)
    images = {"images": launching.text(given["replay"]), "part_views": views, **launching.camera_frame(given)}
    return [
        *cell.transport(processes=6),
        *([cell.node("camera_replay", images, remappings=topics, respawn=False)] if given["replay"] else []),
        cell.node("localizer", model, frame, launching.camera_frame(given), remappings=topics),
        cell.node("renderer", model),
        cell.node("scorer", model, frame),
        cell.node("fusion", model, frame, {"views": views}),
        cell.node("watchdog", remappings=topics),
        *launching.beside(given, topics, LOAD_SERVICES),
        *cell.rviz("part.rviz", topics),
    ]


def generate_launch_description() -> LaunchDescription:
    views = DeclareLaunchArgument("views", default_value="8", description="viewpoints per part; fewer are HOLD")
    own = [*launching.CAMERA_ARGUMENTS, *launching.BESIDE_ARGUMENTS, views]
    return launching.description([*launching.common_arguments("robot_cell"), *own], actions)
