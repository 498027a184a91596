"""Two conveyor cells side by side, each in its namespace with its own model, camera and frames.

ros2 launch pad_ros two_cells.launch.py left_model:=/data/models/loader right_model:=/data/models/bird
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

# Each side has all of them: what one include is not given, it would take from the other.
ARGUMENTS = {
    "image": ("image_raw", "image topic of the {} camera"),
    "camera_info": ("", "its intrinsics; empty: beside the image topic"),
    "trigger": ("trigger", "triggers of the {} cell"),
    "replay": ("", "folder, data set or bag in place of the {} camera"),
}

# For both sides: their recorders keep results in one station, under the names of their namespaces.
COMMON = {
    "station": ("false", "with record_to: a recorder beside each cell"),
    "record_to": ("", "folder of the station that keeps all results"),
}


def generate_launch_description() -> LaunchDescription:
    cell = PathJoinSubstitution([FindPackageShare("pad_ros"), "launch", "conveyor_cell.launch.py"])
    entities = [
        DeclareLaunchArgument(name, default_value=default, description=what) for name, (default, what) in COMMON.items()
    ]
    for side in ("left", "right"):
        model = f"folder written by pad train, for the {side} cell"
        entities += [
            DeclareLaunchArgument(f"{side}_model", description=model),
            *(
                DeclareLaunchArgument(f"{side}_{name}", default_value=default, description=what.format(side))
                for name, (default, what) in ARGUMENTS.items()
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(cell),
                launch_arguments={
                    "namespace": f"cell_{side}",
                    "frame_prefix": f"cell_{side}/",
                    **{name: LaunchConfiguration(f"{side}_{name}") for name in ("model", *ARGUMENTS)},
                    **{name: LaunchConfiguration(name) for name in COMMON},
                }.items(),
            ),
        ]
    return LaunchDescription(entities)
