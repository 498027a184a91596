"""The launch files and what they name: nodes, parameters, topics, files.

`launch` is part of every ROS install, but not among the PyPI wheels. Recorders stand in for it here, so that
the files run and everything they name is checked; the last test runs only where the real one is installed.
"""

import ast
import importlib
import re
import runpy
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from fake_inspector import FakeInspector

from pad_ros.errors import InputError
from pad_ros.nodes import support

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "launch").glob("*.launch.py"))
CONFIGURATIONS = sorted((REPOSITORY / "config").glob("*.yaml"))
NODES = (
    "localizer", "renderer", "scorer", "cell", "watchdog", "fusion", "camera_replay", "recorder", "scene_change",
    "opcua", "mqtt", "teach",
)  # fmt: skip


CALIBRATION = (
    "image_width: 64\nimage_height: 48\ndistortion_model: plumb_bob\n"
    "camera_matrix: {data: [60, 0, 30.5, 0, 61, 24.5, 0, 0, 1]}\ndistortion_coefficients: {data: [0, 0, 0, 0, 0]}\n"
)


@dataclass
class Recorded:
    kind: str
    arguments: tuple
    options: dict = field(default_factory=dict)


def recorder(kind: str):
    return lambda *arguments, **options: Recorded(kind, arguments, options)


