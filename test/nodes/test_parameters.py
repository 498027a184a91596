"""Parameters come from one table: the nodes declare it, the guide shows it, and unknown names are refused."""

import os
import subprocess
import sys

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed (run make setup)")

from fake_inspector import FakeInspector, write_bundle  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from pad_ros.errors import InputError  # noqa: E402
from pad_ros.nodes.cell import CellNode  # noqa: E402
from pad_ros.nodes.support.parameter_tables import NODES, updated  # noqa: E402
from pad_ros.nodes.support.parameters import Parameters  # noqa: E402
from pad_ros.nodes.watchdog import WatchdogNode  # noqa: E402


@pytest.fixture
def context():
    rclpy.init()
    yield
    rclpy.try_shutdown()


def test_the_guide_shows_the_table(repository):
    """To renew it: python -m pad_ros.nodes.support.parameter_tables docs/ros.md"""
    guide = (repository / "docs" / "ros.md").read_text(encoding="utf-8")
    assert updated(guide) == guide


def test_a_document_without_marks_is_refused():
    with pytest.raises(ValueError, match="has no lines"):
        updated("text")


@pytest.mark.parametrize("name", NODES)
def test_the_table_is_declared_as_it_stands(context, name):
    node = Node(f"test_{name}")
    parameters = Parameters(node, NODES[name])
    for spec in NODES[name]:
        descriptor = node.describe_parameter(spec.name)
        assert parameters[spec.name] == spec.default and type(parameters[spec.name]) is type(spec.default)
        assert (descriptor.description, descriptor.read_only) == (spec.description, spec.read_only)
        assert spec.description and (not spec.choices or spec.default in spec.choices)
        assert len(descriptor.integer_range) + len(descriptor.floating_point_range) == (spec.limits is not None)
    assert parameters.get("no_such") is None
    node.destroy_node()


def test_an_unknown_parameter_is_refused_with_the_nearest_name(context, tmp_path):
    overrides = {"model": str(write_bundle(tmp_path / "model")), "trigger_timeuot": 0.5}
    with pytest.raises(InputError, match="trigger_timeuot: cell has none of this name; did you mean trigger_timeout"):
        CellNode(load=FakeInspector.load, overrides=overrides)
    with pytest.raises(InputError, match="trigger_timeout: watchdog has none of this name"):
        WatchdogNode(overrides={"trigger_timeout": 0.5})


def test_parameters_of_rclpy_itself_are_no_strangers(context):
    overrides = [Parameter("use_sim_time", value=False), Parameter("qos_overrides./x.publisher.depth", value=3)]
    node = Node("test", parameter_overrides=overrides)
    Parameters(node, NODES["watchdog"])
    node.destroy_node()


@pytest.mark.slow
def test_a_misspelt_parameter_ends_the_process_with_one_line():
    command = [sys.executable, "-m", "pad_ros.nodes.watchdog", "--ros-args", "-p", "deadlin:=1.0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "pad_ros: parameter deadlin: watchdog has none of this name; did you mean deadline?"
    ]
