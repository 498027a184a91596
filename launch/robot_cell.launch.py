"""A camera on a robot: localizer, renderer and scorer as processes, the watchdog, and one verdict per part.

The robot publishes a trigger with the part's part_id at each viewpoint; `fusion` makes one part_result of them.

ros2 launch pad_ros robot_cell.launch.py model:=/data/models/loader namespace:=robot_1 image:=/robot_1/camera/image_raw
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def text(argument: str) -> ParameterValue:
    """The argument as it is: without a type, launch reads it as YAML ("" is nothing, "12" a number)."""
    return ParameterValue(LaunchConfiguration(argument), value_type=str)


def whole(argument: str) -> ParameterValue:
    """The argument as a whole number."""
    return ParameterValue(LaunchConfiguration(argument), value_type=int)


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
            DeclareLaunchArgument("namespace", default_value="robot_cell", description="one per cell"),
            DeclareLaunchArgument("image", default_value="image_raw", description="the camera's image topic"),
            DeclareLaunchArgument("camera_info", default_value="camera_info", description="its intrinsics"),
            DeclareLaunchArgument(
                "trigger", default_value="trigger", description="pad_ros/msg/Trigger, one per viewpoint"
            ),
            DeclareLaunchArgument("views", default_value="8", description="viewpoints per part; fewer are HOLD"),
            DeclareLaunchArgument(
                "replay", default_value="", description="folder, data set or bag whose images stand in for the camera"
            ),
            DeclareLaunchArgument(
                "parameters",
                default_value=PathJoinSubstitution([share, "config", "robot_cell.yaml"]),
                description="node parameters",
            ),
            DeclareLaunchArgument("fastdds", default_value="true", description="shared memory for whole images"),
            DeclareLaunchArgument("rviz", default_value="false", description="show the inspection in rviz2"),
            SetEnvironmentVariable(
                "FASTRTPS_DEFAULT_PROFILES_FILE",
                PathJoinSubstitution([share, "config", "fastdds.xml"]),
                condition=IfCondition(LaunchConfiguration("fastdds")),
            ),
            Node(
                package="pad_ros",
                executable="camera_replay",
                name="camera_replay",
                namespace=namespace,
                parameters=[
                    parameters,
                    {"images": text("replay"), "part_views": whole("views")},
                ],
                remappings=camera,
                output="screen",
                condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration("replay"), "")),
            ),
            Node(
                package="pad_ros",
                executable="localizer",
                name="localizer",
                namespace=namespace,
                parameters=[parameters, model],
                remappings=camera,
                output="screen",
                respawn=True,
            ),
            Node(
                package="pad_ros",
                executable="renderer",
                name="renderer",
                namespace=namespace,
                parameters=[parameters, model],
                output="screen",
                respawn=True,
            ),
            Node(
                package="pad_ros",
                executable="scorer",
                name="scorer",
                namespace=namespace,
                parameters=[parameters, model],
                output="screen",
                respawn=True,
            ),
            Node(
                package="pad_ros",
                executable="fusion",
                name="fusion",
                namespace=namespace,
                parameters=[parameters, model, {"views": whole("views")}],
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
                arguments=["-d", PathJoinSubstitution([share, "rviz", "part.rviz"])],
                remappings=camera,
                condition=IfCondition(LaunchConfiguration("rviz")),
            ),
        ]
    )