@pytest.fixture
def launch(monkeypatch):
    """Runs a launch file with recorders in place of launch and launch_ros; gives the entities of its description."""
    names = {
        "launch": ["LaunchDescription"],
        "launch.actions": [
            "DeclareLaunchArgument", "IncludeLaunchDescription", "LogInfo", "OpaqueFunction", "SetEnvironmentVariable",
            "Shutdown",
        ],
        "launch.launch_description_sources": ["PythonLaunchDescriptionSource"],
        "launch.substitutions": ["LaunchConfiguration", "PathJoinSubstitution"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.parameter_descriptions": ["ParameterValue"],
        "launch_ros.substitutions": ["FindPackageShare"],
    }  # fmt: skip
    for module_name, kinds in names.items():
        module = ModuleType(module_name)
        for kind in kinds:
            setattr(module, kind, recorder(kind))
        monkeypatch.setitem(sys.modules, module_name, module)
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
    forget_launching()
    yield lambda path: runpy.run_path(str(path))["generate_launch_description"]().arguments[0]
    forget_launching()


def forget_launching():
    """The module holds the recorders."""
    sys.modules.pop("pad_ros.nodes.support.launching", None)
    vars(support).pop("launching", None)


@pytest.fixture
def actions(launch):
    """What a launch file starts, by the arguments that are given to it."""

    def run(name: str, **given: str) -> list[Recorded]:
        entities = launch(REPOSITORY / "launch" / f"{name}.launch.py")
        declared = {
            e.arguments[0]: e.options.get("default_value", "given") for e in walk(entities) if "Declare" in e.kind
        }
        (function,) = [e.options["function"] for e in walk(entities) if e.kind == "OpaqueFunction"]
        return function(SimpleNamespace(launch_configurations={**declared, **given}))

    return run


def nodes_of(started: list[Recorded]) -> dict[str, dict]:
    """Options of the nodes, by executable."""
    return {e.options["executable"]: e.options for e in started if e.kind == "Node"}


def walk(value) -> Iterator[Recorded]:
    if isinstance(value, Recorded):
        yield value
        yield from walk(list(value.arguments))
        yield from walk(value.options)
    elif isinstance(value, dict):
        for inner in value.items():
            yield from walk(list(inner))
    elif isinstance(value, list | tuple | type({}.items())):
        for inner in value:
            yield from walk(inner)


@pytest.fixture(scope="module")
def interfaces(tmp_path_factory) -> dict[str, tuple[set[str], set[str]]]:
    """Of each node: its parameters, and the topics that it uses."""
    from fake_inspector import write_bundle

    folder = write_bundle(tmp_path_factory.mktemp("interfaces") / "model")
    (folder / "1.png").write_bytes(b"")
    (folder / "camera.yaml").write_text(CALIBRATION)
    replay = {"images": str(folder), "camera": str(folder / "camera.yaml"), "part_views": 1}
    found = {}
    rclpy.init()
    for name in NODES:
        module = importlib.import_module(f"pad_ros.nodes.{name}")
        node_class = getattr(module, "".join(word.capitalize() for word in name.split("_")) + "Node")
        own = {"opcua": {"overrides": {"folder": str(folder), "port": 0}}, "mqtt": {}}
        recording = {"overrides": {"station": str(folder / "station")}}
        teaching = {"overrides": {"views": str(folder / "views"), "model": "m"}}
        options = {
            "watchdog": {},
            "teach": teaching,
            "camera_replay": {"overrides": replay},
            "recorder": recording,
            **own,
        }.get(name, {"load": FakeInspector.load, "overrides": {"model": str(folder)}})
        topics, parameters = set(), set()
        for transport in ("raw",) if name in own else ("raw", "compressed"):
            settings = dict(options.get("overrides", {}))
            if name in ("localizer", "cell", "watchdog", "camera_replay", "recorder", "teach", "scene_change"):
                settings["image_transport"] = transport
            for triggered in (False, True) if name in ("localizer", "cell", "watchdog") else (None,):
                if triggered is not None:
                    settings["triggered"] = triggered
                node = node_class(**{**options, "overrides": settings})
                parameters |= set(node._parameters)
                topics |= {e.topic_name.lstrip("/") for e in (*node.subscriptions, *node.publishers)}
                (node.close if hasattr(node, "close") else node.destroy_node)()
        found[name] = (parameters, topics)
    rclpy.try_shutdown()
    return found


def declared_in(cmake: str) -> set[str]:
    line = next(line for line in cmake.splitlines() if line.strip().startswith("foreach(node "))
    return set(line.strip()[len("foreach(node ") : -1].split())


def test_cmake_installs_every_node(repository):
    installed = declared_in((repository / "CMakeLists.txt").read_text())
    assert installed == {*NODES, "cells"}  # cells: several of `cell` in one process
    mains = {p.stem for p in (repository / "pad_ros" / "nodes").glob("*.py") if "def main()" in p.read_text()}
    assert mains == installed


def test_cmake_installs_every_command(repository, capsys):
    from pad_ros.cli import main

    cmake = (repository / "CMakeLists.txt").read_text()
    (commands,) = re.findall(r"foreach\(command ([\w ]+)\)", cmake)
    with pytest.raises(SystemExit):
        main(["--help"])
    offered = re.findall(r"^    (\w+)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(commands.split()) == sorted(offered)


CELLS = ("conveyor_cell", "robot_cell", "replay")


@pytest.fixture
def rviz2(monkeypatch):
    monkeypatch.setattr("ament_index_python.packages.get_package_prefix", lambda name: "/opt/ros")


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("prefix", ["", "cell_left/"])
def test_launch_files_name_only_what_exists(name, prefix, actions, interfaces, rviz2):
    started = actions(name, replay="images", rviz="true", frame_prefix=prefix, views="3")
    found = nodes_of(started)
    assert "cell" in found or "localizer" in found
    for executable, options in found.items():
        if executable == "rviz2":
            display, fixed_frame = options["arguments"][1::2]
            assert Path(display).is_file() and fixed_frame == f"{prefix}part"
            continue
        parameters, topics = interfaces[executable]
        assert options["package"] == "pad_ros" and options["name"] == executable  # the key in the parameter files
        file, *given = options["parameters"]
        assert Path(file).is_file()
        assert set().union(*given) <= parameters
        unknown = {source for source, _ in options["remappings"]} - topics
        # The cell's camera and trigger topics are handed to the watchdog too, which listens to some of them.
        assert unknown <= ({"camera_info"} if executable == "watchdog" else set())


def test_two_cells_give_each_side_all_arguments(launch):
    entities = launch(REPOSITORY / "launch" / "two_cells.launch.py")
    declared = {e.arguments[0] for e in walk(entities) if e.kind == "DeclareLaunchArgument"}
    assert {e.arguments[0] for e in walk(entities) if e.kind == "LaunchConfiguration"} == declared
    inner = launch(REPOSITORY / "launch" / "conveyor_cell.launch.py")
    known = {e.arguments[0]: e for e in walk(inner) if e.kind == "DeclareLaunchArgument"}
    for include in (e for e in walk(entities) if e.kind == "IncludeLaunchDescription"):
        given = {name for name, _ in include.options["launch_arguments"]}
        assert given <= set(known)
        assert {"image", "camera_info", "trigger", "frame_prefix", "namespace"} <= given
        assert all("default_value" in e.options for name, e in known.items() if name not in given)


def test_frames_get_the_prefix_of_their_cell(actions):
    started = nodes_of(actions("conveyor_cell", frame_prefix="cell_left/", replay="images"))
    (given,) = started["cell"]["parameters"][1:2]
    assert given["part_frame"].arguments == ("cell_left/part",)
    assert started["camera_replay"]["parameters"][1]["camera_frame"].arguments == ("cell_left/camera_optical_frame",)
    assert "part_frame" not in nodes_of(actions("conveyor_cell"))["cell"]["parameters"][1]  # the file decides


def test_camera_info_is_beside_the_image_and_compressed_images_are_remapped(actions):
    (started,) = [nodes_of(actions("conveyor_cell", image="/cell_1/camera/image_raw"))["cell"]]
    assert started["remappings"] == [
        ("image_raw", "/cell_1/camera/image_raw"),
        ("image_raw/compressed", "/cell_1/camera/image_raw/compressed"),
        ("camera_info", "/cell_1/camera/camera_info"),
        ("trigger", "trigger"),
    ]
    for image, given, expected in (("image_raw", "", "camera_info"), ("/a/b", "/c/info", "/c/info")):
        found = nodes_of(actions("robot_cell", image=image, camera_info=given))["localizer"]["remappings"]
        assert dict(found)["camera_info"] == expected


@pytest.mark.parametrize("name, argument, text", [
    ("conveyor_cell", {"parameters": "/no/such.yaml"}, "parameters:=/no/such.yaml: there is no such file"),
    ("replay", {"parameters": "/no/such.yaml"}, "there is no such file"),
    ("robot_cell", {"views": "x"}, "views:=x: expected a whole number"),
    ("conveyor_cell", {"rviz": "perhaps"}, "rviz:=perhaps: expected true or false"),
])  # fmt: skip
def test_wrong_arguments_end_the_launch_with_one_line(actions, name, argument, text):
    with pytest.raises(InputError, match=re.escape(text)) as error:
        actions(name, **argument)
    assert "\n" not in str(error.value)


def test_a_node_that_refuses_its_parameters_ends_the_launch(actions):
    ended = nodes_of(actions("conveyor_cell"))["cell"]["on_exit"]
    for status in (2, 3):
        (said, shutdown) = ended(SimpleNamespace(returncode=status), None)
        assert (said.kind, shutdown.kind) == ("LogInfo", "Shutdown")
    assert ended(SimpleNamespace(returncode=-9), None) is None  # a killed one is started again


def test_a_node_that_ends_again_and_again_ends_the_launch(actions, monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    nodes = nodes_of(actions("conveyor_cell", replay="images"))
    assert nodes["cell"]["respawn_delay"] > 0
    cell, watchdog, replay = (nodes[name]["on_exit"] for name in ("cell", "watchdog", "camera_replay"))
    crashed = SimpleNamespace(returncode=1)
    for now in (0.0, 10.0, 20.0, 30.0, 65.0, 72.0):  # noqa: B007  (read by the clock above)
        assert cell(crashed, None) is None and replay(crashed, None) is None
    assert watchdog(crashed, None) is None
    now = 79.0
    (said, shutdown) = cell(crashed, None)
    assert said.options["msg"] == shutdown.options["reason"] == "cell has ended 5 times within 60 s"


def test_a_replay_ends_with_its_last_image(actions):
    (said, shutdown) = nodes_of(actions("replay"))["camera_replay"]["on_exit"](SimpleNamespace(returncode=0), None)
    assert said.options["msg"] == shutdown.options["reason"] == "camera_replay is done"


def named_as_they_are(found: dict[str, dict], interfaces, given: dict[str, set[str]]) -> None:
    """Each node gets the parameters `given`, and has them and the topics that are remapped."""
    for executable, own in given.items():
        parameters, topics = interfaces[executable]
        file, *values = found[executable]["parameters"]
        assert Path(file).is_file() and set().union(*values) == own <= parameters
        assert {source for source, _ in found[executable]["remappings"]} - {"trigger"} <= topics


def test_the_station_starts_what_is_asked_for(actions, interfaces):
    assert set(nodes_of(actions("station", opcua="true"))) == {"opcua"}
    asked = {"opcua": "true", "mqtt": "true", "recipes": "/data/models", "host": "broker", "record_to": "/data/station"}
    found = nodes_of(actions("station", **asked))
    named_as_they_are(found, interfaces, {"opcua": {"recipes"}, "mqtt": {"host"}, "recorder": {"station"}})
    (said, shutdown) = actions("station")
    assert "opcua:=true" in said.options["msg"] and shutdown.kind == "Shutdown"
    with pytest.raises(InputError, match="mqtt:=perhaps: expected true or false"):
        actions("station", mqtt="perhaps")


@pytest.mark.parametrize("name, services", [("conveyor_cell", set()), ("robot_cell", {"load_services"})])
def test_a_cell_has_its_station_beside_it_where_it_is_asked_for(actions, interfaces, name, services):
    beside = {"recorder", "opcua", "mqtt"}
    asked = {"record_to": "/data/station", "opcua": "true", "mqtt": "true", "image": "/camera/image_raw"}
    assert not beside & set(nodes_of(actions(name, **asked)))
    found = nodes_of(actions(name, station="true", **asked))
    recorder = {"station", "model"} | ({"load_model"} if services else set())
    named_as_they_are(found, interfaces, {"recorder": recorder, "opcua": services, "mqtt": set()})
    assert ("image_raw", "/camera/image_raw") in found["recorder"]["remappings"]
    assert Path(found["recorder"]["parameters"][0]).name == "station.yaml"
    with pytest.raises(InputError, match="station:=true: nothing to start"):
        actions(name, station="true")


def test_rviz_is_asked_for_where_there_is_none(actions, monkeypatch):
    def missing(name: str) -> str:
        raise LookupError(name)

    monkeypatch.setattr("ament_index_python.packages.get_package_prefix", missing)
    with pytest.raises(InputError, match="rviz:=true: rviz2 is not installed"):
        actions("conveyor_cell", rviz="true")


@pytest.mark.parametrize("manifest, most", [
    ('{"calibration": {"threshold": 1.75}}', 3.5), ('{"calibration": null}', 4), ("{", 4), (None, 4),
])  # fmt: skip
def test_rviz_colours_clouds_up_to_twice_the_threshold_of_the_model(actions, rviz2, tmp_path, manifest, most):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    shown = nodes_of(actions("conveyor_cell", rviz="true", model=str(tmp_path)))["rviz2"]["arguments"][1]
    displays = yaml.safe_load(Path(shown).read_text())["Visualization Manager"]["Displays"]
    assert [d["Max Intensity"] for d in displays if "Max Intensity" in d] == [most]


@pytest.mark.parametrize("name", CELLS)
def test_the_profile_of_fast_dds_is_the_default(actions, name, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**10))
    (profile,) = [e for e in actions(name) if e.kind == "SetEnvironmentVariable"]
    assert profile.arguments == ("FASTRTPS_DEFAULT_PROFILES_FILE", str(REPOSITORY / "config" / "fastdds.xml"))
    assert not [e for e in actions(name, fastdds="false") if e.kind == "SetEnvironmentVariable"]
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10**6))
    assert [e.kind for e in actions(name)].count("LogInfo") == 1


