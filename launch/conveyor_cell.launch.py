"""One conveyor cell: cell and watchdog, triggered.

ros2 launch pad_ros conveyor_cell.launch.py model:=/data/models/loader namespace:=cell_1 image:=/cell_1/camera/image_raw
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
    camera = [
        ("image_raw", LaunchConfiguration("image")),
        ("camera_info", LaunchConfiguration("camera_info")),
        ("trigger", LaunchConfiguration("trigger")),
    ]
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", description="folder written by pad train"),
            DeclareLaunchArgument("namespace", default_value="cell", description="one per cell"),
            DeclareLaunchArgument("image", default_value="image_raw", description="the camera's image topic"),
            DeclareLaunchArgument("camera_info", default_value="camera_info", description="its intrinsics"),
            DeclareLaunchArgument("trigger", default_value="trigger", description="pad_ros/msg/Trigger, one per part"),
            DeclareLaunchArgument(
                "parameters",
                default_value=PathJoinSubstitution([share, "config", "conveyor_cell.yaml"]),
                description="node parameters",
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="show the inspection in rviz2"),
            Node(
                package="pad_ros",
                executable="cell",
                name="cell",
                namespace=namespace,
                parameters=[parameters, model],
                remappings=camera,
                output="screen",
                respawn=True,
            ),
            Node(
                package="pad_ros",
                executable="watchdog",
                name="watchdog",
                namespace=namespace,
                parameters=[parameters],
                remappings=camera,
                output="screen",
                respawn=True,
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
