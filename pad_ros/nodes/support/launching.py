"""What the launch files share: arguments as plain text, checked before anything starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from ...errors import InputError
from ...resources import resource_folder

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"  # read by Fast DDS
SEGMENT = 32 * 2**20  # bytes of /dev/shm that config/fastdds.xml takes for each process
RESPAWN_DELAY = 1.0  # seconds

Given = dict[str, str]  # the arguments of the launch file

CAMERA_ARGUMENTS = (
    DeclareLaunchArgument("image", default_value="image_raw", description="the camera's image topic"),
    DeclareLaunchArgument("camera_info", default_value="", description="its intrinsics; empty: beside the image topic"),
    DeclareLaunchArgument("trigger", default_value="trigger", description="pad_ros/msg/Trigger"),
    DeclareLaunchArgument(
        "replay", default_value="", description="folder, data set or bag whose images stand in for the camera"
    ),
    DeclareLaunchArgument("frame_prefix", default_value="", description="of TF frames, where several cells share /tf"),
)


def common_arguments(namespace: str) -> list[DeclareLaunchArgument]:
    """namespace: the default one."""
    return [
        DeclareLaunchArgument("model", description="folder written by pad train"),
        DeclareLaunchArgument("namespace", default_value=namespace, description="one per cell"),
        DeclareLaunchArgument("parameters", default_value="", description="file of node parameters; empty: our own"),
        DeclareLaunchArgument(
            "fastdds", default_value="true", description="config/fastdds.xml as the profile of Fast DDS"
        ),
        DeclareLaunchArgument("rviz", default_value="false", description="show the inspection in rviz2"),
    ]


def description(arguments: Sequence[DeclareLaunchArgument], actions: Callable[[Given], list[Any]]) -> LaunchDescription:
    """`actions` gets the arguments as they were given; what it raises ends the launch with one line."""
    return LaunchDescription(
        [*arguments, OpaqueFunction(function=lambda context: actions(dict(context.launch_configurations)))]
    )


def text(value: str) -> ParameterValue:
    """The value as it is: without a type, launch reads it as YAML ("" is nothing, "12" a number)."""
    return ParameterValue(value, value_type=str)


def flag(given: Given, name: str) -> bool:
    """InputError where the argument is neither true nor false."""
    if given[name].lower() not in ("true", "false"):
        raise InputError(f"{name}:={given[name]}: expected true or false")
    return given[name].lower() == "true"


def number(given: Given, name: str) -> int:
    """InputError where the argument is no whole number."""
    try:
        return int(given[name])
    except ValueError:
        raise InputError(f"{name}:={given[name]}: expected a whole number") from None


def camera_topics(given: Given) -> list[tuple[str, str]]:
    """Remappings of what a camera and the line publish. Each name is a remap of its own for ROS."""
    image = given["image"]
    beside = image.rpartition("/")[:2]
    return [
        ("image_raw", image),
        ("image_raw/compressed", f"{image}/compressed"),
        ("camera_info", given["camera_info"] or "".join((*beside, "camera_info"))),
        ("trigger", given["trigger"]),
    ]


def part_frame(given: Given) -> dict[str, ParameterValue]:
    """Only where there is a prefix: else the parameter file decides."""
    return {"part_frame": text(f"{given['frame_prefix']}part")} if given["frame_prefix"] else {}


def camera_frame(given: Given) -> dict[str, ParameterValue]:
    """As `part_frame`."""
    return {"camera_frame": text(f"{given['frame_prefix']}camera_optical_frame")} if given["frame_prefix"] else {}


class Cell:
    """The nodes of one cell: one namespace, one parameter file. InputError where there is no such file."""

    def __init__(self, given: Given, configuration: str) -> None:
        """configuration: our own parameter file, in config/."""
        self._given = given
        self._config = resource_folder("config", configuration)
        self._parameters = Path(given["parameters"] or self._config / configuration)
        if not self._parameters.is_file():
            raise InputError(f"parameters:={self._parameters}: there is no such file")

    def node(
        self,
        executable: str,
        *parameters: dict[str, Any],
        remappings: Sequence[tuple[str, str]] = (),
        respawn: bool = True,
    ) -> Node:
        """One of our nodes. A wrong parameter or input ends the launch: to start it again would not help."""

        def ended(event: Any, context: Any) -> list[Any] | None:
            wrong = event.returncode == InputError.exit_status
            return [Shutdown(reason=f"{executable} refuses its parameters, see above")] if wrong else None

        return Node(
            package="pad_ros",
            executable=executable,
            name=executable,
            namespace=self._given["namespace"],
            parameters=[str(self._parameters), *(given for given in parameters if given)],
            remappings=list(remappings),
            output="screen",
            respawn=respawn,
            respawn_delay=RESPAWN_DELAY,
            on_exit=ended,
        )

    def rviz(self, display: str, remappings: Sequence[tuple[str, str]] = ()) -> list[Node]:
        """display: file in rviz/. Nothing without `rviz:=true`."""
        if not flag(self._given, "rviz"):
            return []
        fixed_frame = f"{self._given.get('frame_prefix', '')}part"
        return [
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz2",
                namespace=self._given["namespace"],
                arguments=["-d", str(resource_folder("rviz", display) / display), "-f", fixed_frame],
                remappings=list(remappings),
            )
        ]

    def transport(self, processes: int) -> list[Any]:
        """The profile of Fast DDS, unless the environment names one or /dev/shm is too small for so many processes."""
        if not flag(self._given, "fastdds") or PROFILE in os.environ:
            return []
        shared = Path("/dev/shm")
        if shared.is_dir() and shutil.disk_usage(shared).free < processes * SEGMENT:
            need = processes * SEGMENT // 2**20
            return [LogInfo(msg=f"/dev/shm has less than {need} MiB free: config/fastdds.xml is not used")]
        return [SetEnvironmentVariable(PROFILE, str(self._config / "fastdds.xml"))]