def test_two_cells_differ_in_their_namespace_and_frames(launch):
    included = [e for e in walk(launch(REPOSITORY / "launch" / "two_cells.launch.py")) if "Include" in e.kind]
    for name in ("namespace", "frame_prefix"):
        assert len({dict(e.options["launch_arguments"])[name] for e in included}) == 2


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_launch_argument_is_described(path, launch):
    declared = [e for e in walk(launch(path)) if e.kind == "DeclareLaunchArgument"]
    assert declared and all(e.options["description"] for e in declared)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda p: p.name)
def test_parameter_files_name_only_what_exists(path, interfaces):
    configuration = yaml.safe_load(path.read_text())
    assert configuration
    for key, value in configuration.items():
        node = key.rpartition("/")[2]
        assert set(value) == {"ros__parameters"}
        assert set(value["ros__parameters"]) <= interfaces[node][0], node


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda p: p.name)
def test_nodes_start_with_the_parameter_files(path, bundle, tmp_path):
    """rclpy reads the file as `ros2 run --params-file` does; wrong types would be refused."""
    (tmp_path / "1.png").write_bytes(b"")
    for key in yaml.safe_load(path.read_text()):
        name = key.rpartition("/")[2]
        module = importlib.import_module(f"pad_ros.nodes.{name}")
        node_class = getattr(module, "".join(word.capitalize() for word in name.split("_")) + "Node")
        rclpy.init(args=["--ros-args", "--params-file", str(path)])
        try:
            own = {"camera_replay": {"images": str(tmp_path)}, "opcua": {"folder": str(tmp_path), "port": 0},
                   "teach": {"views": str(tmp_path / "views"), "model": "m"}}  # fmt: skip
            if name in ("watchdog", "mqtt", *own):
                options = {"overrides": own.get(name, {})}
            else:
                options = {"load": FakeInspector.load, "overrides": {"model": str(bundle)}}
            namespace = "line/cell_1" if "**" in key else key.rpartition("/")[0]
            node = node_class(namespace=namespace, **options)
            for parameter, value in yaml.safe_load(path.read_text())[key]["ros__parameters"].items():
                expected = options["overrides"].get(parameter, value)
                assert node.get_parameter(parameter).value == expected, parameter
            (node.close if hasattr(node, "close") else node.destroy_node)()
        finally:
            rclpy.try_shutdown()


