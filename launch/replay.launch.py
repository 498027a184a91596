"""Recorded images instead of a camera, each inspected: camera_replay and cell.

ros2 launch pad_ros replay.launch.py model:=/data/models/loader images:=/data/mad/loader
ros2 launch pad_ros replay.launch.py model:=/data/models/loader images:=/data/bags/monday record:=replayed
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def text(argument: str) -> ParameterValue:
    """The argument as it is: without a type, launch reads it as YAML ("" is nothing, "12" a number)."""
    return ParameterValue(LaunchConfiguration(argument), value_type=str)


def generate_launch_description() -> LaunchDescription:
    share = FindPackageShare("pad_ros")
    namespace = LaunchConfiguration("namespace")
    parameters = LaunchConfiguration("parameters")
    model = {"model": text("model")}
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", description="folder written by pad train"),
            DeclareLaunchArgument("images", description="image folder, data set or rosbag2"),
            DeclareLaunchArgument(
                "camera",
                default_value="",
                description="ROS calibration file; empty: the source's, else the model's",
            ),
            DeclareLaunchArgument("record", default_value="", description="new rosbag2 of what is published"),
            DeclareLaunchArgument("namespace", default_value="replay", description="one per cell"),
            DeclareLaunchArgument(
                "parameters",
                default_value=PathJoinSubstitution([share, "config", "replay.yaml"]),
                description="node parameters",
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="show the inspection in rviz2"),
            Node(
                package="pad_ros",
                executable="camera_replay",
                name="camera_replay",
                namespace=namespace,
                parameters=[
                    parameters,
                    {"images": text("images"), "camera": text("camera"), "record": text("record")},
                ],
                output="screen",
            ),
            Node(
                package="pad_ros",
                executable="cell",
                name="cell",
                namespace=namespace,
                parameters=[parameters, model],
                output="screen",
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz2",
                namespace=namespace,
                arguments=["-d", PathJoinSubstitution([share, "rviz", "inspection.rviz"])],
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
