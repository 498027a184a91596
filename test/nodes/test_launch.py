"""The launch files and what they name: nodes, parameters, topics, files.

`launch` is part of every ROS install, but not among the PyPI wheels. Recorders stand in for it here, so that
the files run and everything they name is checked; the last test runs only where the real one is installed.
"""

import ast
import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from fake_inspector import FakeInspector

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

REPOSITORY = Path(__file__).resolve().parents[2]
FILES = sorted((REPOSITORY / "launch").glob("*.launch.py"))
CONFIGURATIONS = sorted((REPOSITORY / "config").glob("*.yaml"))
NODES = ("localizer", "renderer", "scorer", "cell", "watchdog", "fusion", "camera_replay")


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
    """Runs a launch file with recorders in place of launch and launch_ros; gives its entities."""
    names = {
        "launch": ["LaunchDescription"],
        "launch.actions": ["DeclareLaunchArgument", "IncludeLaunchDescription", "SetEnvironmentVariable"],
        "launch.conditions": ["IfCondition"],
        "launch.launch_description_sources": ["PythonLaunchDescriptionSource"],
        "launch.substitutions": ["LaunchConfiguration", "NotEqualsSubstitution", "PathJoinSubstitution"],
        "launch_ros": [],
        "launch_ros.actions": ["Node"],
        "launch_ros.parameter_descriptions": ["ParameterValue"],
        "launch_ros.substitutions": ["FindPackageShare"],
    }
    for module_name, kinds in names.items():
        module = ModuleType(module_name)
        for kind in kinds:
            setattr(module, kind, recorder(kind))
        monkeypatch.setitem(sys.modules, module_name, module)
    return lambda path: runpy.run_path(str(path))["generate_launch_description"]().arguments[0]


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
        options = {"watchdog": {}, "camera_replay": {"overrides": replay}}.get(
            name, {"load": FakeInspector.load, "overrides": {"model": str(folder)}}
        )
        topics, parameters = set(), set()
        for transport in ("raw", "compressed"):
            settings = dict(options.get("overrides", {}))
            if name in ("localizer", "cell", "watchdog", "camera_replay"):
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
    assert installed == set(NODES)
    mains = {p.stem for p in (repository / "pad_ros" / "nodes").glob("*.py") if "def main()" in p.read_text()}
    assert mains == installed


def test_cmake_installs_every_command(repository, capsys):
    from pad_ros.cli import main

    cmake = (repository / "CMakeLists.txt").read_text()
    (commands,) = re.findall(r"foreach\(command ([\w ]+)\)", cmake)
    with pytest.raises(SystemExit):
        main(["--help"])
    offered = re.findall(r"^    (\w+) +\w", capsys.readouterr().out, re.MULTILINE)
    assert sorted(commands.split()) == sorted(offered)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_launch_files_name_only_what_exists(path, launch, interfaces, repository):
    entities = launch(path)
    declared = {e.arguments[0] for e in walk(entities) if e.kind == "DeclareLaunchArgument"}
    used = {e.arguments[0] for e in walk(entities) if e.kind == "LaunchConfiguration"}
    assert used == declared
    for joined in (e for e in walk(entities) if e.kind == "PathJoinSubstitution"):
        share, *parts = joined.arguments[0]
        assert share.arguments == ("pad_ros",)
        assert repository.joinpath(*parts).is_file(), parts
    nodes = [e.options for e in walk(entities) if e.kind == "Node" and e.options["package"] == "pad_ros"]
    included = [e for e in walk(entities) if e.kind == "IncludeLaunchDescription"]
    assert nodes or included
    for include in included:
        (joined,) = [e for e in walk(include) if e.kind == "PathJoinSubstitution"]
        inner = launch(repository.joinpath(*joined.arguments[0][1:]))
        known = {e.arguments[0]: e for e in walk(inner) if e.kind == "DeclareLaunchArgument"}
        given = {name for name, _ in include.options["launch_arguments"]}
        assert given <= set(known)
        assert all("default_value" in e.options for name, e in known.items() if name not in given)
    for options in nodes:
        parameters, topics = interfaces[options["executable"]]
        assert options["name"] == options["executable"]  # the key in the parameter files
        for given in options["parameters"]:
            if isinstance(given, dict):
                assert set(given) <= parameters
        unknown = {source for source, _ in options.get("remappings", [])} - topics
        # The cell's camera and trigger topics are handed to the watchdog too, which listens to some of them.
        assert unknown <= ({"camera_info"} if options["executable"] == "watchdog" else set())


def test_two_cells_differ_in_their_namespace(launch):
    included = [e for e in walk(launch(REPOSITORY / "launch" / "two_cells.launch.py")) if "Include" in e.kind]
    assert len({dict(e.options["launch_arguments"])["namespace"] for e in included}) == 2


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_launch_argument_is_described(path, launch):
    declared = [e for e in walk(launch(path)) if e.kind == "DeclareLaunchArgument"]
    assert declared and all(e.options["description"] for e in declared)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda p: p.name)
def test_parameter_files_name_only_what_exists(path, interfaces):
    configuration = yaml.safe_load(path.read_text())
    assert configuration
    for key, value in configuration.items():
        node = key.removeprefix("/**/")
        assert set(value) == {"ros__parameters"}
        assert set(value["ros__parameters"]) <= interfaces[node][0], node


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda p: p.name)
def test_nodes_start_with_the_parameter_files(path, bundle, tmp_path):
    """rclpy reads the file as `ros2 run --params-file` does; wrong types would be refused."""
    (tmp_path / "1.png").write_bytes(b"")
    for key in yaml.safe_load(path.read_text()):
        name = key.removeprefix("/**/")
        module = importlib.import_module(f"pad_ros.nodes.{name}")
        node_class = getattr(module, "".join(word.capitalize() for word in name.split("_")) + "Node")
        rclpy.init(args=["--ros-args", "--params-file", str(path)])
        try:
            if name in ("watchdog", "camera_replay"):
                options = {"overrides": {"images": str(tmp_path)} if name == "camera_replay" else {}}
            else:
                options = {"load": FakeInspector.load, "overrides": {"model": str(bundle)}}
            node = node_class(namespace="line/cell_1", **options)
            for parameter, value in yaml.safe_load(path.read_text())[key]["ros__parameters"].items():
                assert node.get_parameter(parameter).value == value, parameter
            (node.close if hasattr(node, "close") else node.destroy_node)()
        finally:
            rclpy.try_shutdown()


def test_rviz_shows_topics_that_exist(interfaces, repository):
    topics = set().union(*(topics for _, topics in interfaces.values()))
    assert {path.name for path in (repository / "rviz").glob("*.rviz")} == {"inspection.rviz", "part.rviz"}
    for path in (repository / "rviz").glob("*.rviz"):
        displays = yaml.safe_load(path.read_text())["Visualization Manager"]["Displays"]
        named = {display["Topic"]["Value"] for display in displays if "Topic" in display}
        assert named
        assert named <= topics


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
