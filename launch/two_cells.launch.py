"""Two conveyor cells side by side, each in its namespace with its own model and camera.

ros2 launch pad_ros two_cells.launch.py left_model:=/data/models/loader right_model:=/data/models/bird
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    cell = PathJoinSubstitution([FindPackageShare("pad_ros"), "launch", "conveyor_cell.launch.py"])
    entities = []
    for side in ("left", "right"):
        entities += [
            DeclareLaunchArgument(f"{side}_model", description=f"folder written by pad train, for the {side} cell"),
            DeclareLaunchArgument(
                f"{side}_image", default_value="image_raw", description=f"image topic of the {side} camera"
            ),
            DeclareLaunchArgument(
                f"{side}_replay", default_value="", description=f"folder, data set or bag in place of the {side} camera"
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(cell),
                launch_arguments={
                    "namespace": f"cell_{side}",
                    "model": LaunchConfiguration(f"{side}_model"),
                    "image": LaunchConfiguration(f"{side}_image"),
                    "replay": LaunchConfiguration(f"{side}_replay"),
                }.items(),
            ),
        ]
    return LaunchDescription(entities)