def test_the_guide_names_every_topic_and_parameter(interfaces, repository):
    named = set(re.findall(r"`([\w/]+)", (repository / "docs" / "ros.md").read_text()))
    common = {"rosout", "parameter_events", "use_sim_time", "start_type_description_service"}
    for node, (parameters, topics) in interfaces.items():
        topics = {topic for topic in topics if not topic.endswith("transition_event")}
        missing = {n for n in topics | parameters if n not in named and f"/{n}" not in named} - common
        assert not missing, node


def test_launch_files_use_no_eval():
    for path in FILES:
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not {"eval", "exec"} & names


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_launch_accepts_the_files(path):
    pytest.importorskip("launch_ros", reason="launch_ros is part of ROS installs, not of the PyPI wheels")
    from launch import LaunchDescription

    assert isinstance(runpy.run_path(str(path))["generate_launch_description"](), LaunchDescription)


def test_the_security_policy_names_what_each_node_uses(interfaces, repository):
    """Every topic of a node is allowed to it; `result` and `line/...` to nobody but those who may publish them."""
    root = ElementTree.parse(repository / "config" / "sros2" / "cell.policy.xml").getroot()
    allowed: dict[str, set[str]] = {}
    publishers: dict[str, set[str]] = {}
    for profile in root.iter("profile"):
        node = profile.get("node")
        allowed[node] = {topic.text.removeprefix("/").replace("~", node) for topic in profile.iter("topic")}
        for topics in profile.iter("topics"):
            for topic in topics if topics.get("publish") else ():
                publishers.setdefault(topic.text, set()).add(node)
    for node, (_, topics) in interfaces.items():
        if node not in ("camera_replay", "scene_change"):  # no part of a cell
            optional = {"tf", "tf_static", "defects"}  # where their messages are installed
            own = {"rosout", "parameter_events", f"{node}/transition_event"}  # of rclpy
            assert topics <= allowed[node] and allowed[node] - topics <= optional | own, node
    assert publishers["result"] == {"cell", "scorer", "watchdog"}
    assert all(who == {"watchdog"} for topic, who in publishers.items() if topic.startswith("line/"))
