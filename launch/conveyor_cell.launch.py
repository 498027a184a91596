"""One conveyor cell: camera or replay, cell and watchdog, triggered; beside it recorder, OPC UA and MQTT if asked for.

ros2 launch pad_ros conveyor_cell.launch.py model:=/data/models/loader namespace:=cell_1 image:=/cell_1/camera/image_raw
ros2 launch pad_ros conveyor_cell.launch.py model:=/data/models/loader replay:=/data/mad/loader rviz:=true
ros2 launch pad_ros conveyor_cell.launch.py model:=/data/models/loader station:=true record_to:=/data/station
"""

from typing import Any

from launch import LaunchDescription

from pad_ros.nodes.support import launching


def actions(given: launching.Given) -> list[Any]:
    cell = launching.Cell(given, "conveyor_cell.yaml")
    topics = launching.camera_topics(given)
    model = {"model": launching.text(given["model"]), **launching.part_frame(given)}
    images = {"images": launching.text(given["replay"]), **launching.camera_frame(given)}
    return [
        *cell.transport(processes=3),
        *([cell.node("camera_replay", images, remappings=topics, respawn=False)] if given["replay"] else []),
        cell.node("cell", model, launching.camera_frame(given), remappings=topics),
        # Its line/busy, line/valid, line/pass and line/fail go to the PLC: the reject output follows the watchdog,
        # not the cell.
        cell.node("watchdog", remappings=topics),
        *launching.beside(given, topics),
        *cell.rviz("inspection.rviz", topics),
    ]


def generate_launch_description() -> LaunchDescription:
    own = [*launching.CAMERA_ARGUMENTS, *launching.BESIDE_ARGUMENTS]
    return launching.description([*launching.common_arguments("cell"), *own], actions)
