"""What the launch files share: arguments as plain text, checked before anything starts."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_prefix
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from ...errors import InputError, MissingDependencyError
from ...resources import resource_folder

PROFILE = "FASTRTPS_DEFAULT_PROFILES_FILE"  # read by Fast DDS
SEGMENT = 32 * 2**20  # bytes of /dev/shm that config/fastdds.xml takes for each process
RESPAWN_DELAY = 1.0  # seconds
MOST_ENDS = 5  # of one node within ENDS_WINDOW: to start it once more would not help
ENDS_WINDOW = 60.0  # seconds

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

# Of the station's nodes that are arguments too; empty: the parameter file decides.
OPCUA = {"recipes": "folder of models for PrepareRecipe", "address": "that the OPC UA server listens on"}
MQTT = {"host": "of the MQTT broker"}
STATION_ARGUMENTS = (
    DeclareLaunchArgument("record_to", default_value="", description="folder of the station that keeps all results"),
    DeclareLaunchArgument("opcua", default_value="false", description="start the OPC UA server"),
    DeclareLaunchArgument("mqtt", default_value="false", description="start the MQTT publisher"),
    *(DeclareLaunchArgument(name, default_value="", description=what) for name, what in {**OPCUA, **MQTT}.items()),
)
# Of a cell's launch file: what stands beside it.
BESIDE_ARGUMENTS = (
    DeclareLaunchArgument("station", default_value="false", description="recorder, OPC UA and MQTT as asked for"),
    DeclareLaunchArgument("station_parameters", default_value="", description="their parameters; empty: station.yaml"),
    *STATION_ARGUMENTS,
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


def _texts(values: dict[str, str]) -> dict[str, ParameterValue]:
    """Those that are not empty."""
    return {name: text(value) for name, value in values.items() if value}


def beside(given: Given, remappings: Sequence[tuple[str, str]], load_services: str = "") -> list[Node]:
    """What `station:=true` starts beside a cell; InputError where it is given and nothing is asked for."""
    if not flag(given, "station"):
        return []
    cell = Cell({**given, "parameters": given["station_parameters"]}, "station.yaml")
    if not (started := cell.station(remappings, load_services)):
        raise InputError("station:=true: nothing to start; add record_to:=FOLDER, opcua:=true or mqtt:=true")
    return started


def number(given: Given, name: str) -> int:
    """InputError where the argument is no whole number."""
    try:
        return int(given[name])
    except ValueError:
        raise InputError(f"{name}:={given[name]}: expected a whole number") from None


def shutdown(reason: str) -> list[Any]:
    """What ends the launch. Of an ended process launch itself says only that it "was required"."""
    return [LogInfo(msg=reason), Shutdown(reason=reason)]


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


def scaled_display(display: str, model: str) -> Path:
    """A file of rviz/ whose clouds are coloured up to twice the threshold of the model, where that can be read."""
    path = resource_folder("rviz", display) / display
    try:
        manifest = json.loads((Path(model) / "manifest.json").read_text(encoding="utf-8"))
        most = 2 * float(manifest["calibration"]["threshold"])
    except (OSError, ValueError, LookupError, TypeError):
        return path  # no model yet, or one without a threshold
    folder = Path(tempfile.mkdtemp(prefix="pad_ros_rviz_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    scaled = folder / display
    scaled.write_text(re.sub(r"(Max Intensity:) \S+", rf"\1 {most:g}", path.read_text(encoding="utf-8")))
    return scaled


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
        ends_launch: bool = False,
    ) -> Node:
        """One of our nodes. The launch ends where the node refuses its parameters, or ends again and again.

        ends_launch: it ends with the node in any case, as all of its work is then done.
        """
        ends: deque[float] = deque(maxlen=MOST_ENDS)

        def ended(event: Any, context: Any) -> list[Any] | None:
            if event.returncode in (InputError.exit_status, MissingDependencyError.exit_status):
                return shutdown(f"{executable} cannot run like this, see above")
            if ends_launch:
                return shutdown(f"{executable} is done")
            ends.append(time.monotonic())
            if respawn and len(ends) == MOST_ENDS and ends[-1] - ends[0] < ENDS_WINDOW:
                return shutdown(f"{executable} has ended {MOST_ENDS} times within {ENDS_WINDOW:.0f} s")
            return None

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

    def station(self, remappings: Sequence[tuple[str, str]], load_services: str = "") -> list[Node]:
        """Recorder, OPC UA and MQTT, each where it is asked for. load_services: that change the cell's model."""
        given, started = self._given, []
        if given["record_to"]:
            chosen = {"station": given["record_to"], "model": given.get("model", ""), "load_model": load_services}
            started.append(self.node("recorder", _texts(chosen), remappings=remappings))
        if flag(given, "opcua"):
            chosen = {**{name: given[name] for name in OPCUA}, "load_services": load_services}
            trigger = [pair for pair in remappings if pair[0] == "trigger"]
            started.append(self.node("opcua", _texts(chosen), remappings=trigger))
        if flag(given, "mqtt"):
            started.append(self.node("mqtt", _texts({name: given[name] for name in MQTT})))
        return started

    def rviz(self, display: str, remappings: Sequence[tuple[str, str]] = ()) -> list[Node]:
        """display: file in rviz/. Nothing without `rviz:=true`; InputError with it where there is no rviz2."""
        if not flag(self._given, "rviz"):
            return []
        try:
            get_package_prefix("rviz2")
        except (LookupError, OSError):  # OSError: no workspace is sourced
            raise InputError("rviz:=true: rviz2 is not installed (apt install ros-$ROS_DISTRO-rviz2)") from None
        fixed_frame = f"{self._given.get('frame_prefix', '')}part"
        return [
            Node(
                package="rviz2",
                executable="rviz2",
                name="rviz2",
                namespace=self._given["namespace"],
                arguments=["-d", str(scaled_display(display, self._given["model"])), "-f", fixed_frame],
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
